"""Networks that lossmap did not train: loaded, evaluated once, and kept as if it had."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported, Model
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.progress import Progress, silent
from lossmap.components.data.files import read_file
from lossmap.components.importing.evaluation import Evaluation
from lossmap.components.landscape.objective import named_loss
from lossmap.components.models import build, count_parameters
from lossmap.components.models.imported import source_sha256
from lossmap.components.models.state import load_state, network_bytes, read_state
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import load_manifest, load_training_task


def noted(experiment: Experiment) -> Experiment:
    """The experiment with what its imported network is made of: the SHA-256 of the weights' file and of the
    factory's source.

    Paths become absolute, so that the run can go on in another folder.

    Raises:
        ExperimentError: there is no such factory or loss.
        DataError: the weights cannot be read.
    """
    experiment, model = with_weights_noted(experiment), _imported(experiment.model)
    named_loss(model.loss)
    source = model.source_sha256 or source_sha256(model)
    data = (
        experiment.data.model_copy(update={"source": _absolute(experiment.data.source)})
        if experiment.data.holds_tensors
        else experiment.data
    )
    return experiment.model_copy(
        update={
            "data": data,
            "model": _imported(experiment.model).model_copy(update={"source_sha256": source}),
        }
    )


def with_weights_noted(experiment: Experiment) -> Experiment:
    """The experiment with the SHA-256 of its imported network's weights; one that is stated is taken as it
    is.
    """
    model = _imported(experiment.model)
    if model.weights is None:
        return experiment
    weights = _absolute(model.weights)
    digest = model.weights_sha256 or _sha256(read_file(weights, "model.weights"))
    return experiment.model_copy(
        update={"model": model.model_copy(update={"weights": weights, "weights_sha256": digest})}
    )


def take_in(store: Store, training: str, progress: Progress = silent) -> None:
    """Build the network of a training that has none, load its weights, evaluate it on all samples, and keep
    the result.

    Args:
        store: where the training is kept.
        training: its address.
        progress: called with (samples done, samples, "").

    Raises:
        ExperimentError: network, weights, loss and data do not fit together, or are not those that the run
            began with.
    """
    start = time.monotonic()
    task = load_training_task(store, training)
    manifest, model = load_manifest(store, task.dataset), _imported(task.model)
    network = load_network(model, manifest)
    evaluation = Evaluation(network, named_loss(model.loss), manifest, progress)
    result: dict[str, Any] = {
        "train": evaluation.of(store, "train"),
        "test": (
            evaluation.of(store, "test")
            if manifest.count("test")
            else {"loss": None, "error": None, "count": 0}
        ),
        "parameters": count_parameters(network),
        "seconds": time.monotonic() - start,
        "processes": 1,
        "device": evaluation.device,
        "torch": torch.__version__,
    }
    store.write(layout.weights(training), network_bytes(network))
    store.write(layout.training_result(training), json.dumps(result).encode())


def load_network(model: Imported, manifest: Manifest) -> nn.Module:
    """The network with its weights, which are checked against the SHA-256 that the run began with."""
    network = build(model, manifest).eval()
    if model.weights is None:
        return network
    content = read_file(model.weights, "model.weights")
    if model.weights_sha256 not in (None, _sha256(content)):
        raise ExperimentError(
            f"{model.weights} has changed since the run was made: its SHA-256 is not {model.weights_sha256};"
            " start a new run"
        )
    load_state(network, read_state(content, model.weights), model.weights)
    return network


def _imported(model: Model) -> Imported:
    if not isinstance(model, Imported):
        raise ExperimentError(f"model.architecture is {model.architecture}, expected imported")
    return model


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().resolve())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
