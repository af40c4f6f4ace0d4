"""Grids of points on a plane, and what was found there."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.landscape import Axis

Point = tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """Points (x, y) with every x of one list and every y of another. A line has the one y 0.

    Attributes:
        x: coordinates along the first direction.
        y: coordinates along the second.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    @classmethod
    def of(cls, x: Axis, y: Axis | None = None) -> "Grid":
        """The plane x × y, or the line along x."""
        return cls(coordinates(x), coordinates(y) if y else (0.0,))

    def points(self) -> list[Point]:
        """All points, row by row: y is constant in a row."""
        return [(x, y) for y in self.y for x in self.x]

    def digest(self, settings: str = "") -> str:
        """SHA-256 over the coordinates, and over how the values between evaluated points are found."""
        coordinates = points_digest([*((x, 0.0) for x in self.x), *((0.0, y) for y in self.y)])
        return hashlib.sha256(f"{coordinates} {settings}".encode()).hexdigest() if settings else coordinates


def coordinates(axis: Axis) -> tuple[float, ...]:
    """low + (high - low) i / (points - 1), each rounded once.

    The decimal numbers of the experiment are taken exactly, so that equal places in a coarse and a fine grid
    are equal floats and a finer survey finds the points that are already paid for.
    """
    low, high = Fraction(str(axis.low)), Fraction(str(axis.high))
    return tuple(float(low + (high - low) * i / (axis.points - 1)) for i in range(axis.points))


def points_digest(points: Sequence[Point]) -> str:
    """SHA-256 over the exact coordinates, in order."""
    return hashlib.sha256(" ".join(value.hex() for point in points for value in point).encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """What was found at one point.

    Attributes:
        loss: over the samples, of cross-entropy in nats; NaN and infinity stay what they are.
        error: share of wrong answers; NaN where there are no classes or labels.
        loss_standard_error: of the loss over the samples (objective.SampleMean).
        group_losses: mean over each group of samples of what they add to the loss, the same groups at all
            points (objective.Samples.groups).
        group_weights: mean over each group of how much its samples count, the same at all points; empty where
            all samples count alike, 1. Loss and weights of a group are on one scale: the loss of some groups
            is the sum of their losses over that of their weights.
    """

    loss: float
    error: float
    loss_standard_error: float
    group_losses: tuple[float, ...] = ()
    group_weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Surface:
    """Values on a grid. Arrays have one row for each y and one column for each x.

    Attributes:
        x: (X,) coordinates along the first direction.
        y: (Y,) coordinates along the second; [0] for a line.
        loss: (Y, X) float64, as in Result; so are the next three.
        error: (Y, X).
        loss_standard_error: (Y, X).
        group_losses: (Y, X, groups).
        evaluated: (Y, X) False where a point was not evaluated; its values are interpolated, or else NaN.
        interpolated: (Y, X) True where the values were interpolated between evaluated points.
        group_weights: (groups,) as in Result: empty where all samples count alike.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    loss: NDArray[np.float64]
    error: NDArray[np.float64]
    loss_standard_error: NDArray[np.float64]
    group_losses: NDArray[np.float64]
    evaluated: NDArray[np.bool_]
    interpolated: NDArray[np.bool_]
    group_weights: NDArray[np.float64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(Y, X) True where the loss was evaluated or interpolated; it may be NaN or infinite."""
        return self.evaluated | self.interpolated

    @property
    def weights(self) -> NDArray[np.float64]:
        """(groups,) How much each group counts, on average 1."""
        alike = np.ones(self.group_losses.shape[-1])
        return self.group_weights if len(self.group_weights) else alike

    @property
    def finite(self) -> NDArray[np.bool_]:
        """(Y, X) True where the loss is known and finite."""
        return self.known & np.isfinite(self.loss)

    @property
    def has_errors(self) -> bool:
        """Whether samples were classified."""
        return bool((self.known & ~np.isnan(self.error)).any())


def to_npz(**arrays: NDArray[np.generic]) -> bytes:
    """Arrays as an .npz archive; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def to_small_npz(surface: Surface) -> bytes:
    """A surface as a compressed .npz archive, without what its groups of samples had; equal surfaces give
    equal bytes.
    """
    buffer, ungrouped = io.BytesIO(), np.empty((*surface.loss.shape, 0))
    values = vars(replace(surface, group_losses=ungrouped, group_weights=np.empty(0)))
    np.savez_compressed(buffer, allow_pickle=False, **values)
    return buffer.getvalue()


def from_npz(content: bytes) -> dict[str, NDArray[np.generic]]:
    """The arrays of an .npz archive; no pickled objects."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)
