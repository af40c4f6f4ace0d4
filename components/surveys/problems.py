"""A run's network, loss and samples in memory, and what is evaluated on them."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from lossmap.components.data.batches import load_samples, sample_indices
from lossmap.components.landscape.evaluator import Directions, Evaluator
from lossmap.components.landscape.fold import fold_batch_norm
from lossmap.components.landscape.grid import Result
from lossmap.components.landscape.hessian.convexity import ConvexityEvaluator
from lossmap.components.landscape.hessian.curvature import measure
from lossmap.components.landscape.objective import Problem, Samples, like_parameters, named_loss
from lossmap.components.models import build
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import links, load_experiment, load_run_manifest
from lossmap.components.surveys.tiles import Document, Evaluate, Part, Tile, evaluate_tile

_TRIED = 2  # samples that tell which memory format a network takes


def evaluator(store: Store, run_id: str, part: Part) -> Evaluate:
    """A part of the run's survey as a function of two coordinates. Sets torch to one thread."""
    landscape = load_experiment(store, run_id).landscape
    if part.kind == "curvature" and landscape.curvature:
        settings, problem = landscape.curvature, load_problem(store, run_id, landscape.curvature.samples)
        return lambda _x, _y: Document(measure(problem, settings, landscape.seed).model_dump_json())
    directions = load_directions(store, part.plane)
    if part.kind == "convexity" and landscape.convexity:
        problem = load_problem(store, run_id, landscape.convexity.samples)
        return ConvexityEvaluator(problem, directions, landscape.convexity.tolerance)
    problem = load_problem(store, run_id, landscape.samples)
    if part.kind == "trajectory":
        return _trajectory(store, run_id, problem)
    if landscape.batch_norm == "frozen":
        directions = fold_batch_norm(problem.network, directions)
    return Evaluator(problem, directions, landscape.batch_norm)


class TileEvaluator:
    """Evaluates a run's tiles one after the other. Network and samples stay in memory from one tile of a part
    to the next.

    Args:
        store: where the run is kept.
        run_id: the run, with its survey planned.
        check: called before every point; ends the evaluation by an exception.
    """

    def __init__(self, store: Store, run_id: str, check: Callable[[], None] = lambda: None):
        self._store, self._run, self._check = store, run_id, check
        self._current: tuple[Part, Evaluate] | None = None

    def evaluate(self, tile: Tile) -> None:
        """Evaluate a tile and write it, unless somebody else has done it."""
        if self._store.exists(tile.key):
            return
        if not self._current or self._current[0] != tile.part:
            self._current = tile.part, evaluator(self._store, self._run, tile.part)
        evaluate_tile(self._store, tile, partial(self._point, self._current[1]))

    def _point(self, evaluate: Evaluate, x: float, y: float) -> Any:
        self._check()
        return evaluate(x, y)


def load_problem(store: Store, run_id: str, count: int) -> Problem:
    """The trained network of a run, its loss, and `count` samples of the survey's split, on the survey's
    device. Sets torch to one thread.

    Fewer samples are a part of more samples.
    """
    compute_deterministically()
    experiment, manifest = load_experiment(store, run_id), load_run_manifest(store, run_id)
    landscape, device = experiment.landscape, experiment.landscape.device
    network = load_network(store, run_id).eval().to(device)
    rows = manifest.rows(landscape.split, landscape.task)
    chosen = rows.start + sample_indices(len(rows), count, landscape.seed)
    inputs, targets = load_samples(store, manifest, landscape.split, chosen)
    inputs = _laid_out(like_parameters(inputs, network).to(device), network)
    return Problem(
        network, named_loss(experiment.loss), Samples(inputs, targets.to(device), landscape.batch_size)
    )


def compute_deterministically() -> None:
    """One thread, and only algorithms that give the same bits every time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it matrix products on a GPU do not
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode(
        "error"
    )  # as use_deterministic_algorithms(True), which imports torch.compile for seconds


def load_network(store: Store, run_id: str) -> nn.Module:
    """The trained network of a run."""
    network = build(load_experiment(store, run_id).model, load_run_manifest(store, run_id))
    network.load_state_dict(load(store.read(layout.weights(links(store, run_id).training))))
    return network


def load_directions(store: Store, address: str) -> Directions:
    """The stored directions of a plane."""
    stored = load(store.read(layout.directions(address)))
    return _axis(stored, "x"), _axis(stored, "y")


def _axis(directions: dict[str, Tensor], axis: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{axis}/"): value
        for name, value in directions.items()
        if name.startswith(f"{axis}/")
    }


def _laid_out(inputs: Tensor, network: nn.Module) -> Tensor:
    """Images channels last, in which convolutions are fastest; as they are where the network does not take
    them so.
    """
    if inputs.dim() != 4:
        return inputs
    channels_last = inputs.contiguous(memory_format=torch.channels_last)
    return channels_last if _same_outputs(network, inputs[:_TRIED], channels_last[:_TRIED]) else inputs


@torch.no_grad()
def _same_outputs(network: nn.Module, inputs: Tensor, laid_out: Tensor) -> bool:
    """Whether a network gives the same outputs, to rounding, for the same inputs in another memory format.

    One that flattens by `view` fails there; one that reads the memory by strides of its own answers something
    else.
    """
    try:
        expected, found = network(inputs), network(laid_out)
    except (
        Exception
    ):  # whatever a user's network does; what fails in any format fails again where it is evaluated
        return False
    tolerance = torch.finfo(expected.dtype).eps ** 0.5
    largest = expected.abs().nan_to_num(0, 0).max().item()
    return torch.allclose(found, expected, rtol=0, atol=tolerance * largest, equal_nan=True)


def _trajectory(store: Store, run_id: str, problem: Problem) -> Evaluate:
    """The loss of the snapshot after epoch x, with the statistics that it had."""
    training, network = links(store, run_id).training, problem.network
    still = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}

    def evaluate(epoch: float, _y: float) -> Result:
        network.load_state_dict(load(store.read(layout.snapshot(training, int(epoch)))))
        return Evaluator(problem, (still, still), "frozen")(0.0, 0.0)

    return evaluate
