"""A surface as a lit sheet: its heights between points, its light, and which of its points are seen.

Heights are bilinear between neighbouring points of the grid, on the scale of the pictures: in a cell with the
corners h00, h01, h10, h11, at shares s and t of its sides, h = (1-t)((1-s) h00 + s h01) + t((1-s) h10 + s
h11). The sheet ends where it leaves the scale at its upper end, and where a corner has no finite loss. The
light is Blinn's (1977), by normals that are bilinear, too; it changes the lightness of a colour alone.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from lossmap.components.figures.frame import Frame, true_heights
from lossmap.components.figures.scale import Array
from lossmap.components.landscape.grid import Surface

FACETS = 240  # facets along the longer side of a sheet
_MOST_PARTS = 24  # of a cell's side
_AMBIENT, _DIFFUSE, _GLOSS, _SHINE = 0.62, 0.52, 0.10, 24
_OUTSIDE = 0.88  # of the light that the lower side gets
_LIFT = 0.004  # of the width: so far above the sheet lies what is drawn on it
_STEPS = 220  # of a ray of sight


@dataclass(frozen=True)
class View:
    """From where a box is seen, without perspective, so that equal heights are equal lengths everywhere.

    Attributes:
        azimuth: degrees around the vertical, from the first direction on.
        elevation: degrees above the horizon.
    """

    azimuth: float = -60.0
    elevation: float = 38.0

    @cached_property
    def toward(self) -> Array:
        """(3,) the unit vector to who looks."""
        return _direction(self.azimuth, self.elevation)

    @cached_property
    def light(self) -> Array:
        """(3,) the unit vector to the lamp, which turns with who looks: behind the left shoulder."""
        return _direction(self.azimuth - 52, 52)

    def seen(self, points: Array) -> Array:
        """(…, 2) where points (…, 3) are seen: to the right, and upwards."""
        angle, tilt = np.radians([self.azimuth, self.elevation])
        x, y, z = np.moveaxis(np.asarray(points, dtype=float), -1, 0)
        away = x * np.cos(angle) + y * np.sin(angle)
        right = y * np.cos(angle) - x * np.sin(angle)
        return np.stack([right, z * np.cos(tilt) - away * np.sin(tilt)], axis=-1)


FRONT = View()


def _direction(azimuth: float, elevation: float) -> Array:
    angle, tilt = np.radians([azimuth, elevation])
    return np.array([np.cos(tilt) * np.cos(angle), np.cos(tilt) * np.sin(angle), np.sin(tilt)])


def _onto(values: ArrayLike, limits: tuple[float, float], half: float) -> Array:
    """Coordinates between limits as places between -half and half."""
    low, high = limits
    return half * (2 * (np.asarray(values, dtype=float) - low) / (high - low) - 1)


@dataclass(frozen=True)
class Box:
    """The box that sheets of one picture share: places and heights in units of half its longer side.

    Attributes:
        frame: limits of the coordinates, and the scale.
        height: of the scale from end to end.
    """

    frame: Frame
    height: float

    @cached_property
    def half(self) -> tuple[float, float]:
        """Half the lengths of its sides. Their ratio is the coordinates', as long as that is no more than
        three.
        """
        x, y = (high - low for low, high in (self.frame.x, self.frame.y))
        if not 1 / 3 <= x / y <= 3:
            return 1.0, 1.0
        return x / max(x, y), y / max(x, y)

    def place(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Coordinates as places in it."""
        (half_x, half_y), frame = self.half, self.frame
        return _onto(x, frame.x, half_x), _onto(y, frame.y, half_y)

    def rise(self, heights: Array) -> Array:
        """Heights on the scale as heights in it."""
        return self.height * self.frame.scale.position(heights)


@dataclass(frozen=True)
class Relief:
    """A sheet: points (rows, columns) finer than the grid.

    Attributes:
        x: (columns,) places along the first direction.
        y: (rows,) along the second.
        z: (rows, columns) heights; NaN where there is no sheet.
        normals: (rows, columns, 3) unit vectors, upwards.
        height: of the scale from end to end.
    """

    x: Array
    y: Array
    z: Array
    normals: Array
    height: float

    @classmethod
    def of(cls, surface: Surface, box: Box, facets: int) -> Self:
        """The sheet of a surface in a box, of about that many facets along its longer side."""
        rows, columns = surface.loss.shape
        parts = int(np.clip(round(facets / max(rows - 1, columns - 1)), 1, _MOST_PARTS))
        shares = [np.linspace(0, count - 1, (count - 1) * parts + 1) for count in (rows, columns)]
        heights = np.maximum(box.rise(true_heights(surface, box.frame.scale)), 0.0)
        x, y = box.place(surface.x, surface.y)
        along_y, along_x = np.gradient(np.minimum(heights, box.height), y, x)
        slopes = [np.nan_to_num(_between(slope, shares)) for slope in (along_x, along_y)]
        normals = np.stack([-slopes[0], -slopes[1], np.ones_like(slopes[0])], axis=-1)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        fine = [
            np.interp(share, np.arange(len(axis)), axis) for share, axis in zip(shares, (y, x), strict=True)
        ]
        return cls(fine[1], fine[0], _between(heights, shares), normals, box.height)

    @cached_property
    def _sheet(self) -> "Sheet":
        x, y = np.meshgrid(self.x, self.y)
        points = np.stack([x, y, self.z], axis=-1).reshape(-1, 3)
        whole = Sheet(points, self.normals.reshape(-1, 3), _two_for_each_facet(self.z))
        return whole.below(self.height)

    def top(self, view: View) -> float:
        """How far upwards its highest place is seen."""
        sheet = self._sheet
        seen = view.seen(sheet.points[np.unique(sheet.triangles)])[:, 1]
        return float(seen.max()) if len(seen) else 0.0

    def sheet(self, view: View) -> "Sheet":
        """Its triangles as they are drawn."""
        cut = self._sheet
        near = (cut.points @ view.toward)[cut.triangles].mean(axis=1)
        return Sheet(cut.points, cut.normals, cut.triangles[np.argsort(near, kind="stable")])

    def visible(self, points: Array, view: View) -> NDArray[np.bool_]:
        """(n,) which of the points (n, 3) on the sheet are not behind another part of it."""
        far = 2 * (np.ptp(self.x) + np.ptp(self.y))
        steps = np.linspace(0, far, _STEPS)[1:, None, None] * view.toward
        ray = points + steps + (0, 0, _LIFT)
        columns = (ray[..., 0] - self.x[0]) / np.ptp(self.x) * (len(self.x) - 1)
        rows = (ray[..., 1] - self.y[0]) / np.ptp(self.y) * (len(self.y) - 1)
        with np.errstate(invalid="ignore"):
            sheet = np.where(self.z < self.height, self.z, -np.inf)
        above = map_coordinates(sheet, [rows, columns], order=0, cval=-np.inf)
        hidden: NDArray[np.bool_] = (above > ray[..., 2]).any(axis=0)
        return ~hidden

    def line_points(self, places: Array, height: float) -> Array:
        """(n, 3) the points of a line of equal loss, (n, 2), a little above the sheet."""
        return np.column_stack([places, np.full(len(places), height + _LIFT)])


