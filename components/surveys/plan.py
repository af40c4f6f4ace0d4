"""The plan of a survey: the directions of its planes, and the addresses of its parts.

A part is addressed by what decides its values: weights, directions, data and evaluation settings. Its tiles
are immutable, so that an interrupted, a finer or a wider survey of the same surface evaluates only the points
that are not there yet.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.core.errors import LossmapError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.landscape.directions.normalization import convolution_groups, normalize
from lossmap.components.landscape.directions.random import normalized_direction, random_direction
from lossmap.components.landscape.directions.trajectory import Principal, principal
from lossmap.components.landscape.hessian.lanczos import eigenpairs
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.parameters import gradient
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import links, load_experiment, load_run_manifest
from lossmap.components.surveys.problems import load_network, load_problem
from lossmap.components.surveys.tiles import Kind, Part, Position, Survey, save_survey

# Part of every address: raise it when the same settings begin to give other values.
_EVALUATION = 2
_EVALUATED_WITH = {"split", "task", "samples", "batch_norm", "batch_size", "device", "seed"}

Pair = Mapping[str, Mapping[str, Tensor]]  # axis, name


def plan(store: Store, run_id: str) -> Survey:
    """Make the directions, keep them, and address what is to be evaluated."""
    planning = _Planning(store, run_id)
    landscape = planning.experiment.landscape
    parts = [_plane(planning, pair) for pair in range(landscape.pairs)]
    plane = parts[0].plane
    if planning.path:
        parts.append(Part(kind="trajectory", address=planning.address("trajectory", {}), plane=plane))
    if landscape.convexity:
        settings = landscape.convexity.model_dump(mode="json", exclude={"plane"})
        parts.append(
            Part(
                kind="convexity",
                address=planning.address("convexity", {"directions": plane, **settings}),
                plane=plane,
            )
        )
    if landscape.curvature:
        parts.append(
            Part(
                kind="curvature",
                address=planning.address("curvature", landscape.curvature.model_dump(mode="json")),
                plane=plane,
            )
        )
    survey = Survey(
        parts=tuple(parts),
        positions=planning.positions(),
        explained=planning.path.explained if planning.path else (),
    )
    save_survey(store, run_id, survey)
    return survey


@dataclass(frozen=True)
class _Planning:
    """What the parts of one run's survey have in common."""

    store: Store
    run: str

    @cached_property
    def experiment(self) -> Experiment:
        return load_experiment(self.store, self.run)

    @cached_property
    def training(self) -> str:
        return links(self.store, self.run).training

    @cached_property
    def content(self) -> bytes:
        return self.store.read(layout.weights(self.training))

    @cached_property
    def state(self) -> dict[str, Tensor]:
        return load(self.content)

    @cached_property
    def network(self) -> nn.Module:
        return load_network(self.store, self.run)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        return {name: self.state[name] for name, _ in self.network.named_parameters()}

    @cached_property
    def groups(self) -> dict[str, int]:
        return convolution_groups(self.network)

    @cached_property
    def epochs(self) -> list[int]:
        return [
            int(key.removeprefix(layout.snapshots(self.training)).removesuffix(".safetensors"))
            for key in self.store.keys(layout.snapshots(self.training))
        ]

    @cached_property
    def path(self) -> Principal | None:
        """The trajectory and its plane, where the survey is about them."""
        if self.experiment.landscape.directions != "trajectory":
            return None
        snapshots = [load(self.store.read(layout.snapshot(self.training, epoch))) for epoch in self.epochs]
        return principal(self.state, snapshots, list(self.weights))

    def positions(self) -> tuple[Position, ...]:
        """Where the snapshots lie with respect to the plane."""
        if not self.path:
            return ()
        rows = zip(
            self.epochs,
            self.path.positions.tolist(),
            self.path.distances.tolist(),
            self.path.lengths.tolist(),
            strict=True,
        )
        return tuple(
            Position(epoch=epoch, x=x, y=y, distance=distance, length=length)
            for epoch, (x, y), distance, length in rows
        )

    def address(self, kind: Kind, settings: Mapping[str, Any]) -> str:
        """SHA-256 of what decides the values of a part."""
        parts = {
            "kind": kind,
            "weights": hashlib.sha256(self.content).hexdigest(),
            "data": load_run_manifest(self.store, self.run).digest,
            "model": self.experiment.model.model_dump(mode="json"),
            "settings": (
                self.experiment.landscape.model_dump(mode="json", include=_EVALUATED_WITH) | dict(settings)
            ),
            "torch": torch.__version__,
            "evaluation": _EVALUATION,
        }
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _plane(planning: _Planning, pair: int) -> Part:
    """Make a plane's directions and keep them as safetensors `x/<name>` and `y/<name>`, float32."""
    directions = _pair(planning, pair)
    content = save(
        {
            f"{axis}/{name}": value.float().contiguous()
            for axis, direction in directions.items()
            for name, value in direction.items()
        }
    )
    address = planning.address("loss", {"directions": hashlib.sha256(content).hexdigest()})
    planning.store.write(layout.directions(address), content)
    return Part(kind="loss", address=address, plane=address, pair=pair)


def _pair(planning: _Planning, pair: int) -> Pair:
    landscape = planning.experiment.landscape
    if landscape.directions == "random":
        return {
            axis: normalized_direction(planning.weights, axis, landscape, pair, planning.groups)
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
    found = [_difference(planning, other) for other in landscape.networks]
    if len(found) == 1:
        random = Landscape(seed=landscape.seed)
        found.append(_complete(normalized_direction(planning.weights, "y", random), found[0]))
    return dict(zip(("x", "y"), found, strict=True))


def _difference(planning: _Planning, other: str) -> dict[str, Tensor]:
    state = load(planning.store.read(layout.weights(links(planning.store, other).training)))
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if shapes != {name: tensor.shape for name, tensor in planning.state.items()}:
        raise LossmapError(
            f"run {other} has another network than {planning.run}, expected the same architecture and size;"
            " name runs whose model is equal"
        )
    return _moving(
        {
            name: tensor.double() - planning.state[name].double()
            for name, tensor in state.items()
            if tensor.is_floating_point()
        },
        planning,
    )


def _moving(direction: Mapping[str, Tensor], planning: _Planning) -> dict[str, Tensor]:
    """The part of a direction that moves: the parameters, and BatchNorm's statistics where they are
    coordinates.
    """
    statistics = planning.experiment.landscape.batch_norm == "coordinates"
    return {name: tensor for name, tensor in direction.items() if statistics or name in planning.weights}


def _complete(direction: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: direction.get(name, torch.zeros_like(tensor)) for name, tensor in like.items()}


def _of_the_loss(planning: _Planning, landscape: Landscape) -> Pair:
    """The eigenvectors of the Hessian's two greatest eigenvalues, or the gradient and a random direction;
    on the survey's samples.
    """
    problem = load_problem(planning.store, planning.run, landscape.samples)
    if landscape.directions == "hessian":
        vectors = eigenpairs(Hessian(problem), 2, 0, 0.01, landscape.seed).vectors
        found = {
            axis: _named(_pointing(vectors[:, column]), planning) for column, axis in enumerate(("x", "y"))
        }
    else:
        found = {
            "x": _named(gradient(problem), planning),
            "y": random_direction(planning.weights, landscape.seed, "y"),
        }
    settings = (landscape.normalization, landscape.ignore_bias_and_norm, planning.groups)
    return {axis: normalize(direction, planning.weights, *settings) for axis, direction in found.items()}


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
