"""A run's network, loss and samples in memory, and what is evaluated on them."""

import hashlib
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.gpus import why_no_gpu
from lossmap.components.data.samples import SurveySamples, load_survey_samples
from lossmap.components.landscape.evaluator import Directions, Evaluator
from lossmap.components.landscape.fold import Pair, fold_batch_norm, foldable_pairs
from lossmap.components.landscape.forward import memory_format
from lossmap.components.landscape.grid import Result
from lossmap.components.landscape.hessian.convexity import ConvexityEvaluator
from lossmap.components.landscape.hessian.curvature import measure
from lossmap.components.landscape.losses.loss import Loss
from lossmap.components.landscape.moving import moving_parameters
from lossmap.components.landscape.objective import Problem, Samples, experiment_loss, like_parameters
from lossmap.components.landscape.precision import widen
from lossmap.components.models import build
from lossmap.components.models.imported import in_one_line
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_tensors, unsealed
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part
from lossmap.components.surveys.determinism import compute_deterministically, one_blas_thread
from lossmap.components.surveys.tiles import Document, Evaluate, Tile, evaluate_tile
from lossmap.components.surveys.trails import load_snapshot

_TRIED = 2  # samples that tell which memory format a network takes


class Problems:
    """What a run's survey is evaluated on. Weights and samples are read once, whatever is asked for.

    Args:
        run: with a trained network.
        device: that computes; without it that of the run's landscape.
    """

    def __init__(self, run: Run, device: str | None = None):
        self._run, self._device = run, device or run.experiment.landscape.device
        self._samples: dict[int, Samples] = {}
        self._pairs: dict[str, tuple[Pair, ...]] = {}

    @cached_property
    def weights_sha256(self) -> str:
        """Of the trained weights' file."""
        return self._weights[0]

    @property
    def state(self) -> dict[str, Tensor]:
        """The trained weights and buffers by name."""
        return self._weights[1]

    @property
    def loss(self) -> Loss:
        """What is surveyed."""
        return experiment_loss(self._run.experiment, self._run.manifest)

    def network(self) -> nn.Module:
        """The trained network, made anew each time: evaluators change theirs. Its weights of less than 32
        bits are float32.
        """
        network = build(self._run.experiment.model, self._run.manifest)
        network.load_state_dict(self.state)
        return widen(network)

    def problem(self, count: int) -> Problem:
        """A network of its own, the loss, and `count` samples of the survey, on the survey's device. Sets
        torch to one thread.

        Fewer samples are a part of more samples.
        """
        compute_deterministically()
        network = self._ready_network()
        if count not in self._samples:
            self._samples[count] = self._part(network, count)
        return Problem(network, self.loss, self._samples[count])

    def evaluator(self, part: Part) -> Evaluate:
        """A part of the run's survey as a function of two coordinates. Sets torch to one thread."""
        landscape = self._run.experiment.landscape
        if part.kind == "curvature" and landscape.curvature:
            settings, problem = landscape.curvature, self.problem(landscape.curvature.samples)
            return lambda _x, _y: Document(measure(problem, settings, landscape.seed).model_dump_json())
        if part.kind == "trajectory":
            return _trajectory(self._run, self.problem(landscape.samples))
        directions = load_directions(self._run.store, part.plane)
        if part.kind == "convexity" and landscape.convexity:
            problem = self.problem(landscape.convexity.samples)
            return ConvexityEvaluator(problem, directions, landscape.convexity.tolerance)
        problem = self.problem(landscape.samples)
        if landscape.batch_norm == "frozen":
            problem, directions = self._folded(part.plane, problem, directions)
        return Evaluator(problem, directions, landscape.batch_norm)

    def _folded(self, plane: str, problem: Problem, directions: Directions) -> tuple[Problem, Directions]:
        """With BatchNorm folded; what can be is found out once for each plane."""
        if plane not in self._pairs:
            self._pairs[plane] = foldable_pairs(problem, directions)
        return fold_batch_norm(problem, directions, self._pairs[plane])

    @cached_property
    def _weights(self) -> tuple[str, dict[str, Tensor]]:
        key = layout.weights(self._run.training)
        content = self._run.store.read(key)
        return hashlib.sha256(content).hexdigest(), unsealed(self._run.store, key, content)

    @cached_property
    def _survey_samples(self) -> SurveySamples:
        return load_survey_samples(self._run)

    def _ready_network(self) -> nn.Module:
        if self._device == "cuda" and not torch.cuda.is_available():
            raise ExperimentError(
                f"landscape.device is 'cuda' and {why_no_gpu()}; set landscape.device=cpu, or give this"
                " machine a GPU"
            )
        return self.network().eval().to(self._device)

    @cached_property
    def _memory_format(self) -> torch.memory_format:
        """Found on a network of its own, which may keep something of its first call."""
        landscape, network = self._run.experiment.landscape, self._ready_network()
        inputs, _ = self._survey_samples.part(min(_TRIED, landscape.samples))
        inputs = like_parameters(inputs, network).to(self._device)
        return memory_format(network, inputs)

    def _part(self, network: nn.Module, count: int) -> Samples:
        landscape = self._run.experiment.landscape
        inputs, targets = self._survey_samples.part(count)
        inputs = like_parameters(inputs, network).to(self._device)
        if inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=self._memory_format)
        return Samples(inputs, targets.to(self._device), landscape.batch_size)


class TileEvaluator:
    """Evaluates a run's tiles one after the other. Weights and samples stay in memory from one tile to the
    next, the network from one tile of a part to the next.

    Args:
        run: with its survey planned.
        check: called before every point; ends the evaluation by an exception.
    """

    def __init__(self, run: Run, check: Callable[[], None] = lambda: None):
        self._run, self._problems, self._check = run, Problems(run), check
        self._current: tuple[Part, Evaluate] | None = None

    def evaluate(self, tile: Tile) -> None:
        """Evaluate a tile and write it, unless somebody else has done it."""
        if self._run.store.exists(tile.key):
            return
        with one_blas_thread():
            compute_deterministically()  # whatever has set torch's threads since the last tile
            if not self._current or self._current[0] != tile.part:
                with in_one_line(self._run.experiment.model, f"the {tile.part.kind} of the survey"):
                    self._current = tile.part, self._problems.evaluator(tile.part)
            evaluate_tile(self._run.store, tile, partial(self._point, *self._current))

    def _point(self, part: Part, evaluate: Evaluate, x: float, y: float) -> Any:
        self._check()
        with in_one_line(self._run.experiment.model, f"the {part.kind} of the survey"):
            return evaluate(x, y)


def load_directions(store: Store, address: str) -> Directions:
    """The stored directions of a plane."""
    stored = load_tensors(store, layout.directions(address))
    return _axis(stored, "x"), _axis(stored, "y")


def _axis(directions: dict[str, Tensor], axis: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{axis}/"): value
        for name, value in directions.items()
        if name.startswith(f"{axis}/")
    }


def _trajectory(run: Run, problem: Problem) -> Evaluate:
    """The loss of the snapshot after epoch x of trail y, with the statistics that it had."""
    network = problem.network
    still = {name: torch.zeros_like(parameter) for name, parameter in moving_parameters(network).items()}

    def evaluate(epoch: float, trail: float) -> Result:
        network.load_state_dict(load_snapshot(run.store, run.survey.trails[int(trail)], int(epoch)))
        return Evaluator(problem, (still, still), "frozen")(0.0, 0.0)

    return evaluate
