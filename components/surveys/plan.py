"""The plan of a survey: the directions of its planes, and the addresses of its parts.

A part is addressed by what decides its values: weights, directions, data and evaluation settings. Its tiles
are immutable, so that an interrupted, a finer or a wider survey of the same surface evaluates only the points
that are not there yet.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.data.samples import keep_samples
from lossmap.components.landscape.directions.filters import Layout, filter_layouts
from lossmap.components.landscape.directions.normalization import normalize
from lossmap.components.landscape.directions.random import normalized_direction, random_direction
from lossmap.components.landscape.directions.trajectory import Principal, Projection, principal, projected
from lossmap.components.landscape.evaluator import tensors
from lossmap.components.landscape.fold import differentiable_fold
from lossmap.components.landscape.hessian.curvature import block_names
from lossmap.components.landscape.hessian.lanczos import eigenpairs
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.layers import check_layers, check_reestimation
from lossmap.components.landscape.moving import frozen_parameters, listed, moving_parameters
from lossmap.components.landscape.parameters import gradient
from lossmap.components.landscape.precision import narrow_types
from lossmap.components.models.imported import in_one_line
from lossmap.components.stores import layout, software
from lossmap.components.stores.documents import sealed
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Kind, Part, Position, Survey, Trail
from lossmap.components.surveys.checks import check_plane
from lossmap.components.surveys.determinism import one_blas_thread
from lossmap.components.surveys.problems import Problems, load_directions
from lossmap.components.surveys.trails import load_snapshot, snapshot_epochs, trails

_ON_THE_PLANE = {
    "frozen": (
        "on the plane they are the surveyed network's everywhere, so that the two losses differ by that, too"
        " (landscape.batch_norm=coordinates moves them along, reestimated estimates them at every point)"
    ),
    "reestimated": "on the plane they are estimated at every point",
    "coordinates": "on the plane they move along with the weights",
}
_EVALUATED_WITH = {"split", "task", "samples", "batch_norm", "batch_size", "device", "seed"}

Pair = Mapping[str, Mapping[str, Tensor]]  # axis, name


def plan(run: Run) -> Survey:
    """Make the directions and draw the samples, keep both, and address what is to be evaluated.

    Raises:
        ExperimentError: the network has nothing to move, or cannot be surveyed as it is.
    """
    keep_samples(run)
    planning = _Planning(run)
    landscape = run.experiment.landscape
    planning.check_layers()
    with one_blas_thread(), in_one_line(run.experiment.model, "the directions of the survey"):
        parts = [_plane(planning, pair) for pair in range(landscape.pairs)]
    plane = parts[0].plane
    if isinstance(run.experiment.model, Imported):
        check_plane(planning.problems, load_directions(run.store, plane), landscape.samples)
    if planning.trails:
        places = {"trails": [(trail.training, trail.number) for trail in planning.trails]}
        parts.append(Part(kind="trajectory", address=planning.address("trajectory", places), plane=plane))
    if landscape.convexity:
        settings = {"directions": plane, **landscape.convexity.model_dump(mode="json", exclude={"plane"})}
        parts.append(Part(kind="convexity", address=planning.address("convexity", settings), plane=plane))
    if landscape.curvature:
        settings = landscape.curvature.model_dump(mode="json")
        parts.append(Part(kind="curvature", address=planning.address("curvature", settings), plane=plane))
    seen = planning.seen(plane)
    survey = Survey(
        parts=tuple(parts),
        positions=planning.positions(seen) if seen else (),
        trails=planning.trails,
        explained=seen.explained if seen else (),
        notes=tuple(planning.notes()),
    )
    run.keep_survey(survey)
    return survey


def _device(landscape: Landscape) -> str:
    """The survey's, or the CPU in a pod that has no GPU, as one that plans need not where no loss is
    computed for the directions.
    """
    return landscape.device if landscape.follows_the_loss or torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class _Planning:
    """What the parts of one run's survey have in common."""

    run: Run

    @property
    def landscape(self) -> Landscape:
        """As the experiment has it. Where training moves nothing but vectors of a network that has other
        parameters (biases or norms that were tuned), these are what moves here, too.
        """
        landscape = self.run.experiment.landscape
        return landscape.model_copy(update={"ignore_bias_and_norm": False}) if self.tuned else landscape

    @cached_property
    def tuned(self) -> bool:
        """Whether all parameters that move have one dimension, which the survey would leave, and frozen ones
        have more.
        """
        others = frozen_parameters(self.network).values()
        return (
            self.run.experiment.landscape.ignore_bias_and_norm
            and all(weight.dim() <= 1 for weight in self.weights.values())
            and any(parameter.dim() > 1 for parameter in others)
        )

    def check_layers(self) -> None:
        """Whether the network's layers, and those that are named, can be surveyed in this way."""
        check_layers(self.network)
        if self.landscape.batch_norm == "reestimated":
            check_reestimation(self.network)
        if self.landscape.curvature:
            block_names(self.network, self.landscape.curvature)

    def notes(self) -> Iterator[str]:
        """What one has to know about the weights that move, in sentences."""
        if narrow := narrow_types(self.state):
            yield f"Weights in {' and '.join(narrow)} move in float32."
        if frozen := sum(parameter.numel() for parameter in frozen_parameters(self.network).values()):
            moving = sum(weight.numel() for weight in self.weights.values())
            yield f"{frozen:,} of {frozen + moving:,} weights are frozen and do not move."
        if self.tuned:
            yield "The others have one dimension and move, although landscape.ignore_bias_and_norm is true."
        yield from self.geometry
        if self.trails and any(isinstance(module, _BatchNorm) for module in self.network.modules()):
            plane = _ON_THE_PLANE[self.landscape.batch_norm]
            yield f"Every snapshot's own loss is with its own BatchNorm statistics; {plane}."

    @cached_property
    def geometry(self) -> list[str]:
        """How far other runs' networks are, and in which directions: a picture has right angles and equal
        units.
        """
        if self.landscape.directions != "networks":
            return []
        names = self.landscape.networks
        vectors = [_flat(_difference(self, name), self.weights) for name in names]
        lengths = [float(vector.norm()) for vector in vectors]
        far = " and ".join(f"{name} {length:.4g}" for name, length in zip(names, lengths, strict=True))
        lines = [f"Euclidean distance of the weights from {self.run.name}: {far}."]
        if len(vectors) > 1 and all(lengths):
            cosine = float(vectors[0] @ vectors[1]) / (lengths[0] * lengths[1])
            degrees = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
            lines.append(f"The two directions enclose {degrees:.3g} degrees and are drawn at right angles.")
        return lines

    @cached_property
    def problems(self) -> Problems:
        return Problems(self.run, _device(self.run.experiment.landscape))

    @property
    def state(self) -> dict[str, Tensor]:
        return self.problems.state

    @cached_property
    def network(self) -> nn.Module:
        return self.problems.network()

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Those that move."""
        return {name: weight.detach() for name, weight in moving_parameters(self.network).items()}

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        return filter_layouts(self.network)

    @cached_property
    def trails(self) -> tuple[Trail, ...]:
        """The paths that the survey shows: those that were imported, its own training's where the plane is
        made of it or others are shown, and those of other runs.
        """
        return trails(self.run)

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Trail and epoch of every snapshot."""
        return [
            (number, epoch)
            for number, trail in enumerate(self.trails)
            for epoch in snapshot_epochs(self.run.store, trail)
        ]

    @cached_property
    def snapshots(self) -> list[dict[str, Tensor]]:
        """The weights of every snapshot."""
        return [load_snapshot(self.run.store, self.trails[number], epoch) for number, epoch in self.places]

    @cached_property
    def path(self) -> Principal | None:
        """The trails and their plane, where the survey is of that."""
        if self.landscape.directions != "trajectory":
            return None
        return principal(self.state, self.snapshots, list(self.weights))

    def seen(self, plane: str) -> Projection | None:
        """The trails on the plane, where there are some."""
        if self.path or not self.trails:
            return self.path
        directions = load_directions(self.run.store, plane)
        return projected(self.state, self.snapshots, list(self.weights), directions)

    def positions(self, seen: Projection) -> tuple[Position, ...]:
        """Where the snapshots lie with respect to the plane."""
        rows = zip(
            self.places, seen.positions.tolist(), seen.distances.tolist(), seen.lengths.tolist(), strict=True
        )
        return tuple(
            Position(epoch=epoch, x=x, y=y, distance=distance, length=length, trail=trail)
            for (trail, epoch), (x, y), distance, length in rows
        )

    def address(self, kind: Kind, settings: Mapping[str, Any]) -> str:
        """SHA-256 of what decides the values of a part."""
        parts = {
            "kind": kind,
            "weights": self.problems.weights_sha256,
            "data": self.run.manifest.digest,
            "model": self.run.experiment.model.model_dump(mode="json", exclude={"trajectories"}),
            "settings": self.landscape.model_dump(mode="json", include=_EVALUATED_WITH) | dict(settings),
            "software": software.software_of(software.SURVEY),
        }
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _plane(planning: _Planning, pair: int) -> Part:
    """Make a plane's directions and keep them as safetensors `x/<name>` and `y/<name>`, in the types of what
    they move.
    """
    directions, own = _pair(planning, pair), tensors(planning.network)
    for axis, direction in directions.items():
        _check_length(axis, direction, planning)
    content = sealed(
        save(
            {
                f"{axis}/{name}": value.to(own[name].dtype).contiguous()
                for axis, direction in directions.items()
                for name, value in direction.items()
            }
        )
    )
    address = planning.address("loss", {"directions": hashlib.sha256(content).hexdigest()})
    planning.run.store.write(layout.directions(address), content)
    return Part(kind="loss", address=address, plane=address, pair=pair)


