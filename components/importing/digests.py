"""What an imported network is made of, as digests in its experiment. Torch is waited for only where there is
such a network.
"""

from pathlib import Path
from typing import TypeVar

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.models import Checkpoint, Imported
from lossmap.components.data.files import split_key
from lossmap.components.importing.places import weight_file
from lossmap.components.importing.weight_files import parts_sha256, read_parts

Weights = TypeVar("Weights", Imported, Checkpoint)


def with_digests(experiment: Experiment) -> Experiment:
    """The experiment with what its imported network is made of: the SHA-256 of its weights, in a file or as
    the factory gives them, of the source of factory and loss, and of what they become. Any other experiment
    as it is.

    Paths become absolute, so that the run can go on in another folder.

    Raises:
        ExperimentError: there is no such factory or loss.
        DataError: the weights cannot be read.
    """
    if not isinstance(experiment.model, Imported):
        return experiment
    from lossmap.components.importing.network import factory_weights_sha256, object_sha256
    from lossmap.components.landscape.objective import named_loss
    from lossmap.components.models.imported import source_sha256

    model, data = _with_weights(experiment.model), experiment.data
    named_loss(model.loss)
    model = model.model_copy(update={"source_sha256": model.source_sha256 or source_sha256(model)})
    model = model.model_copy(update={"object_sha256": model.object_sha256 or object_sha256(model)})
    if not model.weights_sha256:
        model = model.model_copy(update={"weights_sha256": factory_weights_sha256(model)})
    if data.holds_tensors:
        data = data.model_copy(update={"source": ",".join(map(_absolute, data.places))})
    return experiment.model_copy(update={"data": data, "model": model})


def with_weights_digest(experiment: Experiment) -> Experiment:
    """The experiment with the SHA-256 of its imported network's weights; one that is stated is taken as it
    is. Any other experiment as it is.

    Raises:
        DataError: the weights cannot be read.
    """
    if not isinstance(experiment.model, Imported):
        return experiment
    return experiment.model_copy(update={"model": _with_weights(experiment.model)})


def _with_weights(model: Imported) -> Imported:
    """The model with the digests of its files of weights."""
    trajectories = tuple(
        path.model_copy(update={"checkpoints": tuple(with_digest(each) for each in path.checkpoints)})
        for path in model.trajectories
    )
    return with_digest(model.model_copy(update={"trajectories": trajectories}))


def with_digest(model: Weights) -> Weights:
    """What has weights, with the SHA-256 of their file, its place, and the key in it.

    Raises:
        DataError: the file cannot be read.
    """
    if model.weights is None or model.weights.startswith(IN_PROCESS):
        return model
    place, key = (model.weights, model.weights_key) if model.weights_sha256 else split_key(model.weights)
    weights = _absolute(place if model.weights_sha256 else weight_file(place))
    digest = model.weights_sha256 or parts_sha256(read_parts(weights, "model.weights"))
    noted = {"weights": weights, "weights_key": key or model.weights_key, "weights_sha256": digest}
    return model.model_copy(update=noted)


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().resolve())
