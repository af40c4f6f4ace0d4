import numpy as np
import pytest
from reference.manifests import manifest

from lossmap.components.config.experiment import Axis, Experiment, Landscape, Plane
from lossmap.components.landscape.grid import Result
from lossmap.components.landscape.merge import grids, load_surfaces, merge, missing_points
from lossmap.components.landscape.tiles import Survey, cut, evaluate_tile, evaluated_points, save_survey
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import save_experiment, save_run_manifest

LANDSCAPE = Landscape(plane=Plane(x=Axis(points=5), y=Axis(low=0, high=1, points=3)), line=Axis(low=-2, high=2, points=9), tile_points=4)
SURFACE = "5" * 64


def loss_at(x, y):
    return Result(loss=float("nan") if x == 1 else x + 10 * y, error=0.25, loss_standard_error=abs(x))


def must_not_be_called():
    raise AssertionError("nothing was missing")


@pytest.fixture
def store(tmp_path):
    store = open_store(str(tmp_path))
    save_experiment(store, "run", Experiment(landscape=LANDSCAPE))
    save_run_manifest(store, "run", manifest())
    save_survey(store, "run", Survey(surface=SURFACE, tiles=()))
    return store


def _evaluate_all(store, size=4):
    tiles = cut(missing_points(LANDSCAPE, {}), size)
    for tile in tiles:
        evaluate_tile(store, SURFACE, tile, loss_at)
    return tiles


def test_plane_and_line_share_the_points_that_both_have():
    points = missing_points(LANDSCAPE, {})
    assert len(points) == len(set(points)) == 5 * 3 + 9 - 5


def test_tiles_hold_every_point_once_in_order():
    points = missing_points(LANDSCAPE, {})
    assert [point for tile in cut(points, 4) for point in tile.points] == points
    assert [len(tile.points) for tile in cut(points, 4)] == [4, 4, 4, 4, 3]


def test_the_merged_plane_has_a_row_for_each_y_and_a_column_for_each_x(store):
    _evaluate_all(store)
    plane = merge(store, "run", must_not_be_called)["plane"]
    assert plane.loss.shape == (3, 5)
    for row, y in enumerate(plane.y):
        for column, x in enumerate(plane.x):
            np.testing.assert_equal(plane.loss[row, column], loss_at(x, y).loss)
    assert plane.evaluated.all()
    assert (~plane.finite).sum() == 3


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_any_number_of_tiles_gives_the_same_bytes(store, tmp_path, size):
    _evaluate_all(store, size)
    merge(store, "run", must_not_be_called)
    keys = [layout.grid(SURFACE, grid.digest()) for grid in grids(LANDSCAPE).values()]
    other = open_store(str(tmp_path / "other"))
    save_experiment(other, "run", Experiment(landscape=LANDSCAPE))
    save_run_manifest(other, "run", manifest())
    save_survey(other, "run", Survey(surface=SURFACE, tiles=()))
    merge(other, "run", lambda: loss_at)
    assert [store.read(key) for key in keys] == [other.read(key) for key in keys]


@pytest.mark.parametrize("damage", [b"", b"no archive", "cut", "other points"])
def test_a_missing_or_damaged_tile_is_evaluated_again(store, damage):
    tiles = _evaluate_all(store)
    intact = merge(store, "run", must_not_be_called)
    key = layout.tile(SURFACE, tiles[1].digest)
    if damage == "cut":
        damage = store.read(key)[:-30]
    elif damage == "other points":
        damage = store.read(layout.tile(SURFACE, tiles[0].digest))
    store.write(key, damage)
    store.delete(layout.tile(SURFACE, tiles[2].digest))
    asked = []

    def evaluate(x, y):
        asked.append((x, y))
        return loss_at(x, y)

    repaired = merge(store, "run", lambda: evaluate)
    assert asked == [*tiles[1].points, *tiles[2].points]
    assert repaired["plane"].loss.tobytes() == intact["plane"].loss.tobytes()
    assert load_surfaces(store, "run")["line"].loss.tobytes() == intact["line"].loss.tobytes()


def test_a_finer_and_wider_survey_asks_only_for_new_points(store):
    _evaluate_all(store)
    known = evaluated_points(store, SURFACE)
    finer = LANDSCAPE.model_copy(update={"plane": Plane(x=Axis(low=-2, high=2, points=17), y=Axis(low=0, high=1, points=5))})
    assert len(missing_points(finer, known)) == 17 * 5 - 5 * 3 - (9 - 5)
