import dataclasses
import io
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from PIL import Image
from reference.summaries import bowl, evaluate, rugged, summary, with_values

from lossmap.components.core.errors import LossmapError
from lossmap.components.figures.axis import use_axis
from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.frame import frame
from lossmap.components.figures.run import plots
from lossmap.components.figures.run.panels import (
    draw_epochs,
    draw_map,
    draw_profile,
    draw_surface,
)
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.landscape.grid import Surface

X, Y = np.linspace(-1, 1, 7), np.linspace(0, 3, 5)


def tilted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Not symmetric in any way: rises tenfold along x, and a little along y."""
    return 0.5 * 10**x + 0.1 * y


def flat(value: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda x, y: 0 * x + value


def map_axes(surface: Surface) -> Axes:
    axes = Figure().add_subplot()
    run = summary(plane=surface)
    draw_map(axes, run, frame([surface]))
    return axes


def cells(axes: Axes) -> QuadMesh:
    return next(item for item in axes.collections if isinstance(item, QuadMesh))


def hatches(axes: Axes) -> dict[str, int]:
    """Hatch to number of cells."""
    return {
        item.get_hatch(): len(item.get_paths())
        for item in axes.collections
        if isinstance(item, PolyCollection)
    }


def lines(axes: Axes) -> list[QuadContourSet]:
    return [item for item in axes.collections if isinstance(item, QuadContourSet)]


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_the_map_has_the_loss_of_row_y_and_column_x_in_the_cell_around_that_point():
    mesh = cells(map_axes(evaluate(tilted, X, Y)))
    corners, values = mesh.get_coordinates(), np.asarray(mesh.get_array())
    for row, y in enumerate(Y):
        for column, x in enumerate(X):
            low, high = corners[row, column], corners[row + 1, column + 1]
            assert low[0] < x < high[0]
            assert low[1] < y < high[1]
            assert values[row, column] == pytest.approx(0.5 * 10**x + 0.1 * y, rel=1e-14)


def test_on_the_picture_itself_x_goes_right_and_y_goes_up():
    corner = evaluate(
        lambda x, y: np.where((x > 0) & (y > 0), 100.0, 0.01), np.linspace(-1, 1, 8), np.linspace(-1, 1, 8)
    )
    pixels = picture(plots.contour(summary(plane=corner)))[:, :1000]  # left of the colour bar
    dark = np.argwhere(np.abs(pixels - [68, 1, 84]).sum(axis=2) < 6)
    light = np.argwhere(np.abs(pixels - [253, 231, 37]).sum(axis=2) < 6)
    assert len(light) * 3 == pytest.approx(len(dark), rel=0.1)
    assert light[:, 0].max() < dark[:, 0].mean()
    assert light[:, 1].min() > dark[:, 1].mean()


def test_points_beyond_the_scale_have_the_colours_of_its_ends():
    mesh = cells(map_axes(with_values(evaluate(tilted, X, Y), {(0, 0): 1e-5, (0, 1): 1e7})))
    assert np.asarray(mesh.get_array())[0, :2].tolist() == [0.01, 100.0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0.01, 100.0)


def test_every_run_is_drawn_on_the_same_scale():
    side = np.linspace(-1, 1, 5)
    norms = [cells(map_axes(evaluate(formula, X, side))).norm for formula in (bowl, rugged, flat(2.0))]
    assert {(norm.vmin, norm.vmax, float(norm(1.0))) for norm in norms} == {(0.01, 100.0, 0.5)}


def test_runs_beside_each_other_are_drawn_on_one_scale():
    tiny, usual = (evaluate(lambda x, y, size=size: size * (1e-3 + bowl(x, y)), X, Y) for size in (1e-5, 1.0))
    axes, shared = [Figure().add_subplot() for _ in range(2)], frame([tiny, usual])
    for panel, surface in zip(axes, (tiny, usual), strict=True):
        draw_map(panel, summary(plane=surface), shared)
    norms = [cells(panel).norm for panel in axes]
    assert len({(norm.vmin, norm.vmax) for norm in norms}) == 1
    assert norms[0].vmin <= 1e-7
    assert norms[0].vmax == 100.0


def test_non_finite_points_are_hatched_and_missing_points_dotted():
    surface = with_values(
        evaluate(tilted, X, Y), {(0, 0): np.nan, (0, 1): np.inf, (0, 2): -np.inf, (4, 6): None}
    )
    axes = map_axes(surface)
    assert hatches(axes) == {"////": 3, "....": 1}
    assert np.ma.getmaskarray(cells(axes).get_array()).sum() == 4


def test_a_complete_surface_has_no_hatch():
    assert hatches(map_axes(evaluate(tilted, X, Y))) == {}


def test_lines_run_where_the_loss_has_their_level():
    thin, thick = lines(map_axes(evaluate(lambda x, y: 10**x, X, Y)))
    assert thin.levels == pytest.approx(np.log10([0.2, 0.5, 1, 2, 5]))
    for level, path in zip(thin.levels, thin.get_paths(), strict=True):
        assert path.vertices[:, 0] == pytest.approx(level, abs=1e-12)
    assert thick.levels == pytest.approx([np.log10(np.log(10))])


def test_the_line_of_guessing_is_left_out_where_no_loss_reaches_it():
    (thin,) = lines(map_axes(evaluate(lambda x, y: 0.5 + 0.4 * x, X, Y)))
    assert thin.levels == pytest.approx(np.log10([0.2, 0.5]))


def test_the_trained_network_and_the_lowest_point_are_marked():
    surface = with_values(evaluate(tilted, X, Y), {(3, 5): 0.02})
    plus, ring = map_axes(surface).lines
    assert (plus.get_marker(), *plus.get_xydata()[0]) == ("+", 0.0, 0.0)
    assert (ring.get_marker(), *ring.get_xydata()[0]) == ("o", X[5], Y[3])


def test_the_trained_network_is_not_marked_outside_the_axes():
    (ring,) = map_axes(evaluate(tilted, X + 3, Y)).lines
    assert ring.get_marker() == "o"


def test_the_surface_has_the_height_of_row_y_and_column_x_and_a_colour_for_each_facet():
    run = summary(plane=evaluate(tilted, X, Y))
    axes = Figure().add_subplot(projection="3d")
    draw_surface(axes, run, frame([run.plane]))
    (sheet,) = axes.collections
    assert len(sheet.get_facecolor()) == (len(X) - 1) * (len(Y) - 1)
    corners = np.unique(
        np.concatenate([np.asarray(quad).reshape(-1, 3) for quad in sheet._faces]).round(12), axis=0
    )
    assert len(corners) == len(X) * len(Y)
    np.testing.assert_allclose(
        corners[:, 2], np.log10(0.5 * 10 ** corners[:, 0] + 0.1 * corners[:, 1]), atol=1e-10
    )
    assert axes.get_zlim() == (-2.0, 2.0)


def test_errors_are_drawn_in_percent_and_a_missing_epoch_value_is_a_gap():
    run = dataclasses.replace(
        summary(),
        epochs=({"epoch": 1, "train_error": 0.5, "test_error": 0.6}, {"epoch": 2, "train_error": 0.25}),
    )
    axes = Figure().add_subplot()
    draw_epochs(axes, run, "error")
    train, test = axes.lines
    assert train.get_xydata().tolist() == [[1, 50], [2, 25]]
    np.testing.assert_array_equal(test.get_ydata(), [60, np.nan])


def test_the_band_is_196_standard_errors_wide_and_gaps_are_shaded():
    line = with_values(evaluate(bowl, X, np.array([0.0])), {(0, 0): np.inf, (0, 6): None})
    loss, error = Figure().subplots(2)
    draw_profile(loss, error, line, "#4477aa")
    band = loss.collections[0].get_paths()[0].vertices
    for column in range(1, 6):
        value = float(bowl(X[column], np.float64(0)))
        at = band[np.isclose(band[:, 0], X[column]), 1]
        assert at.min() == pytest.approx(value * (1 - 1.96 * 0.04), rel=1e-12)
        assert at.max() == pytest.approx(value * (1 + 1.96 * 0.04), rel=1e-12)
    np.testing.assert_allclose(error.lines[0].get_ydata()[1:-1], 100 * line.error[0, 1:-1], rtol=1e-15)
    assert len(loss.patches) == len(error.patches) == 2


SURFACES = {
    "not square": evaluate(rugged, X, Y),
    "one-sided": evaluate(bowl, np.linspace(0.2, 1, 5), np.linspace(0.2, 1, 5)),
    "all infinite": with_values(
        evaluate(bowl, X, Y), {(row, column): np.inf for row in range(5) for column in range(7)}
    ),
    "all missing": with_values(
        evaluate(bowl, X, Y), {(row, column): None for row in range(5) for column in range(7)}
    ),
    "one row": evaluate(bowl, X, np.array([0.0])),
    "one column": evaluate(bowl, np.array([0.0]), Y),
    "one point": evaluate(bowl, np.array([0.0]), np.array([0.0])),
    "all equal": evaluate(flat(2.0), X, Y),
    "all zero": evaluate(flat(0.0), X, Y),
    "huge": evaluate(flat(1e300), X, Y),
    "tiny": evaluate(lambda x, y: 1e-7 + 1e-5 * x**2, X, Y),
    "negative": evaluate(lambda x, y: -3.8 + x**2 + y, X, Y),
    "signed and steep": evaluate(lambda x, y: -3.8 + np.exp(4 * y), X, Y),
    "one finite point": with_values(
        evaluate(bowl, X, Y),
        {(row, column): np.nan for row in range(5) for column in range(7) if (row, column) != (2, 3)},
    ),
    "long": evaluate(bowl, np.linspace(-50, 50, 9), Y),
}


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("draw", [plots.contour, plots.surface])
def test_every_kind_of_surface_can_be_drawn(name: str, draw: Callable[[RunSummary], bytes]):
    assert picture(draw(summary(plane=SURFACES[name]))).std() > 5


def test_unlike_surfaces_can_be_compared():
    runs = [summary(run=f"run-{index}", plane=surface) for index, surface in enumerate(SURFACES.values())]
    assert (
        Image.open(io.BytesIO(plots.comparison(runs[:2]))).width
        < Image.open(io.BytesIO(plots.comparison(runs[:8]))).width
    )
    assert plots.comparison(runs[:1]) != plots.comparison(runs[1:2])


def test_lines_and_curves_without_any_number_can_be_drawn():
    line = with_values(evaluate(bowl, X, np.array([0.0])), {(0, column): np.nan for column in range(7)})
    run = dataclasses.replace(summary(line=line), epochs=())
    assert plots.line_profile(run).startswith(b"\x89PNG")
    assert plots.learning_curves(run).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "draw",
    [
        plots.contour,
        plots.surface,
        plots.learning_curves,
        plots.line_profile,
        lambda run: plots.comparison([run, run]),
    ],
)
def test_the_same_run_gives_the_same_bytes_whatever_the_settings_of_the_user_are(
    draw: Callable[[RunSummary], bytes],
):
    run = summary(plane=evaluate(rugged, X, Y), line=evaluate(bowl, X, np.array([0.0])))
    first = draw(run)
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 30, "lines.linewidth": 9}
    ):
        assert draw(run) == first


def test_names_are_drawn_as_they_are_written():
    run = summary(
        run="$\\frac$ <b>", source="s3://bucket/$x_$ 数据.zip", line=evaluate(bowl, X, np.array([0.0]))
    )
    for draw in (
        plots.contour,
        plots.surface,
        plots.learning_curves,
        plots.line_profile,
        lambda run: plots.comparison([run]),
    ):
        assert draw(run).startswith(b"\x89PNG")


def test_a_run_without_a_line_has_no_profile():
    with pytest.raises(LossmapError) as caught:
        plots.line_profile(summary())
    assert (
        str(caught.value)
        == "run cifar-resnet-56-a1b2c3 has no line, expected one for a profile; set landscape.line in the"
        " experiment and survey again"
    )


def test_nothing_cannot_be_compared():
    with pytest.raises(LossmapError, match=r"^no run to compare, expected at least one; name the runs$"):
        plots.comparison([])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((1.7, 9.4), {"2", "5"}),  # less than a decade: no power of ten inside
        ((1.65, 2.55), {"1.8", "2", "2.2", "2.4"}),
        ((0.01, 100.0), {"0.01", "0.1", "1", "10", "100"}),
    ],
)
def test_logarithmic_ticks_are_plain_numbers_on_short_and_on_long_axes(
    losses: tuple[float, float], expected: set[str]
):
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], losses)
    with matplotlib.rc_context({"text.parse_math": False}):
        use_axis(axes, CurveAxis.of([np.array(losses)]))
        figure.canvas.draw()
        shown = {
            label.get_text() for minor in (False, True) for label in axes.get_yticklabels(minor=minor)
        } - {""}
    assert expected <= shown
    assert not any("$" in text or "e" in text for text in shown)


SHAPES = {
    "tiny": lambda x, y: 1e-7 + 4e-5 * (x**2 + y**2),
    "huge": lambda x, y: 1e3 + 1e8 * (x**2 + y**2),
    "negative": lambda x, y: -3.8 + 2 * (x**2 + y**2),
    "signed and steep": lambda x, y: -3.8 + np.exp(5 * (x**2 + y**2)),
    "close together": lambda x, y: 2.302 + 0.004 * (x**2 + y**2),
    "a straggler": lambda x, y: np.where((x > 0.9) & (y > 0.9), 1e20, 1e-7 + 4e-5 * (x**2 + y**2)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_picture_shows_the_shape_in_many_shades(name: str):
    side = np.linspace(-1, 1, 15)
    run = summary(plane=evaluate(SHAPES[name], side, side))
    mesh = cells(map_axes(run.plane))
    shades = np.unique(np.round(255 * np.asarray(mesh.norm(mesh.get_array()))))
    assert len(shades) > 20
    (sheet, *_) = _surface_axes(run).collections
    heights = np.concatenate([np.asarray(quad).reshape(-1, 3) for quad in sheet._faces])[:, 2]
    assert np.ptp(heights) > 0.3 * np.ptp(_surface_axes(run).get_zlim())


def _surface_axes(run: RunSummary) -> Axes:
    axes = Figure().add_subplot(projection="3d")
    draw_surface(axes, run, frame([run.plane]))
    return axes


@pytest.mark.parametrize(
    ("value", "deviation"), [(1e-6, 1e-7), (1e-6, 1e-5), (-3.8, 0.05), (1.0, 0.1), (0.0, 1e-3)]
)
def test_the_band_lies_on_either_side_of_the_line_whatever_the_losses(value: float, deviation: float):
    line = evaluate(flat(value), X, np.array([0.0]))
    line = dataclasses.replace(line, loss_standard_error=np.full(line.loss.shape, deviation))
    loss, error = Figure().subplots(2)
    draw_profile(loss, error, line, "#4477aa")
    band = loss.collections[0].get_paths()[0].vertices[:, 1]
    ends = (value - 1.96 * deviation, value + 1.96 * deviation)
    assert (band.min(), band.max()) == pytest.approx(ends, rel=1e-12)
    assert plots.line_profile(summary(line=line)).startswith(b"\x89PNG")


def test_a_regression_has_no_panel_of_errors():
    line = evaluate(bowl, X, np.array([0.0]))
    without = dataclasses.replace(line, error=np.full(line.loss.shape, np.nan))
    heights = [picture(plots.line_profile(summary(line=each))) for each in (line, without)]
    assert not np.array_equal(*heights)
    assert not without.has_errors
