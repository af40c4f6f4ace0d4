"""How the low parts of a surface hang together: its merge tree, and the basin around a point."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_Ranks = NDArray[np.intp]


@dataclass(frozen=True)
class Minimum:
    """A leaf of the merge tree.

    Attributes:
        row: of the grid.
        column: of the grid.
        height: value there.
        merge: lowest level at which the points not above it connect this minimum to a lower one; infinite
            where none is lower.
    """

    row: int
    column: int
    height: float
    merge: float

    @property
    def persistence(self) -> float:
        """How far one has to climb to get to a lower minimum: merge - height; infinite for the lowest."""
        return self.merge - self.height


def merge_tree(heights: NDArray[np.float64]) -> list[Minimum]:
    """The local minima of a grid and how high one climbs from each to a lower one, the most persistent first.

    Persistence of connected components of the sublevel sets {height <= t}, t rising (Edelsbrunner, Letscher &
    Zomorodian 2002; Edelsbrunner & Harer, Computational Topology 2010, VII.1): where two components meet, the
    one with the higher minimum ends. A plateau is one minimum, at its first point in reading order: equal
    heights are told apart by their place, and what ends where it begins is left out.

    Points have eight neighbours, so that a narrow valley along a diagonal is one minimum and not one for
    every point on its bottom: the count never exceeds that with four. Values that are not finite are no
    points: nothing connects through them, and each region that they cut off has a lowest minimum of its own.

    Every point drains along its lowest neighbours into a minimum without rising, hence components of {height
    <= t} are those of the drained basins, joined at the lowest passes between them: union-find runs over
    these passes alone, in order of rising height.

    Args:
        heights: (Y, X); Y or X may be 1.
    """
    known = np.isfinite(heights)
    by_height: _Ranks = np.argsort(heights[known], kind="stable")
    values = heights[known][by_height]
    rank: _Ranks = np.full(heights.shape, len(values))  # of what is no point: above all others
    rank[tuple(index[by_height] for index in np.nonzero(known))] = np.arange(len(values))
    merge = _merge_ranks(rank, _basins(rank, len(values)))
    rows, columns = (index[by_height] for index in np.nonzero(known))
    minima = [
        Minimum(
            int(rows[i]), int(columns[i]), float(values[i]), float(values[j]) if j < len(values) else np.inf
        )
        for i, j in merge.items()
    ]
    return sorted(
        (minimum for minimum in minima if minimum.persistence > 0), key=lambda minimum: -minimum.persistence
    )


def component(inside: NDArray[np.bool_], row: int, column: int) -> NDArray[np.bool_]:
    """(Y, X) The points inside that hang together with one point by steps to four neighbours; none where that
    point is outside.

    Four, so that a basin never leaks through a corner.
    """
    labels, _ = ndimage.label(inside)
    connected: NDArray[np.bool_] = inside & (labels == labels[row, column])
    return connected


def _basins(rank: _Ranks, count: int) -> _Ranks:
    """(count,) For each rank that of the minimum into which the point drains."""
    height, width = rank.shape
    padded = np.pad(rank, 1, constant_values=count)
    lowest = np.min([padded[i : i + height, j : j + width] for i, j in product(range(3), repeat=2)], axis=0)
    basin: _Ranks = np.empty(count, dtype=np.intp)
    basin[rank[rank < count]] = lowest[rank < count]
    while not np.array_equal(further := basin[basin], basin):
        basin = further
    return basin


def _merge_ranks(rank: _Ranks, basin: _Ranks) -> dict[int, int]:
    """For each minimum's rank that of the point at which it meets a lower one; the number of points where
    it meets none.
    """
    merge = {int(minimum): len(basin) for minimum in np.unique(basin)}
    root = {minimum: minimum for minimum in merge}
    for one, other, level in _passes(rank, basin):
        lower, higher = sorted((_root(root, one), _root(root, other)))
        if lower != higher:
            root[higher], merge[higher] = lower, level
    return merge


def _passes(rank: _Ranks, basin: _Ranks) -> list[tuple[int, int, int]]:
    """The lowest pass between every two basins that touch, (minimum, minimum, rank of the pass), the
    lowest first.
    """
    pairs = [
        (rank[:, :-1], rank[:, 1:]),
        (rank[:-1], rank[1:]),
        (rank[:-1, :-1], rank[1:, 1:]),
        (rank[:-1, 1:], rank[1:, :-1]),
    ]
    one, other = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    level = np.maximum(one, other)
    touching = np.flatnonzero(level < len(basin))
    one, other, level = basin[one[touching]], basin[other[touching]], level[touching]
    border = np.flatnonzero(one != other)
    border = border[np.argsort(level[border])]
    ends = np.sort([one[border], other[border]], axis=0)
    _, first = np.unique(ends[0] * len(basin) + ends[1], return_index=True)
    first.sort()
    return list(zip(*(values[first].tolist() for values in (*ends, level[border])), strict=True))


def _root(root: dict[int, int], minimum: int) -> int:
    while root[minimum] != minimum:
        root[minimum] = minimum = root[root[minimum]]
    return minimum
