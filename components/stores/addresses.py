"""What decides a result, and so its address: equal computations are made once, whoever asks for them."""

import hashlib
from typing import Literal

from pydantic import NonNegativeInt

from lossmap.components.config.connection import Curve, Evaluation, PathName
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Model
from lossmap.components.config.training import Training
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.frozen import Frozen, canonical_json


class Computation(Frozen):
    """A computation whose result depends on nothing but these fields.

    Attributes:
        software: digest of the code that makes it, and the version of torch.
    """

    software: str

    def address(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


class TrainingComputation(Computation):
    """Train a model on a packed data set, given by its digest; import it, and evaluate it there, where
    there is no training.
    """

    dataset: str
    model: Model
    training: Training | None

    @property
    def training_settings(self) -> Training:
        """How the network is trained.

        Raises:
            ExperimentError: it is imported.
        """
        if not self.training:
            raise ExperimentError("the network is imported, expected one that lossmap trains")
        return self.training


class SurveyComputation(Computation):
    """Survey the network of a training, given by its address."""

    training: str
    landscape: Landscape


class StateComputation(Computation):
    """Make a network out of those of two trainings: the second one aligned with the first, or the trained
    bend of a curve.
    """

    trainings: tuple[str, str]
    state: Literal["aligned", "bend"]
    curve: Curve | None
    batch_norm: Literal["reestimated", "interpolated", "frozen"] | None
    device: Literal["cpu", "cuda"]
    seed: NonNegativeInt


class PathComputation(Computation):
    """Walk one path between the networks of two trainings. Equal ones are walked once, whatever else they
    were asked for with.
    """

    trainings: tuple[str, str]
    path: PathName
    evaluation: Evaluation
    curve: Curve | None
