"""Lit sheets, compared with obvious loops in float64."""

import math

import numpy as np
import pytest
from reference.landscape import surface

from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.frame import frame
from lossmap.components.figures.still.relief import FRONT, Box, Relief, View

X, Y = np.linspace(-1, 1, 5), np.linspace(0, 3, 4)
LINEAR = Pictures(scale="linear", limits=(0.0, 10.0))


def relief(loss, x=X, y=Y, pictures=LINEAR, facets=40, height=1.0):
    drawn = surface(x, y, loss)
    return Relief.of(drawn, Box(frame([drawn], pictures), height), facets)


def random_losses(low=0.0, high=10.0):
    return np.random.default_rng(0).uniform(low, high, (len(Y), len(X)))


@pytest.mark.parametrize("pictures", [LINEAR, Pictures(scale="log", limits=(0.01, 100.0))])
def test_between_points_the_height_on_the_scale_is_bilinear(pictures):
    loss = random_losses(low=0.02)
    sheet = relief(loss, pictures=pictures)
    heights = loss / 10 if pictures.scale == "linear" else (np.log10(loss) + 2) / 4
    parts = 10  # 40 facets across four cells
    assert sheet.z.shape == (3 * parts + 1, 4 * parts + 1)
    for row, column in [(0, 0), (30, 40), (7, 13), (10, 25), (19, 39)]:
        (i, t), (j, s) = divmod(row / parts, 1), divmod(column / parts, 1)
        i, j = int(i), int(j)
        down, right = min(i + 1, 3), min(j + 1, 4)
        upper = (1 - s) * heights[i, j] + s * heights[i, right]
        lower = (1 - s) * heights[down, j] + s * heights[down, right]
        assert sheet.z[row, column] == pytest.approx((1 - t) * upper + t * lower, abs=1e-12)


def test_a_sheet_is_cut_where_it_leaves_the_scale():
    loss = np.broadcast_to(6 + 5 * X, (len(Y), len(X)))  # 10 at x = 0.8
    sheet = relief(loss, facets=4).sheet(FRONT)
    corners = sheet.points[sheet.triangles]
    assert corners[..., 2].max() == pytest.approx(1.0)
    side = frame([surface(X, Y, loss)]).x
    place = (0.8 - side[0]) / (side[1] - side[0]) * 2 - 1
    box = Box(frame([surface(X, Y, loss)]), 1.0)
    assert corners[..., 0].max() == pytest.approx(place * box.half[0])
    first, second = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2
    width, depth = (np.ptp(axis) for axis in (corners[..., 0], corners[..., 1]))
    assert area == pytest.approx(width * depth)  # nothing is missing or drawn twice


def test_a_loss_below_the_scale_is_drawn_at_its_lower_end():
    assert (relief(random_losses(-5.0, -1.0)).z == 0).all()


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_facets_with_a_corner_without_a_finite_loss_are_left_out(hole):
    loss = random_losses()
    loss[1, 2] = hole
    sheet = relief(loss, facets=4).sheet(FRONT)
    assert np.isfinite(sheet.points[sheet.triangles]).all()
    assert len(sheet.triangles) == 2 * (12 - 4)


def test_triangles_come_from_far_to_near():
    sheet = relief(random_losses()).sheet(FRONT)
    depth = (sheet.points @ FRONT.toward)[sheet.triangles].mean(axis=1)
    assert (np.diff(depth) >= 0).all()


def test_a_view_is_a_turn_about_the_vertical_and_a_tilt_without_perspective():
    view = View(30.0, 20.0)
    point = np.array([0.3, -0.7, 0.4])
    angle, tilt = math.radians(30), math.radians(20)
    along = 0.3 * math.cos(angle) - 0.7 * math.sin(angle)
    across = -0.3 * math.sin(angle) - 0.7 * math.cos(angle)
    seen = (across, 0.4 * math.cos(tilt) - along * math.sin(tilt))
    np.testing.assert_allclose(view.seen(point), seen, atol=1e-14)
    up = view.seen(point + np.array([0, 0, 0.25])) - view.seen(point)
    np.testing.assert_allclose(up, (0, 0.25 * math.cos(tilt)), atol=1e-14)
    assert np.linalg.norm(view.toward) == pytest.approx(1)


def test_what_lies_behind_a_wall_is_hidden():
    loss = np.full((len(Y), len(X)), 1.0)
    loss[:, 2] = 9.0  # a wall at x = 0
    sheet = relief(loss)
    from_the_right = View(0.0, 20.0)
    points = np.array([(-0.5, 0.0, 0.1), (0.6, 0.0, 0.1)]) * (sheet.x.max(), 1, 1)
    assert sheet.visible(points, from_the_right).tolist() == [False, True]
    assert sheet.visible(points, View(180.0, 20.0)).tolist() == [True, False]
    assert sheet.visible(points, View(0.0, 89.0)).tolist() == [True, True]


def test_light_changes_lightness_and_not_the_hue_of_dull_places():
    sheet = relief(random_losses()).sheet(FRONT)
    grey = np.ones((len(sheet.points), 4)) * (0.5, 0.5, 0.5, 1.0)
    lit = sheet.lit(grey, FRONT)
    np.testing.assert_allclose(lit[:, 0], lit[:, 2])
    assert np.ptp(lit[:, 0]) > 0.05
    assert ((lit >= 0) & (lit <= 1)).all()
