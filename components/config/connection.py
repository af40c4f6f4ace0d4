"""How two trained networks are connected: settings of `lossmap connect`, what decides each path, and what
is noted about the networks.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lossmap.components.core.frozen import Frozen

PathName = Literal["linear", "aligned", "repaired", "curve"]


class Evaluation(Frozen):
    """How every path is evaluated."""

    points: Annotated[int, Field(ge=3)] = Field(
        25, description="on each path, evenly spaced in t, both ends included"
    )
    samples: Annotated[int, Field(ge=2)] = Field(
        512, description="training samples, and as many test samples where there are, the same at all points"
    )
    batch_norm: Literal["reestimated", "interpolated", "frozen"] = Field(
        "reestimated",
        description=(
            "statistics of the training samples at every point, those of the ends moved along with the"
            " weights, or the first network's"
        ),
    )
    batch_size: PositiveInt = 64
    device: Literal["cpu", "cuda"] = "cpu"
    seed: NonNegativeInt = 0

    def coordinates(self) -> list[float]:
        """The values of t, exactly 0 at the start and 1 at the end."""
        return [index / (self.points - 1) for index in range(self.points)]


class Curve(Frozen):
    """A curve with one bend that is trained on all training samples."""

    shape: Literal["bezier", "polygon"] = "bezier"
    epochs: PositiveInt = 50
    learning_rate: PositiveFloat = 0.1
    batch_size: PositiveInt = 128
    seed: NonNegativeInt = 0


class Connecting(Frozen):
    """Everything that `lossmap connect` can be asked for.

    Attributes:
        threshold: barrier, in the units of the loss, up to which two networks count as connected; it decides
            a sentence and no number.
    """

    evaluation: Evaluation = Evaluation()
    curve: Curve | None = Curve()
    threshold: NonNegativeFloat = 0.05


class Note(Frozen):
    """What is known about the two networks, and what came of ordering the second one's channels as the
    first's are.

    Attributes:
        batch_norm: whether they have BatchNorm.
        spaces: channel spaces that can be permuted; 0: there is nothing to align.
        permuted: those whose order changed.
        reason: why nothing is known about the networks' channels; None where something is.
    """

    batch_norm: bool
    spaces: int
    permuted: int
    reason: str | None
