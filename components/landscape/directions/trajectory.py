"""The plane that holds most of a training's path, and how far a path is from this or any other plane."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossmap.components.core.errors import LossmapError

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Projection:
    """A path as it is seen on a plane through the trained network.

    Attributes:
        explained: shares of the sum over the snapshots of |w_t - w|^2 that lie along principal directions, or
            the one share that lies in the plane of others.
        positions: (snapshots, 2) coordinates of each snapshot's projection onto the plane.
        distances: (snapshots,) Euclidean distances from the plane.
        lengths: (snapshots,) Euclidean distances |w_t - w| from the trained network.
    """

    explained: tuple[float, ...]
    positions: Tensor
    distances: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Principal(Projection):
    """The path as it is seen on the plane of its two principal directions.

    Attributes:
        directions: of the plane, float64, by names of parameters and buffers.
    """

    directions: tuple[dict[str, Tensor], dict[str, Tensor]]


def principal(trained: State, snapshots: Sequence[State], parameters: Sequence[str]) -> Principal:
    """Principal component analysis of the differences w_t - w between snapshots and the trained network (Li
    et al. 2018, section 7).

    With the differences as rows of A, the Gram matrix A A' = U diag(s_k^2) U' gives the orthonormal
    directions v_k = A' u_k / s_k without a matrix of the size of the network squared. A snapshot's coordinate
    along v_k is s_k u_tk; what is left of it, the distance from the plane, is sqrt(|w_t - w|^2 - s_1^2 u_t1^2
    - s_2^2 u_t2^2). Each v_k is then multiplied by the largest |coordinate| along it, so that the path lies
    in [-1, 1]^2 and touches its border: positions are in these units, distances are not.

    The analysis is not centred on the mean: the plane goes through the trained network. Buffers (BatchNorm's
    statistics) do not take part in it; they get the same combination of their differences.

    Args:
        trained: parameters and buffers w, at the origin of the plane.
        snapshots: w_t, in order.
        parameters: names of the parameters among them.

    Raises:
        LossmapError: the path has no two dimensions.
    """
    differences = [_difference(state, trained) for state in snapshots]
    gram = _gram_matrix(differences, parameters)
    squares, vectors = torch.linalg.eigh(gram)
    if (squares > 1e-12 * squares.sum()).sum() < 2:
        raise LossmapError(
            f"the path of {len(snapshots)} snapshots does not span a plane, expected two at least that differ"
            " from the trained network and do not lie on one line with it; train longer, lower"
            " training.trajectory_every, give more checkpoints, or set landscape.directions=random"
        )
    squares, vectors = squares.flip(0), vectors.flip(1)
    coordinates = vectors[:, :2] * squares[:2].sqrt()
    furthest = coordinates[coordinates.abs().argmax(dim=0), torch.arange(2)]
    coordinates = coordinates * torch.where(furthest < 0, -1.0, 1.0)
    scales = coordinates.abs().amax(dim=0)
    directions = [
        _combined(differences, coordinates[:, axis] * scales[axis] / squares[axis]) for axis in (0, 1)
    ]
    return Principal(
        directions=(directions[0], directions[1]),
        explained=tuple((squares[:2] / squares.sum()).tolist()),
        positions=coordinates / scales,
        distances=(gram.diagonal() - (coordinates**2).sum(dim=1)).clamp(min=0).sqrt(),
        lengths=gram.diagonal().sqrt(),
    )


def projected(
    trained: State, snapshots: Sequence[State], parameters: Sequence[str], directions: tuple[State, State]
) -> Projection:
    """The orthogonal projection of a path onto the plane w + a x + b y: the a and b that minimise |w_t - w -
    a x - b y|^2, by the normal equations of the two directions, which need not be orthogonal.

    Args:
        trained: parameters and buffers w, at the origin of the plane.
        snapshots: w_t, in order.
        parameters: names of the parameters among them, of which distances are; a direction does not move
            those that it leaves out.
        directions: x and y.
    """
    count = len(snapshots)
    axes = [
        {name: axis.get(name, torch.zeros_like(trained[name])).double() for name in parameters}
        for axis in directions
    ]
    differences = [_difference(state, trained) for state in snapshots]
    gram = _gram_matrix([*differences, *axes], parameters)
    inner, metric = gram[:count, count:], gram[count:, count:]
    positions = inner @ torch.linalg.pinv(metric, hermitian=True)
    squares = gram[:count, :count].diagonal()
    seen = (positions * inner).sum(dim=1)
    return Projection(
        explained=(float(seen.sum() / squares.sum()) if squares.any() else 1.0,),
        positions=positions,
        distances=(squares - seen).clamp(min=0).sqrt(),
        lengths=squares.sqrt(),
    )


def _difference(state: State, origin: State) -> dict[str, Tensor]:
    """state - origin, float64, without the integers."""
    names = [name for name, tensor in origin.items() if tensor.is_floating_point()]
    return {name: state[name].double() - origin[name].double() for name in names}


def _gram_matrix(differences: Sequence[State], parameters: Sequence[str]) -> Tensor:
    """The scalar products of the differences' parameters (snapshots, snapshots)."""
    gram = torch.zeros(len(differences), len(differences), dtype=torch.float64)
    for name in parameters:
        rows = torch.stack([difference[name].flatten() for difference in differences])
        gram += rows @ rows.T
    return gram


def _combined(differences: Sequence[State], factors: Tensor) -> dict[str, Tensor]:
    combined = {name: torch.zeros_like(tensor) for name, tensor in differences[0].items()}
    for factor, difference in zip(factors.tolist(), differences, strict=True):
        for name, tensor in difference.items():
            combined[name] += factor * tensor
    return combined
