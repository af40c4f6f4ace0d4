"""Permutation alignment by weight matching: which channel of one network plays the part of which channel of
another.

Ainsworth, Hayase and Srinivasa 2023, "Git Re-Basin", section 3.2 and algorithm 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.connectivity.symmetries import Space, channel_spaces

Permutation = NDArray[np.int64]  # channel i of the result is channel permutation[i] of the network

_GAIN = 1e-12  # of the weights' norms: smaller gains are rounding


@dataclass(frozen=True)
class Alignment:
    """A network's state with its channels in the order of another's.

    Attributes:
        state: as state_dict; a network with it computes the same function as before.
        spaces: free channel spaces; 0: there is nothing to align.
        permuted: those whose order changed.
    """

    state: dict[str, Tensor]
    spaces: int
    permuted: int


@dataclass(frozen=True)
class _Axis:
    """A dimension of a tensor that holds the channels of a space, `repeat` neighbours for each."""

    space: int
    dimension: int
    repeat: int


def align(network_a: nn.Module, network_b: nn.Module, seed: int = 0) -> Alignment:
    """Permute b's free channel spaces so that its parameters are as near to a's as coordinate descent finds.

    Maximise sum over parameters of <w_a, P w_b>, which is to minimise |w_a - P w_b|^2: for one space after
    the other, in random order, the best permutation given all others is a linear assignment; repeat until
    none gains. BatchNorm's statistics are permuted with their channels and do not count in the sum. The
    maximum is a local one, and depends on the seed.

    Raises:
        ExperimentError: the networks do not have the same tensors.
    """
    a, b = network_a.state_dict(), network_b.state_dict()
    _check_equal_shapes(a, b)
    spaces = [space for space in channel_spaces(network_b).spaces if space.free]
    axes = _axes(spaces)
    matched = [name for name, _ in network_b.named_parameters() if name in axes]
    permutations = _match(
        [a[name] for name in matched],
        [b[name] for name in matched],
        [axes[name] for name in matched],
        spaces,
        seed,
    )
    state = {name: _permuted(value, axes.get(name, []), permutations) for name, value in b.items()}
    moved = sum(bool((permutation != np.arange(len(permutation))).any()) for permutation in permutations)
    return Alignment(state, len(spaces), moved)


def _check_equal_shapes(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    for name in [*a, *b]:
        shapes = [tuple(state[name].shape) if name in state else "missing" for state in (a, b)]
        if shapes[0] != shapes[1]:
            raise ExperimentError(
                f"tensor {name} is {shapes[0]} in one network and {shapes[1]} in the other, expected two"
                " networks of the same architecture"
            )


def _axes(spaces: Sequence[Space]) -> dict[str, list[_Axis]]:
    axes: dict[str, list[_Axis]] = {}
    for index, space in enumerate(spaces):
        for name in space.rows:
            axes.setdefault(name, []).append(_Axis(index, 0, 1))
        for column in space.columns:
            axes.setdefault(column.name, []).append(_Axis(index, 1, column.repeat))
    return axes


def _match(
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    axes: Sequence[Sequence[_Axis]],
    spaces: Sequence[Space],
    seed: int,
) -> list[Permutation]:
    """Algorithm 1: the permutations of the spaces at which no single space can gain."""
    a, b = [value.detach().cpu().double() for value in a], [value.detach().cpu().double() for value in b]
    least = _GAIN * sum(float(one.norm() * two.norm()) for one, two in zip(a, b, strict=True))
    touching: list[list[int]] = [[] for _ in spaces]
    for index, of_tensor in enumerate(axes):
        for space in {axis.space for axis in of_tensor}:
            touching[space].append(index)
    permutations = [np.arange(space.channels) for space in spaces]
    order = stream("align", seed)
    gained = True
    while gained:
        gained = False
        for space in order.permutation(len(spaces)):
            tensors = [(a[index], b[index], axes[index]) for index in touching[space]]
            candidate = [*permutations]
            candidate[space] = _best(tensors, int(space), permutations)
            if _similarity(tensors, candidate) > _similarity(tensors, permutations) + least:
                permutations, gained = candidate, True
    return permutations


def _best(
    tensors: Sequence[tuple[Tensor, Tensor, Sequence[_Axis]]], space: int, permutations: Sequence[Permutation]
) -> Permutation:
    """The assignment of b's channels to a's, all other axes as they are permuted now (equation 2 of the
    paper).
    """
    channels = len(permutations[space])
    similarity = torch.zeros(channels, channels, dtype=torch.float64)
    for a, b, axes in tensors:
        for axis in axes:
            if axis.space == space:
                others = _permuted(b, [other for other in axes if other is not axis], permutations)
                similarity += _by_channel(a, axis) @ _by_channel(others, axis).T
    return np.asarray(linear_sum_assignment(similarity.numpy(), maximize=True)[1])


def _similarity(
    tensors: Sequence[tuple[Tensor, Tensor, Sequence[_Axis]]], permutations: Sequence[Permutation]
) -> float:
    return sum(float((a * _permuted(b, axes, permutations)).sum()) for a, b, axes in tensors)


def _by_channel(value: Tensor, axis: _Axis) -> Tensor:
    """One row for each channel."""
    rows: Tensor = value.unflatten(axis.dimension, (-1, axis.repeat)).movedim(axis.dimension, 0).flatten(1)
    return rows


def _permuted(value: Tensor, axes: Sequence[_Axis], permutations: Sequence[Permutation]) -> Tensor:
    """A copy whose channels are in the new order along every axis."""
    result = value.detach().clone()
    for axis in axes:
        places = permutations[axis.space][:, None] * axis.repeat + np.arange(axis.repeat)
        result = result.index_select(axis.dimension, torch.from_numpy(places.reshape(-1)).to(result.device))
    return result
