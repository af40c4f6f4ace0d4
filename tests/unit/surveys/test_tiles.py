from dataclasses import replace

import numpy as np
import pytest
from reference.manifests import manifest

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.landscape.grid import Result
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part, Survey
from lossmap.components.surveys.merge import load_surfaces, merge
from lossmap.components.surveys.pending import grids, pending_points, pending_tiles
from lossmap.components.surveys.tiles import cut, evaluate_tile, evaluated_points

LANDSCAPE = Landscape(
    plane=Plane(x=Axis(points=5), y=Axis(low=0, high=1, points=3)),
    line=Axis(low=-2, high=2, points=9),
    tile_points=4,
)
PART = Part(kind="loss", address="5" * 64, plane="5" * 64)
SURVEY = Survey(parts=(PART,))


def loss_at(x, y):
    loss = float("nan") if x == 1 else x + 10 * y
    return Result(loss=loss, error=0.25, loss_standard_error=abs(x), group_losses=(loss - 1, loss + 1))


def survey_of(folder, landscape=LANDSCAPE):
    store = open_store(str(folder))
    run = Run(store, "run")
    run.begin(Experiment(landscape=landscape))
    run.keep_manifest(manifest())
    run.keep_survey(SURVEY)
    return store


def _run(store):
    """As another process has it: with nothing read yet."""
    return Run(store, "run")


@pytest.fixture
def store(tmp_path):
    return survey_of(tmp_path)


def _evaluate_all(store, size=4):
    tiles = cut(PART, pending_points(PART, SURVEY, LANDSCAPE, {}), size)
    for tile in tiles:
        evaluate_tile(store, tile, loss_at)
    return tiles


def test_the_weights_of_groups_come_with_the_tiles(store):
    for tile in cut(PART, pending_points(PART, SURVEY, LANDSCAPE, {}), 4):
        evaluate_tile(store, tile, lambda x, y: replace(loss_at(x, y), group_weights=(0.5, 1.5)))
    merge(_run(store))
    plane = load_surfaces(_run(store))["plane"]
    assert plane.group_weights.tolist() == plane.weights.tolist() == [0.5, 1.5]


def test_groups_without_weights_count_alike(store):
    _evaluate_all(store)
    merge(_run(store))
    plane = load_surfaces(_run(store))["plane"]
    assert (plane.group_weights.tolist(), plane.weights.tolist()) == ([], [1.0, 1.0])


def test_plane_and_line_share_the_points_that_both_have():
    points = pending_points(PART, SURVEY, LANDSCAPE, {})
    assert len(points) == len(set(points)) == 5 * 3 + 9 - 5


def test_tiles_hold_every_point_once_in_order():
    points = pending_points(PART, SURVEY, LANDSCAPE, {})
    assert [point for tile in cut(PART, points, 4) for point in tile.points] == points
    assert [len(tile.points) for tile in cut(PART, points, 4)] == [4, 4, 4, 4, 3]


def test_what_was_evaluated_is_read_back(store):
    tiles = _evaluate_all(store)
    known = evaluated_points(_run(store), PART)
    assert list(known) == [
        point for tile in sorted(tiles, key=lambda tile: tile.key) for point in tile.points
    ]
    assert known[0.0, 0.5] == loss_at(0.0, 0.5)
    assert not pending_tiles(_run(store))


def test_the_merged_plane_has_a_row_for_each_y_and_a_column_for_each_x(store):
    _evaluate_all(store)
    plane = merge(_run(store))[0]["plane"]
    assert plane.loss.shape == (3, 5)
    for row, y in enumerate(plane.y):
        for column, x in enumerate(plane.x):
            np.testing.assert_equal(plane.loss[row, column], loss_at(x, y).loss)
            np.testing.assert_equal(tuple(plane.group_losses[row, column]), loss_at(x, y).group_losses)
    assert plane.evaluated.all()
    assert not plane.interpolated.any()
    assert (~plane.finite).sum() == 3


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_any_number_of_tiles_gives_the_same_bytes(store, tmp_path, size):
    _evaluate_all(store, size)
    merge(_run(store))
    keys = [layout.grid(PART.address, grid.digest()) for grid in grids(LANDSCAPE).values()]
    other = survey_of(tmp_path / "other")
    _evaluate_all(other, 19)
    merge(_run(other))
    assert [store.read(key) for key in keys] == [other.read(key) for key in keys]


@pytest.mark.parametrize("damage", [b"", b"no archive", "cut", "other points"])
def test_a_missing_or_damaged_tile_is_pending_again(store, damage):
    tiles = _evaluate_all(store)
    intact = merge(_run(store))[0]
    if damage == "cut":
        damage = store.read(tiles[1].key)[:-30]
    elif damage == "other points":
        damage = store.read(tiles[0].key)
    store.write(tiles[1].key, damage)
    store.delete(tiles[2].key)
    holes = merge(_run(store))[0]
    assert (~holes["plane"].evaluated).sum() > 0
    pending = pending_tiles(_run(store))
    assert [point for tile in pending for point in tile.points] == [*tiles[1].points, *tiles[2].points]
    for tile in pending:
        evaluate_tile(store, tile, loss_at)
    assert merge(_run(store))[0]["plane"].loss.tobytes() == intact["plane"].loss.tobytes()
    assert load_surfaces(_run(store))["line"].loss.tobytes() == intact["line"].loss.tobytes()


def test_a_finer_and_wider_survey_asks_only_for_new_points(store):
    _evaluate_all(store)
    finer = LANDSCAPE.model_copy(
        update={"plane": Plane(x=Axis(low=-2, high=2, points=17), y=Axis(low=0, high=1, points=5))}
    )
    assert len(pending_points(PART, SURVEY, finer, evaluated_points(_run(store), PART))) == 17 * 5 - 5 * 3 - (
        9 - 5
    )


def test_a_loss_of_exactly_zero_and_a_negative_one_are_known_and_nan_is_never_asked_for_again(store):
    def odd(x, y):
        return Result(
            loss=-x if y == 0 else float("nan"), error=0.0, loss_standard_error=0.0, group_losses=(0.0, 0.0)
        )

    for tile in pending_tiles(_run(store)):
        evaluate_tile(store, tile, odd)
    assert not pending_tiles(_run(store))
    plane = merge(_run(store))[0]["plane"]
    assert plane.finite.sum() == 5
    assert plane.loss[0].tolist() == [1.0, 0.5, 0.0, -0.5, -1.0]


def test_a_tile_is_read_once_and_whether_there_are_others_is_asked_each_time(store):
    run, tiles = _run(store), cut(PART, pending_points(PART, SURVEY, LANDSCAPE, {}), 4)
    evaluate_tile(store, tiles[0], loss_at)
    assert list(evaluated_points(run, PART)) == list(tiles[0].points)
    store.write(tiles[0].key, b"nobody reads it again")
    evaluate_tile(store, tiles[1], loss_at)
    assert set(evaluated_points(run, PART)) == {*tiles[0].points, *tiles[1].points}
