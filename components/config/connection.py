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
        25,
        description="number of points on each path, evenly spaced in t, both ends included",
    )
    samples: Annotated[int, Field(ge=2)] = Field(
        512,
        description=(
            "number of training samples, and of test samples where there are any, that are evaluated "
            "at every point"
        ),
    )
    batch_norm: Literal["reestimated", "interpolated", "frozen"] = Field(
        "reestimated",
        description=(
            "BatchNorm's statistics at a point of the path: estimated from the training samples "
            "there, moved from one end to the other along with the weights, or the first network's"
        ),
    )
    batch_size: PositiveInt = Field(64, description="samples that go through the network at a time")
    device: Literal["cpu", "cuda"] = Field("cpu", description="what evaluates the points")
    seed: NonNegativeInt = Field(0, description="which samples are drawn")

    def coordinates(self) -> list[float]:
        """The values of t, exactly 0 at the start and 1 at the end."""
        return [index / (self.points - 1) for index in range(self.points)]


class Curve(Frozen):
    """A curve with one bend that is trained on all training samples."""

    shape: Literal["bezier", "polygon"] = Field(
        "bezier",
        description="kind of curve with one bend: a quadratic Bezier curve or a chain of two lines",
    )
    epochs: PositiveInt = Field(
        50,
        description="passes over the training samples by which the bend is trained",
    )
    learning_rate: PositiveFloat = Field(
        0.1,
        description="learning rate at the start, which falls to 0 along a cosine",
    )
    batch_size: PositiveInt = Field(
        128,
        description="training samples in a batch, with one random point of the curve for each batch",
    )
    seed: NonNegativeInt = Field(
        0,
        description="which points of the curve and which orders of the samples are drawn",
    )


class Connecting(Frozen):
    """Everything that `lossmap connect` can be asked for.

    Attributes:
        threshold: barrier, in the units of the loss, up to which two networks count as connected; it decides
            a sentence and no number. None where nobody has said which barrier is low: losses other than
            cross-entropy have no usual one.
    """

    evaluation: Evaluation = Field(Evaluation(), description="how every path is evaluated")
    curve: Curve | None = Field(
        Curve(),
        description="the curve that is trained between the networks; null: none",
    )
    threshold: NonNegativeFloat | None = Field(
        0.05,
        description=(
            "largest barrier, in units of the loss, with which two networks count as connected; it "
            "decides a sentence and no number; null: barriers are told and not judged"
        ),
    )


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
