"""Networks that lossmap did not train: loaded, evaluated once, and kept as if it had."""

import hashlib
import math
import time
from functools import partial
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lossmap.components.config.manifest import Manifest, Split
from lossmap.components.config.models import Imported, Model
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import python_object
from lossmap.components.core.notes import tell
from lossmap.components.core.progress import Progress, silent
from lossmap.components.data.batches import as_inputs, load_packed
from lossmap.components.data.samples import keep_samples, load_survey_samples
from lossmap.components.importing.checks import check_function, check_kept, kept_tensors
from lossmap.components.importing.evaluation import Evaluated, Evaluation
from lossmap.components.importing.loaded_code import loaded_code_sha256
from lossmap.components.importing.trajectories import import_trajectories, read_weights
from lossmap.components.landscape.layers import check_layers
from lossmap.components.landscape.moving import count_parameters, moving_parameters
from lossmap.components.landscape.objective import experiment_loss, like_parameters
from lossmap.components.landscape.outputs import are_close
from lossmap.components.landscape.precision import narrow_types
from lossmap.components.models import build
from lossmap.components.models.imported import in_one_line
from lossmap.components.models.state import check_finite, load_state, network_bytes
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_tensors, sealed, write_json
from lossmap.components.stores.runs import Run

_ROUNDED = 1e-4  # of the greatest loss: far above what another processor rounds
_ROUNDED_ELSEWHERE = 1e-3  # and a GPU, whose convolutions have 10 bits
_SUMMARY = ("loss", "error", "count")


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
    with in_one_line(run.experiment.model, "its import"):
        _import(run, progress)


def _import(run: Run, progress: Progress) -> None:
    start = time.monotonic()
    model = _imported(run.experiment.model)
    network = load_network(model, run.manifest)
    check_layers(network)
    moving_parameters(network)  # refuses a network without any; lazy ones are counted after their first call
    before = kept_tensors(network)
    import_trajectories(run.store, run.training, model, network)
    evaluation = Evaluation(network, experiment_loss(run.experiment, run.manifest), run.manifest, progress)
    found: dict[Split, Evaluated] = {
        split: _evaluated(run, split, network, evaluation) for split in ("train", "test")
    }
    check_kept(network, before, type(network).__name__)
    result: dict[str, Any] = {
        **{split: {name: getattr(each, name) for name in _SUMMARY} for split, each in found.items()},
        "parameters": count_parameters(network),
        "seconds": time.monotonic() - start,
        "processes": 1,
        "device": evaluation.device,
        "torch": torch.__version__,
        "narrow_types": narrow_types(network.state_dict()),
    }
    run.store.write(layout.weights(run.training), sealed(network_bytes(network)))
    losses: dict[str, Tensor] = {split: each.losses for split, each in found.items()}
    run.store.write(layout.sample_losses(run.training), sealed(save(losses)))
    write_json(run.store, layout.training_result(run.training), result)


def check_unchanged(run: Run) -> None:
    """Refuse an imported network that computes something else than when it was taken in.

    Raises:
        ExperimentError: the loss of any of the survey's samples differs, by more than another processor
            rounds.
    """
    model, split = _imported(run.experiment.model), run.experiment.landscape.split
    samples = load_survey_samples(run)
    with in_one_line(model, "the look at the survey's samples"):
        loss = experiment_loss(run.experiment, run.manifest)
        evaluation = Evaluation(load_network(model, run.manifest), loss, run.manifest)
        found = evaluation.of(*samples.packed).losses
    kept = load_tensors(run.store, layout.sample_losses(run.training))[split][samples.places]
    same = "cpu" == evaluation.device == run.training_result["device"]
    if not are_close(found, kept, _ROUNDED if same else _ROUNDED_ELSEWHERE):
        place = int((found - kept).abs().nan_to_num(math.inf, math.inf).argmax())
        raise ExperimentError(
            f"{model.factory} with the loss {model.loss} gives {split} sample"
            f" {int(samples.places[place])} the loss {float(found[place]):.6g}, and gave it"
            f" {float(kept[place]):.6g} when the store got it,"
            " though its code and its weights are the same: they read something while they compute, such as a"
            " file or a variable of the environment; read it where the module is imported, or let the factory"
            " take it as an argument (model.arguments), so that it counts"
        )


def _evaluated(run: Run, split: Split, network: nn.Module, evaluation: Evaluation) -> Evaluated:
    if not run.manifest.count(split):
        return Evaluated(None, None, 0, torch.zeros(0, dtype=torch.float64))
    packed = load_packed(run.store, run.manifest, split)
    result = evaluation.of(*packed)
    landscape = run.experiment.landscape
    if split == landscape.split:
        keep_samples(run, packed)
        _check(run, network, packed[0][: landscape.batch_size])
    return result


def _check(run: Run, network: nn.Module, packed: Tensor) -> None:
    """Refuse a network that is no function of its weights and of one sample."""
    model, state = _imported(run.experiment.model), network.state_dict()

    def build_with(seed: int) -> nn.Module:
        other = build(model.model_copy(update={"seed": seed}), run.manifest).eval()
        other.load_state_dict(state)
        return other

    builds = [partial(build_with, model.seed), partial(build_with, model.seed + (not model.in_process))]
    inputs = like_parameters(as_inputs(packed, run.manifest), network)
    check_function(builds, inputs, type(network).__name__)


def object_sha256(model: Imported) -> str:
    """SHA-256 over what the factory and the loss become in this process, besides parameters.

    Raises:
        ExperimentError: there is no such factory or loss, or the factory fails.
    """
    loss = python_object(model.loss) if ":" in model.loss else None
    return loaded_code_sha256([build(model), loss])


def factory_weights_sha256(model: Imported) -> str | None:
    """SHA-256 of the weights that the factory gives; None where they are made by the first call of the
    network (lazy modules).

    Raises:
        ExperimentError: there is no such factory, it fails, or gives other weights every time.
    """
    network, again = build(model), build(model).state_dict()
    if any(is_lazy(each) or not isinstance(each, Tensor) for each in network.state_dict().values()):
        return None  # a quantized network's state holds types, too
    for name, tensor in network.state_dict().items():
        if name not in again or not torch.equal(tensor, again[name]):
            raise ExperimentError(
                f"{model.factory} gives another {name} every time that it is called, under the same seeds of"
                " torch, numpy and Python; keep its weights in a file and give them as --weights FILE"
                " (model.weights)"
            )
    return hashlib.sha256(network_bytes(network)).hexdigest()


def load_network(model: Imported, manifest: Manifest) -> nn.Module:
    """The network with its weights, which are checked against the SHA-256 that the run began with."""
    network = build(model, manifest).eval()
    if model.weights is None:
        check_finite(network, model.factory)
        return network
    checkpoint = read_weights(model, model.weights, "model.weights")
    for line in load_state(network, checkpoint, model.weights):
        tell(line)
    return network


def _imported(model: Model) -> Imported:
    if not isinstance(model, Imported):
        raise ExperimentError(f"model.architecture is {model.architecture}, expected imported")
    return model
