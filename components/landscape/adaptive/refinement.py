"""The quadtree of an adaptive survey, replayed from the losses that are known (see `adaptive` for what it
does and why).
"""

from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.landscape import Adaptive
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.adaptive.interpolation import Array, Index, places, predict, to_scale

_ROUNDING = 1e-6  # relative error of a loss from float32 arithmetic: to refine for less is to chase noise


class Cell(NamedTuple):
    """A rectangle of grid indices, borders included."""

    left: int
    right: int
    low: int
    high: int

    @property
    def middle(self) -> Index:
        """Its middle, rounded down; a corner if it is not divisible."""
        return (self.left + self.right) // 2, (self.low + self.high) // 2

    @property
    def divisible(self) -> bool:
        """Whether it holds points that are no corners."""
        return self.right - self.left > 1 or self.high - self.low > 1

    @property
    def corners(self) -> list[Index]:
        """Its four corners."""
        return [(column, row) for row in (self.low, self.high) for column in (self.left, self.right)]

    def quarters(self) -> list["Cell"]:
        """The four cells that meet in the middle; two if it is one step wide."""
        column, row = self.middle
        return _cells(sorted({self.left, column, self.right}), sorted({self.low, row, self.high}))

    def holds(self, point: Index) -> bool:
        """Whether a point lies in it or on its border."""
        return self.left <= point[0] <= self.right and self.low <= point[1] <= self.high


class Replay:
    """A survey from its beginning, as far as the known points allow.

    Args:
        loss: (Y, X), at the known points.
        known: (Y, X) which points were evaluated.
        settings: of the survey.
        seed: decides which points are held out.

    Attributes:
        next_points: what is to be evaluated next; empty if the survey is complete.
        misses: the points that the survey has evaluated, in order, and by how much the prediction missed
            each: 0 for the first, which nothing predicted, infinity for a hole.
        tolerance: the largest miss that is allowed, in units of the scale.
        held_out: the points that were held out last.
        draws: how often points were held out.
    """

    def __init__(self, loss: Array, known: NDArray[np.bool_], settings: Adaptive, seed: int):
        self._settings, self._seed = settings, seed
        self._values = to_scale(loss, settings.scale)
        self._holes = np.zeros(loss.shape, dtype=bool)
        self._cells: list[Cell] = []
        self.misses: dict[Index, float] = {}
        self.tolerance, self.draws = 0.0, 0
        self.held_out: list[Index] = []
        self.next_points: list[Index] = []
        for points in self._rounds():
            new = [point for point in dict.fromkeys(points) if point not in self.misses]
            self.next_points = [(column, row) for column, row in new if not known[row, column]]
            if self.next_points:
                break
            self._evaluate(new)

    def basis(self) -> list[Index]:
        """The points that a complete survey's interpolant knows: all that have a finite value and were not
        held out last.
        """
        held_out = set(self.held_out)
        return self._finite([point for point in self.misses if point not in held_out])

    def _rounds(self) -> Iterator[list[Index]]:
        """The points of each round. After a round they are evaluated."""
        if min(self._values.shape) == 1:
            yield self._left()
            return
        columns, rows = (
            sorted({*range(0, count - 1, self._settings.spacing), count - 1})
            for count in self._values.shape[::-1]
        )
        yield [(column, row) for row in rows for column in columns]
        self._cells = [cell for cell in _cells(columns, rows) if cell.divisible]
        failed = yield from self._test(self._cells)
        while True:
            while failed:
                failed = yield from self._test((yield from self._split(failed)))
            self.held_out = self._draw()
            yield self.held_out
            missed = [point for point in self.held_out if self._fails(point)]
            if not missed:
                return
            failed = [cell for cell in self._cells if any(map(cell.holds, missed))]

    def _test(self, cells: Sequence[Cell]) -> Generator[list[Index], None, list[Cell]]:
        """Evaluate the middles of cells; return the cells that fail, and all that touch a hole."""
        yield [cell.middle for cell in cells]
        failed = {cell for cell in cells if self._fails(cell.middle)}
        return [cell for cell in self._cells if cell in failed or self._touches_a_hole(cell)]

    def _split(self, cells: Sequence[Cell]) -> Generator[list[Index], None, list[Cell]]:
        """Split cells; return the quarters that are to be tested: a new corner is missed, or no corner is
        new.
        """
        quarters = [quarter for cell in cells for quarter in cell.quarters()]
        new = {corner for quarter in quarters for corner in quarter.corners if corner not in self.misses}
        yield sorted(new)
        gone, divisible = set(cells), [quarter for quarter in quarters if quarter.divisible]
        self._cells = [cell for cell in self._cells if cell not in gone] + divisible
        return [quarter for quarter in divisible if not self._passed(new.intersection(quarter.corners))]

    def _draw(self) -> list[Index]:
        """Some of the points that are left, at random."""
        left = self._left()
        self.draws += 1
        chosen = stream("held-out points", self._seed, self.draws).permutation(len(left))[
            : self._settings.held_out
        ]
        return [left[index] for index in sorted(chosen)]

    def _left(self) -> list[Index]:
        rows, columns = self._values.shape
        return [
            (column, row)
            for row in range(rows)
            for column in range(columns)
            if (column, row) not in self.misses
        ]

    def _passed(self, tests: set[Index]) -> bool:
        return bool(tests) and not any(self._fails(test) for test in tests)

    def _fails(self, point: Index) -> bool:
        return not self.misses[point] <= self.tolerance  # NaN, where nothing could be predicted, fails

    def _touches_a_hole(self, cell: Cell) -> bool:
        return bool(self._holes[cell.low : cell.high + 1, cell.left : cell.right + 1].any())

    def _finite(self, points: list[Index]) -> list[Index]:
        return [(column, row) for column, row in points if not self._holes[row, column]]

    def _evaluate(self, new: list[Index]) -> None:
        """Predict new points from those before, note by how much they are missed, and count them among the
        evaluated.
        """
        before, values = self._finite(list(self.misses)), self._values[places(new)]
        misses = np.zeros(len(new))
        if self.misses:
            misses = np.abs(predict(before, self._values[places(before)], new) - values)
        self.misses.update(zip(new, np.where(np.isfinite(values), misses, inf).tolist(), strict=True))
        self._holes[places(new)] = ~np.isfinite(values)
        seen = self._values[places(self._finite(list(self.misses)))]
        if len(seen):
            size = 1.0 if self._settings.scale == "log" else float(np.abs(seen).max())
            self.tolerance = max(self._settings.tolerance * float(np.ptp(seen)), _ROUNDING * size)


def _cells(columns: Sequence[int], rows: Sequence[int]) -> list[Cell]:
    return [Cell(left, right, low, high) for low, high in pairwise(rows) for left, right in pairwise(columns)]
