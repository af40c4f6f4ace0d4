"""Networks that lossmap did not train: loaded, evaluated once, and kept as if it had."""

import hashlib
import json
import time
from typing import Any

import torch
from torch import nn

from lossmap.components.config.manifest import Manifest, Split
from lossmap.components.config.models import Imported, Model
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.notes import tell
from lossmap.components.core.progress import Progress, silent
from lossmap.components.data.batches import load_packed
from lossmap.components.data.files import read_file
from lossmap.components.data.samples import keep_samples
from lossmap.components.importing.evaluation import Evaluation
from lossmap.components.landscape.objective import named_loss
from lossmap.components.models import build, count_parameters
from lossmap.components.models.checkpoint_file import read_checkpoint
from lossmap.components.models.state import check_finite, load_state, network_bytes
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run


def import_network(run: Run, progress: Progress = silent) -> None:
    """Build the network of a run that has none yet, load its weights, evaluate it on all samples, and keep
    the result. The samples of the survey are drawn on the way, since its split is in memory here.

    Args:
        run: with its data set packed.
        progress: called with (samples done, samples, "").

    Raises:
        ExperimentError: network, weights, loss and data do not fit together, or are not those that the run
            began with.
    """
    start = time.monotonic()
    model = _imported(run.experiment.model)
    network = load_network(model, run.manifest)
    evaluation = Evaluation(network, named_loss(model.loss), run.manifest, progress)
    result: dict[str, Any] = {
        "train": _evaluated(run, "train", evaluation),
        "test": _evaluated(run, "test", evaluation),
        "parameters": count_parameters(network),
        "seconds": time.monotonic() - start,
        "processes": 1,
        "device": evaluation.device,
        "torch": torch.__version__,
    }
    run.store.write(layout.weights(run.training), network_bytes(network))
    run.store.write(layout.training_result(run.training), json.dumps(result).encode())


def _evaluated(run: Run, split: Split, evaluation: Evaluation) -> dict[str, float | None]:
    if not run.manifest.count(split):
        return {"loss": None, "error": None, "count": 0}
    packed = load_packed(run.store, run.manifest, split)
    result = evaluation.of(*packed)
    if split == run.experiment.landscape.split:
        keep_samples(run, packed)
    return result


def load_network(model: Imported, manifest: Manifest) -> nn.Module:
    """The network with its weights, which are checked against the SHA-256 that the run began with."""
    network = build(model, manifest).eval()
    if model.weights is None:
        check_finite(network, model.factory)
        return network
    content = read_file(model.weights, "model.weights")
    if model.weights_sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise ExperimentError(
            f"{model.weights} has changed since the run was made: its SHA-256 is not {model.weights_sha256};"
            " start a new run"
        )
    checkpoint = read_checkpoint(content, model.weights, model.weights_key)
    for line in load_state(network, checkpoint, model.weights):
        tell(line)
    return network


def _imported(model: Model) -> Imported:
    if not isinstance(model, Imported):
        raise ExperimentError(f"model.architecture is {model.architecture}, expected imported")
    return model
