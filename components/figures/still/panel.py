"""One network in a still: its lit surface, lines of equal loss on it and on the floor below, and its axes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import TriMesh
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation

from lossmap.components.figures.export.stored import StoredSurface
from lossmap.components.figures.frame import lowest
from lossmap.components.figures.numbers import coordinate
from lossmap.components.figures.scale import COLOUR_MAP, Array, Scale, label, trail_colour
from lossmap.components.figures.still.relief import Box, Relief, View
from lossmap.components.figures.still.style import Style

FLOOR = -0.62  # height of the floor, in half the box's longer side
HEIGHT = 1.02  # of the scale
_STRIP = 0.075  # width of the strip of colours
_FLOOR_ORDER, _MARKS, _SHEET, _LINES, _AXES = 1, 3, 5, 6, 8


@dataclass(frozen=True)
class Panel:
    """Where one network is drawn.

    Attributes:
        axes: empty ones.
        box: what all networks of the picture share.
        view: from where they are seen.
        style: of the picture.
        letter: height of small letters, in the box's units.
        labelled: whether the losses stand beside the strip of colours.
    """

    axes: Axes
    box: Box
    view: View
    style: Style
    letter: float
    labelled: bool = True


def extent(box: Box, view: View, reliefs: Sequence[Relief] | None) -> tuple[Array, Array]:
    """(2,) the least and the greatest place, to the right and upwards, of what panels draw, without letters;
    without reliefs: of any, from any azimuth.
    """
    x, y = box.half
    corners = np.array([(i * x, j * y, z) for i in (-1, 1) for j in (-1, 1) for z in (FLOOR, 0.0)])
    if reliefs is None:
        radius, tilt = np.hypot(x, y), np.radians(view.elevation)
        flat, low, high = radius * np.sin(tilt), FLOOR * np.cos(tilt), box.height * np.cos(tilt)
        return np.array([-radius, low - flat]), np.array([radius, high + flat])
    floor = view.seen(corners)
    tops = [relief.top(view) for relief in reliefs]
    return floor.min(axis=0), np.array([floor[:, 0].max(), max(*tops, _strip(box, view)[1])])


def draw(panel: Panel, drawn: StoredSurface, relief: Relief) -> None:
    """Draw a network, whose surface is a sheet."""
    floor = _draw_floor(panel)
    _draw_points(panel, drawn)
    lines = list(_lines(relief, panel.box, drawn.about.guessing_loss))
    for line in lines:
        _draw_line(panel, relief, line)
    _draw_marks(panel, drawn, floor)
    _draw_sheet(panel, relief)
    _draw_strip(panel)
    panel.axes.set_aspect("equal")
    panel.axes.axis("off")


@dataclass(frozen=True)
class _Line:
    """A line of equal loss: its points (n, 2) in the box, its height there, and what it is of."""

    places: Array
    height: float
    thick: bool
    end: bool


def _lines(relief: Relief, box: Box, guessing_loss: float | None) -> Iterator[_Line]:
    scale = box.frame.scale
    contours: Any = contour_generator(relief.x, relief.y, np.ma.masked_invalid(relief.z))
    losses = {loss: False for group in scale.levels() for loss in group if scale.low < loss < scale.high}
    if guessing_loss is not None and scale.low < guessing_loss < scale.high:
        losses[guessing_loss] = True
    for loss, thick in losses.items():
        height = float(box.rise(np.array(scale.height(loss))))
        yield from (_Line(places, height, thick, False) for places in contours.lines(height))
    yield from (_Line(places, box.height, False, True) for places in contours.lines(box.height * (1 - 1e-9)))


def _colour(panel: Panel, height: float) -> tuple[float, float, float, float]:
    return to_rgba(matplotlib.colormaps[COLOUR_MAP](height / panel.box.height))


def _draw_floor(panel: Panel) -> Patch:
    """The floor with its axes; what is drawn on it ends at its borders."""
    x, y = panel.box.half
    corners = [(-x, -y, FLOOR), (x, -y, FLOOR), (x, y, FLOOR), (-x, y, FLOOR)]
    right, up = panel.view.seen(np.array(corners)).T
    style = panel.style
    (floor,) = panel.axes.fill(right, up, facecolor=style.floor, edgecolor="none", zorder=_FLOOR_ORDER)
    panel.axes.plot(
        [*right, right[0]], [*up, up[0]], color=style.faint, linewidth=0.6 * style.line, zorder=_FLOOR_ORDER
    )
    _draw_floor_axes(panel)
    return floor


def _draw_floor_axes(panel: Panel) -> None:
    """Ticks and names along the two sides of the floor that are nearest to who looks."""
    frame, half, view = panel.box.frame, panel.box.half, panel.view
    near = [-1.0 if view.toward[axis] < 0 else 1.0 for axis in (0, 1)]
    for axis, name in enumerate(("first direction", "second direction")):
        limits = (frame.x, frame.y)[axis]
        outwards = np.zeros(3)
        outwards[1 - axis] = near[1 - axis]
        ticks = [tick for tick in _ticks(*limits)]
        for tick in ticks:
            at = np.array([0.0, 0.0, FLOOR])
            at[axis] = half[axis] * (2 * (tick - limits[0]) / (limits[1] - limits[0]) - 1)
            at[1 - axis] = near[1 - axis] * half[1 - axis]
            ends = view.seen(np.stack([at, at + 0.5 * panel.letter * outwards]))
            panel.axes.plot(*ends.T, color=panel.style.faint, linewidth=0.8 * panel.style.line, zorder=_AXES)
            _write(panel, view.seen(at + 1.6 * panel.letter * outwards), coordinate(tick), panel.style.faint)
        middle = np.array([0.0, 0.0, FLOOR])
        middle[1 - axis] = near[1 - axis] * half[1 - axis]
        along = np.zeros(3)
        along[axis] = 1.0
        (x0, y0), (x1, y1) = view.seen(np.stack([middle - along, middle + along]))
        angle = float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))
        angle = (angle + 90) % 180 - 90
        _write(panel, view.seen(middle + 3.9 * panel.letter * outwards), name, panel.style.faint, angle)


def _ticks(low: float, high: float) -> list[float]:
    """Three or so round numbers between two limits."""
    steps = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in steps if low <= tick <= high]


def _write(panel: Panel, at: Array, text: str, colour: str, angle: float = 0.0) -> None:
    x, y = at
    panel.axes.text(
        x,
        y,
        text,
        color=colour,
        fontsize=panel.style.small,
        ha="center",
        va="center",
        rotation=angle,
        rotation_mode="anchor",
        zorder=_AXES,
    )


def _draw_points(panel: Panel, drawn: StoredSurface) -> None:
    """Dots on the floor where points were evaluated, unless all were."""
    surface = drawn.surface
    if not surface.interpolated.any():
        return
    rows, columns = np.nonzero(surface.evaluated)
    x, y = panel.box.place(surface.x[columns], surface.y[rows])
    seen = panel.view.seen(np.column_stack([x, y, np.full(len(x), FLOOR)]))
    right, up = seen.T
    panel.axes.scatter(
        right,
        up,
        s=(1.1 * panel.style.line) ** 2,
        color=panel.style.faint,
        alpha=0.45,
        linewidths=0,
        zorder=_FLOOR_ORDER,
    )


def _draw_line(panel: Panel, relief: Relief, line: _Line) -> None:
    """On the floor, and on the sheet as far as it is seen there."""
    style, view = panel.style, panel.view
    width = style.line * (2.2 if line.thick else 1.0)
    colour = _colour(panel, line.height)
    if not line.end:
        below = view.seen(np.column_stack([line.places, np.full(len(line.places), FLOOR)]))
        panel.axes.plot(*below.T, color=style.ink if line.thick else colour, linewidth=width, zorder=2)
    points = relief.line_points(line.places, line.height)
    seen = np.where(relief.visible(points, view)[:, None], view.seen(points), np.nan)
    panel.axes.plot(
        *seen.T,
        linewidth=width,
        zorder=_LINES,
        solid_capstyle="butt",
        color=colour if line.end and not line.thick else "#ffffff",
        alpha=1.0 if line.end or line.thick else 0.55,
    )


def _draw_marks(panel: Panel, drawn: StoredSurface, borders: Patch) -> None:
    """On the floor: paths of training with their labels, other networks, a plus at the trained one, a ring at
    the lowest point.
    """
    style, halo = panel.style, [withStroke(linewidth=3.2 * panel.style.line, foreground=panel.style.floor)]
    size = 9 * style.line

    def floor(places: Array) -> Array:
        x, y = panel.box.place(places[:, 0], places[:, 1])
        return panel.view.seen(np.column_stack([x, y, np.full(len(x), FLOOR)])).T

    for number, (name, places) in enumerate(drawn.about.paths):
        right, up = floor(np.array(places))
        colour = trail_colour(number)
        (path,) = panel.axes.plot(
            right,
            up,
            ".-",
            color=colour,
            linewidth=1.4 * style.line,
            markersize=5 * style.line,
            zorder=_MARKS,
        )
        path.set_clip_path(borders)
        written: dict[str, Any] = {
            "color": colour,
            "fontsize": style.small,
            "zorder": _AXES,
            "path_effects": halo,
        }
        panel.axes.text(right[0], up[0], f" {name}", clip_path=borders, clip_on=True, **written)
    for _, x, y in drawn.about.networks:
        panel.axes.plot(
            *floor(np.array([(x, y)])), "D", color=style.ink, markersize=0.6 * size, zorder=_MARKS
        )
    frame = panel.box.frame
    holds_centre = frame.x[0] <= 0 <= frame.x[1] and frame.y[0] <= 0 <= frame.y[1]
    marks = {"+": (0.0, 0.0)} if holds_centre else {}
    if place := lowest(drawn.surface):
        marks["o"] = (place.x, place.y)
    for mark, at in marks.items():
        panel.axes.plot(
            *floor(np.array([at])),
            mark,
            color=style.ink,
            markerfacecolor="none",
            markersize=size,
            markeredgewidth=1.6 * style.line,
            path_effects=halo,
            zorder=_MARKS,
        )


def _draw_sheet(panel: Panel, relief: Relief) -> None:
    sheet = relief.sheet(panel.view)
    if not len(sheet.triangles):
        return
    colours = matplotlib.colormaps[COLOUR_MAP](np.nan_to_num(sheet.points[:, 2]) / relief.height)
    right, up = panel.view.seen(np.nan_to_num(sheet.points)).T
    drawn = TriMesh(Triangulation(right, up, sheet.triangles), rasterized=True, zorder=_SHEET)
    drawn.set_facecolor(list(map(tuple, sheet.lit(colours, panel.view))))
    panel.axes.add_collection(drawn, autolim=False)


def _draw_strip(panel: Panel) -> None:
    """The scale's colours, upright at the left of the box, as high as the sheet is; with losses beside it."""
    box, view, style = panel.box, panel.view, panel.style
    scale = box.frame.scale
    corners = view.seen(np.array([(i * box.half[0], j * box.half[1], 0.0) for i in (-1, 1) for j in (-1, 1)]))
    left, (foot, top) = float(corners[:, 0].min()) - 0.02 - _STRIP, _strip(box, view)
    colours = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, 1, 256))[:, None]
    panel.axes.imshow(
        colours,
        extent=(left, left + _STRIP, foot, top),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        zorder=_AXES,
    )
    if not panel.labelled:
        return
    for loss in _spread_ticks(scale):
        height = foot + (top - foot) * float(scale.position(scale.height(loss)))
        panel.axes.plot(
            [left - 0.4 * panel.letter, left],
            [height, height],
            color=style.faint,
            linewidth=0.8 * style.line,
            zorder=_AXES,
        )
        panel.axes.text(
            left - 0.7 * panel.letter,
            height,
            label(loss),
            color=style.ink,
            fontsize=style.small,
            ha="right",
            va="center",
            zorder=_AXES,
        )
    panel.axes.text(
        left + _STRIP,
        top + 0.8 * panel.letter,
        "loss",
        color=style.ink,
        fontsize=style.small,
        ha="right",
        zorder=_AXES,
    )


def _strip(box: Box, view: View) -> tuple[float, float]:
    """Foot and top of the strip: as the scale is seen at the corner of the box that is farthest to the
    left.
    """
    x, y = box.half
    seen = view.seen(np.array([(i * x, j * y, 0.0) for i in (-1, 1) for j in (-1, 1)]))
    foot = float(seen[seen[:, 0].argmin(), 1])
    return foot, foot + box.height * float(np.cos(np.radians(view.elevation)))


def _spread_ticks(scale: Scale) -> list[float]:
    """The scale's ticks, no more than six."""
    ticks = scale.ticks()
    return ticks[:: -(-len(ticks) // 6)]