def _check_length(axis: str, direction: Mapping[str, Tensor], planning: _Planning) -> None:
    """Raises:
    ExperimentError: the direction is zero.
    """
    if any(bool(value.any()) for value in direction.values()):
        return
    landscape, what = planning.landscape, f"the direction {axis} of {planning.run.name} is zero"
    if landscape.directions != "random":
        raise ExperimentError(
            f"{what}: directions is {landscape.directions}, and there is no difference, gradient or"
            " eigenvector to follow; set landscape.directions=random"
        )
    if landscape.ignore_bias_and_norm and all(weight.dim() <= 1 for weight in planning.weights.values()):
        raise ExperimentError(
            f"{what}: every parameter has one dimension, as biases and norms have, which stay where they are;"
            " set landscape.ignore_bias_and_norm=false"
        )
    raise ExperimentError(
        f"{what}: every weight that moves is zero, and normalization {landscape.normalization} gives the"
        " direction the weights' length; set landscape.normalization=none, or"
        " landscape.ignore_bias_and_norm=false where biases are not zero"
    )


def _pair(planning: _Planning, pair: int) -> Pair:
    landscape = planning.landscape
    if landscape.directions == "random":
        return {
            axis: normalized_direction(planning.weights, axis, landscape, pair, planning.layouts)
            for axis in ("x", "y")
        }
    if landscape.directions == "networks":
        return _to_networks(planning, landscape)
    if planning.path:
        x, y = planning.path.directions
        return {"x": _moving(x, planning), "y": _moving(y, planning)}
    return _of_the_loss(planning, landscape)


