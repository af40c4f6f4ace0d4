import numpy as np
import pytest

from lossmap.components.config.landscape import Axis
from lossmap.components.landscape.grid import Grid, coordinates, from_npz, points_digest, to_npz


def test_coordinates_include_both_ends_and_zero():
    assert coordinates(Axis(low=-1, high=1, points=5)) == (-1.0, -0.5, 0.0, 0.5, 1.0)


def test_a_one_sided_axis_starts_at_zero():
    assert coordinates(Axis(low=0, high=1, points=3)) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-0.3, 0.7), (0, 0.1), (-2.5, 2.5)])
@pytest.mark.parametrize("points", [3, 11, 41, 51])
def test_a_finer_grid_meets_every_point_of_the_coarse_one_to_the_last_bit(low, high, points):
    coarse = coordinates(Axis(low=low, high=high, points=points))
    fine = coordinates(Axis(low=low, high=high, points=3 * (points - 1) + 1))
    assert fine[::3] == coarse


def test_a_wider_grid_of_the_same_spacing_meets_every_point_of_the_narrow_one():
    assert set(coordinates(Axis(low=-1, high=1, points=41))) <= set(
        coordinates(Axis(low=-2, high=2, points=81))
    )


def test_points_go_row_by_row_with_y_constant_in_a_row():
    grid = Grid.of(Axis(low=0, high=1, points=3), Axis(low=5, high=6, points=2))
    assert grid.points() == [(0, 5), (0.5, 5), (1, 5), (0, 6), (0.5, 6), (1, 6)]


def test_a_line_has_the_one_y_zero():
    assert Grid.of(Axis(points=2)).points() == [(-1, 0), (1, 0)]


def test_digests_tell_order_and_value_apart():
    assert points_digest([(0.0, 1.0)]) != points_digest([(1.0, 0.0)])
    assert Grid((0.0, 1.0), (0.0,)).digest() != Grid((0.0,), (0.0, 1.0)).digest()


def test_arrays_survive_the_archive_with_nan_and_infinity():
    loss = np.array([[1.0, np.nan], [np.inf, -np.inf]])
    back = from_npz(to_npz(loss=loss))["loss"]
    assert back.tobytes() == loss.tobytes()
    assert to_npz(loss=loss) == to_npz(loss=loss)


def test_pickled_objects_are_refused():
    import io

    buffer = io.BytesIO()
    np.savez(buffer, loss=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        from_npz(buffer.getvalue())
