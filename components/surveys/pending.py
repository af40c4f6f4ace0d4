"""What a survey still has to evaluate: a function of the plan and of what is known, so that every worker
finds the same.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.adaptive.plane import next_points
from lossmap.components.landscape.grid import Grid, Point
from lossmap.components.stores.objects import Store
from lossmap.components.surveys.tiles import Part, Survey, Tile, TilesRead, cut, evaluated_points

_QUICK = ("loss", "trajectory")
_SLOW_TILE_POINTS = 1  # eigenvalues at a point take as long as the loss at a hundred


def grids(landscape: Landscape) -> dict[str, Grid]:
    """The grids of every pair's loss by name: the plane, and the line where there is one."""
    plane = {"plane": Grid.of(landscape.plane.x, landscape.plane.y)}
    return plane | ({"line": Grid.of(landscape.line)} if landscape.line else {})


def wanted_tiles(
    store: Store, survey: Survey, landscape: Landscape, read: TilesRead | None = None
) -> list[Tile]:
    """Tiles to begin with, of the points that can be evaluated now and are not known; empty when the survey
    is complete.

    `read` is that of tiles.evaluated_points.
    """
    current, beside = next_round(store, survey, landscape, read)
    return current or beside


def next_round(
    store: Store, survey: Survey, landscape: Landscape, read: TilesRead | None = None
) -> tuple[list[Tile], list[Tile]]:
    """All tiles that can be evaluated now and are not known: those that the next round waits for, and those
    for workers that wait for it.

    Without an adaptive plane there is one round. Slow tiles come first, so that no worker is left alone with
    one at the end.
    """
    found = {
        part: _tiles(
            part, wanted_points(part, survey, landscape, evaluated_points(store, part, read)), landscape
        )
        for part in survey.parts
    }
    quick = [tile for part, tiles in found.items() for tile in tiles if part.kind in _QUICK]
    slow = [tile for part, tiles in found.items() for tile in tiles if part.kind not in _QUICK]
    slow.sort(key=lambda tile: tile.part.kind != "curvature")  # the slowest
    return (quick, slow) if landscape.adaptive else ([*slow, *quick], [])


def wanted_points(
    part: Part, survey: Survey, landscape: Landscape, known: Mapping[Point, Any]
) -> list[Point]:
    """Points of a part that are not known, each once; of an adaptive plane those of the next round."""
    wanted = dict.fromkeys(_points(part, survey, landscape, known))
    return [point for point in wanted if point not in known]


def _points(part: Part, survey: Survey, landscape: Landscape, known: Mapping[Point, Any]) -> Iterator[Point]:
    if part.kind == "loss":
        found = grids(landscape)
        plane = found.pop("plane")
        yield from (
            next_points(plane, landscape.adaptive, known, landscape.seed)
            if landscape.adaptive
            else plane.points()
        )
        for line in found.values():
            yield from line.points()
        if part.pair == 0:
            yield from ((position.x, position.y) for position in survey.positions)
    elif part.kind == "trajectory":
        yield from ((float(position.epoch), 0.0) for position in survey.positions)
    elif part.kind == "convexity" and landscape.convexity:
        yield from Grid.of(landscape.convexity.plane.x, landscape.convexity.plane.y).points()
    else:
        yield (0.0, 0.0)


def _tiles(part: Part, points: list[Point], landscape: Landscape) -> tuple[Tile, ...]:
    return cut(part, points, landscape.tile_points if part.kind in _QUICK else _SLOW_TILE_POINTS)
