"""What decides a result, and so its address: equal tasks are done once, whoever asks for them."""

import hashlib

from lossmap.components.config.errors import ExperimentError
from lossmap.components.config.frozen import Frozen, canonical_json
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Model
from lossmap.components.config.training import Training


class Task(Frozen):
    """Something to do whose result depends on nothing but these fields.

    Attributes:
        software: digest of the code that does it, and the version of torch.
    """

    software: str

    def address(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


class TrainingTask(Task):
    """Train a model on a packed data set, given by its digest; import it, and evaluate it there, where there is no training."""

    dataset: str
    model: Model
    training: Training | None

    @property
    def trained(self) -> Training:
        """How the network is trained.

        Raises:
            ExperimentError: it is imported.
        """
        if not self.training:
            raise ExperimentError("the network is imported, expected one that lossmap trains")
        return self.training


class SurveyTask(Task):
    """Survey the network of a training, given by its address."""

    training: str
    landscape: Landscape