def _to_networks(planning: _Planning, landscape: Landscape) -> Pair:
    """Differences to other runs' networks, at (1, 0) and (0, 1). With one network the second direction is
    random and filter-normalised.
    """
    differences = [_difference(planning, other) for other in landscape.networks]
    if len(differences) == 1:
        random = Landscape(seed=landscape.seed)
        differences.append(_complete(normalized_direction(planning.weights, "y", random), differences[0]))
    return dict(zip(("x", "y"), differences, strict=True))


def _difference(planning: _Planning, other: str) -> dict[str, Tensor]:
    state = Problems(Run(planning.run.store, other)).state
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if shapes != {name: tensor.shape for name, tensor in planning.state.items()}:
        raise LossmapError(
            f"run {other} has another network than {planning.run.name}, expected the same architecture and"
            " size; name runs whose model is equal"
        )
    difference = {
        name: tensor.double() - planning.state[name].double()
        for name, tensor in state.items()
        if tensor.is_floating_point()
    }
    fixed = [name for name in frozen_parameters(planning.network) if difference[name].any()]
    if fixed:
        raise LossmapError(
            f"run {other} differs from {planning.run.name} in parameters that do not move ({listed(fixed)}),"
            " so that its network does not lie on the plane; let them require a gradient"
        )
    return _moving(difference, planning)


def _flat(direction: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """What of a direction moves weights, as one vector."""
    return torch.cat([direction[name].flatten() for name in weights])


def _moving(direction: Mapping[str, Tensor], planning: _Planning) -> dict[str, Tensor]:
    """The part of a direction that moves: the moving parameters, and BatchNorm's statistics where they are
    coordinates.
    """
    moving = set(planning.weights)
    if planning.landscape.batch_norm == "coordinates":
        moving |= {name for name, _ in planning.network.named_buffers()}
    return {name: tensor for name, tensor in direction.items() if name in moving}


def _complete(direction: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: direction.get(name, torch.zeros_like(tensor)) for name, tensor in like.items()}


def _of_the_loss(planning: _Planning, landscape: Landscape) -> Pair:
    """The eigenvectors of the Hessian's two greatest eigenvalues, or the gradient and a random direction;
    on the survey's samples.
    """
    problem = differentiable_fold(planning.problems.problem(landscape.samples))
    if landscape.directions == "hessian":
        vectors = eigenpairs(Hessian(problem), 2, 0, 0.01, landscape.seed).vectors
        x, y = (_named(_pointing(vectors[:, column]), planning) for column in range(2))
    else:
        x = _named(gradient(problem), planning)
        y = random_direction(planning.weights, landscape.seed, "y")
    settings = (landscape.normalization, landscape.ignore_bias_and_norm, planning.layouts)
    return {axis: normalize(each, planning.weights, *settings) for axis, each in {"x": x, "y": y}.items()}


def _pointing(eigenvector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the two signs the one with a positive entry of greatest magnitude."""
    return eigenvector if eigenvector[np.abs(eigenvector).argmax()] > 0 else -eigenvector


def _named(vector: NDArray[np.float64], planning: _Planning) -> dict[str, Tensor]:
    """A flat vector by names of parameters."""
    parts = torch.as_tensor(vector, dtype=torch.float64).split(
        [weight.numel() for weight in planning.weights.values()]
    )
    return {
        name: part.reshape(weight.shape)
        for part, (name, weight) in zip(parts, planning.weights.items(), strict=True)
    }