@dataclass(frozen=True)
class Sheet:
    """Triangles of a relief, those farthest away first.

    Attributes:
        points: (n, 3) their corners; NaN of those that no triangle has.
        normals: (n, 3) unit vectors, upwards.
        triangles: (m, 3) indices of points.
    """

    points: Array
    normals: Array
    triangles: NDArray[np.intp]

    def below(self, height: float) -> Self:
        """What of it is not above a height. Triangles are cut there."""
        above = self.points[:, 2] > height
        count = above[self.triangles].sum(axis=1)
        one, two = (self._odd_first(self.triangles[count == number], above) for number in (1, 2))
        corners = np.concatenate([one, two])
        start, size = len(self.points), len(corners)
        second, third = start + np.arange(size), start + size + np.arange(size)
        ends = [self._on_the_way(corners[:, 0], corners[:, other], height) for other in (1, 2)]
        cut = len(one)
        triangles = [
            self.triangles[count == 0],
            np.column_stack([second[:cut], one[:, 1], one[:, 2]]),
            np.column_stack([second[:cut], one[:, 2], third[:cut]]),
            np.column_stack([two[:, 0], second[cut:], third[cut:]]),
        ]
        return type(self)(
            np.concatenate([self.points, *(points for points, _ in ends)]),
            np.concatenate([self.normals, *(normals for _, normals in ends)]),
            np.concatenate(triangles),
        )

    @staticmethod
    def _odd_first(triangles: NDArray[np.intp], above: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Triangles turned so that the corner comes first that alone is above, or alone is not."""
        flags = above[triangles]
        odd = flags == (flags.sum(axis=1, keepdims=True) == 1)
        first = odd.argmax(axis=1)[:, None]
        return np.take_along_axis(triangles, (first + np.arange(3)) % 3, axis=1)

    def _on_the_way(self, a: NDArray[np.intp], b: NDArray[np.intp], height: float) -> tuple[Array, Array]:
        """Points and normals at a height between two points."""
        share = ((height - self.points[a, 2]) / (self.points[b, 2] - self.points[a, 2]))[:, None]
        points, normals = (
            (1 - share) * values[a] + share * values[b] for values in (self.points, self.normals)
        )
        return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)

    def lit(self, colours: Array, view: View) -> Array:
        """(n, 4) colours (n, 4) of the points in the light."""
        facing = np.where(self.normals @ view.toward < 0, -1.0, 1.0)[:, None]
        normals = self.normals * facing
        middle = view.light + view.toward
        diffuse = np.clip(normals @ view.light, 0, 1)[:, None]
        gloss = np.clip(normals @ (middle / np.linalg.norm(middle)), 0, 1)[:, None] ** _SHINE
        light = (_AMBIENT + _DIFFUSE * diffuse) * np.where(facing < 0, _OUTSIDE, 1.0)
        lit = np.array(colours)
        lit[:, :3] = np.clip(lit[:, :3] * light + _GLOSS * gloss * (facing > 0), 0, 1)
        return lit


def _two_for_each_facet(heights: Array) -> NDArray[np.intp]:
    """(m, 3) triangles between neighbouring points (rows, columns); none in facets with a corner whose height
    is no number.
    """
    number = np.arange(heights.size).reshape(heights.shape)
    corners = (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    facets = np.stack([corner.ravel() for corner in corners], axis=1)
    whole = facets[np.isfinite(heights.ravel()[facets]).all(axis=1)]
    return np.concatenate([whole[:, [0, 1, 2]], whole[:, [0, 2, 3]]])


def _between(values: Array, shares: list[Array]) -> Array:
    """(rows, columns) bilinear between the values of a grid; NaN in cells with a corner that is none."""
    rows, columns = np.meshgrid(*shares, indexing="ij")
    holes = map_coordinates((~np.isfinite(values)).astype(float), [rows, columns], order=1)
    filled = np.where(np.isfinite(values), values, 0.0)
    return np.where(holes > 0, np.nan, map_coordinates(filled, [rows, columns], order=1))
