"""What a survey still has to evaluate: a function of the plan and of what is known, so that every worker
finds the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.adaptive.plane import next_points
from lossmap.components.landscape.grid import Grid, Point
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part, Survey
from lossmap.components.surveys.tiles import Tile, cut, evaluated_points

_QUICK = ("loss", "trajectory")
_SLOW_TILE_POINTS = 1  # eigenvalues at a point take as long as the loss at a hundred


def grids(landscape: Landscape) -> dict[str, Grid]:
    """The grids of every pair's loss by name: the plane, and the line where there is one."""
    plane = {"plane": Grid.of(landscape.plane.x, landscape.plane.y)}
    return plane | ({"line": Grid.of(landscape.line)} if landscape.line else {})


@dataclass(frozen=True)
class Round:
    """Tiles that can be evaluated now and are not known.

    Attributes:
        current: those that the next round waits for. Without an adaptive plane there is one round.
        beside: those for workers that wait for it.
    """

    current: tuple[Tile, ...]
    beside: tuple[Tile, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.current or self.beside)


def pending_tiles(run: Run) -> tuple[Tile, ...]:
    """Tiles to begin with; empty when the survey is complete."""
    pending = next_round(run)
    return pending.current or pending.beside


def next_round(run: Run) -> Round:
    """All tiles that can be evaluated now and are not known. Slow ones come first, so that no worker is left
    alone with one at the end.
    """
    landscape = run.experiment.landscape
    quick, slow = list[Tile](), list[Tile]()
    for part in run.survey.parts:
        points = pending_points(part, run.survey, landscape, evaluated_points(run, part))
        if part.kind in _QUICK:
            quick += cut(part, points, landscape.tile_points)
        else:
            slow += cut(part, points, _SLOW_TILE_POINTS)
    slow.sort(key=lambda tile: tile.part.kind != "curvature")  # the slowest
    return Round(tuple(quick), tuple(slow)) if landscape.adaptive else Round((*slow, *quick))


def points_to_evaluate(run: Run) -> int:
    """How many points are not known, over all parts of a survey; those of adaptive planes as if each were
    evaluated.
    """
    landscape = run.experiment.landscape.model_copy(update={"adaptive": None})
    return sum(
        len(pending_points(part, run.survey, landscape, evaluated_points(run, part)))
        for part in run.survey.parts
    )


def pending_points(
    part: Part, survey: Survey, landscape: Landscape, known: Mapping[Point, Any]
) -> list[Point]:
    """Points of a part that are not known, each once; of an adaptive plane those of the next round."""
    points = dict.fromkeys(_points(part, survey, landscape, known))
    return [point for point in points if point not in known]


def _points(part: Part, survey: Survey, landscape: Landscape, known: Mapping[Point, Any]) -> Iterator[Point]:
    if part.kind == "loss":
        yield from _plane_points(landscape, known)
        if landscape.line:
            yield from grids(landscape)["line"].points()
        if part.pair == 0:
            yield from ((position.x, position.y) for position in survey.positions)
    elif part.kind == "trajectory":
        yield from ((float(position.epoch), float(position.trail)) for position in survey.positions)
    elif part.kind == "convexity" and landscape.convexity:
        yield from Grid.of(landscape.convexity.plane.x, landscape.convexity.plane.y).points()
    else:
        yield (0.0, 0.0)


def _plane_points(landscape: Landscape, known: Mapping[Point, Any]) -> Iterator[Point]:
    plane = grids(landscape)["plane"]
    if landscape.adaptive:
        yield from next_points(plane, landscape.adaptive, known, landscape.seed)
    else:
        yield from plane.points()
