import dataclasses
import json

import numpy as np
import pytest
from plotly import graph_objects as go
from reference.summaries import bowl, evaluate, summary, with_values

from lossmap.components.figures.frame import frame
from lossmap.components.figures.pages import figures_json
from lossmap.components.figures.run.interactive import height_axis, map_figure, surface_figure
from lossmap.components.figures.run.interactive_curves import epochs_figure, profile_figure, slices_figure
from lossmap.components.landscape.grid import Surface

X, Y = np.linspace(-1, 1, 7), np.linspace(0, 3, 5)


def tilted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.5 * 10**x + 0.1 * y


def traces(figure: go.Figure, kind: type) -> list:
    return [trace for trace in figure.data if isinstance(trace, kind)]


def drawn(surface: Surface) -> tuple[go.Figure, go.Figure]:
    run, limits = summary(plane=surface), frame([surface])
    return surface_figure(run, limits), map_figure(run, limits)


def levels(contour: go.Contour) -> list[float]:
    """The losses at which plotly draws lines: from start in steps of size, while below end + size / 10."""
    count = np.floor(
        (contour.contours.end + contour.contours.size / 10 - contour.contours.start) / contour.contours.size
    )
    return [
        round(10 ** (contour.contours.start + step * contour.contours.size), 6)
        for step in range(int(count) + 1)
    ]


def test_the_surface_has_the_loss_of_row_y_and_column_x():
    (sheet,) = traces(drawn(evaluate(tilted, X, Y))[0], go.Surface)
    for row, y in enumerate(Y):
        for column, x in enumerate(X):
            assert (sheet.x[column], sheet.y[row]) == (x, y)
            assert sheet.z[row][column] == pytest.approx(0.5 * 10**x + 0.1 * y, rel=1e-14)
            assert sheet.surfacecolor[row][column] == pytest.approx(
                np.log10(0.5 * 10**x + 0.1 * y), rel=1e-12, abs=1e-14
            )


def test_the_map_has_the_exponent_of_row_y_and_column_x_and_blends_nothing():
    (cells,) = traces(drawn(evaluate(tilted, X, Y))[1], go.Heatmap)
    assert cells.zsmooth is False
    for row, y in enumerate(Y):
        for column, x in enumerate(X):
            assert (cells.x[column], cells.y[row]) == (x, y)
            assert cells.z[row][column] == pytest.approx(
                np.log10(0.5 * 10**x + 0.1 * y), rel=1e-12, abs=1e-14
            )


def test_pointing_at_a_place_tells_the_loss_as_it_is_its_uncertainty_and_the_error():
    surface = with_values(evaluate(tilted, X, Y), {(2, 3): 5e4, (0, 1): np.inf})
    sheet, cells = traces(drawn(surface)[0], go.Surface)[0], traces(drawn(surface)[1], go.Heatmap)[0]
    by_column = np.asarray(sheet.customdata)  # what plotly does with it is tested in the browser
    for trace, details in ((sheet, by_column.transpose(1, 0, 2)), (cells, np.asarray(cells.customdata))):
        np.testing.assert_allclose(
            details[2, 3], [5e4, 1.96 * surface.loss_standard_error[2, 3], surface.error[2, 3]], rtol=1e-6
        )
        assert np.isnan(details[0, 1]).all()
        assert "±" in trace.hovertemplate
        assert "%{customdata[2]:.2%}" in trace.hovertemplate


def test_what_is_not_finite_is_a_hole_and_is_named_when_pointed_at():
    surface = with_values(
        evaluate(tilted, X, Y), {(0, 1): np.nan, (1, 2): np.inf, (4, 6): None, (3, 0): 1e9, (3, 1): 1e-9}
    )
    perspective, above = drawn(surface)
    heights = np.asarray(traces(perspective, go.Surface)[0].z)
    assert np.argwhere(np.isnan(heights)).tolist() == [[0, 1], [1, 2], [4, 6]]
    assert heights[3, :2].tolist() == [100.0, 0.01]
    named = {
        trace.hovertemplate.split("<br>")[1].split("<")[0]: (trace.x[0], trace.y[0], trace.marker.symbol)
        for trace in traces(above, go.Scatter)[:3]
    }
    assert named == {
        "loss is NaN": (X[1], Y[0], "x-thin"),
        "loss is infinite": (X[2], Y[1], "x-thin"),
        "not evaluated": (X[6], Y[4], "circle"),
    }


def test_lines_of_equal_loss_are_one_two_and_five_times_powers_of_ten_and_the_loss_of_guessing_twice():
    contours = traces(drawn(evaluate(tilted, X, Y))[1], go.Contour)
    *thin, under, over = contours
    assert sorted(level for contour in thin for level in levels(contour)) == [
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        20,
        50,
        100,
    ]
    assert levels(under) == levels(over) == [pytest.approx(np.log(10), abs=1e-6)]
    for contour in contours:
        np.testing.assert_allclose(
            contour.z, np.log10([[0.5 * 10**x + 0.1 * y for x in X] for y in Y]), rtol=1e-6, atol=1e-7
        )


def test_the_axes_and_colours_of_all_runs_of_a_page_are_the_same():
    low, high = evaluate(tilted, X, Y), evaluate(lambda x, y: 40 + 0 * x, X * 2, Y)
    limits = frame([low, high])
    scenes = [surface_figure(summary(plane=surface), limits).layout for surface in (low, high)]
    assert scenes[0].scene == scenes[1].scene
    assert scenes[0].coloraxis == scenes[1].coloraxis
    assert (scenes[0].coloraxis.cmin, scenes[0].coloraxis.cmax) == (-2, 2)
    assert scenes[0].scene.xaxis.range[0] < -2
    assert scenes[0].scene.xaxis.range[1] > 2


def test_height_is_shown_up_to_the_highest_loss_of_all_runs_or_the_end_of_the_scale():
    assert height_axis(frame([evaluate(lambda x, y: 4 + 0 * x, X, Y)]))["linear"]["range"] == [
        0.0,
        pytest.approx(4.08),
    ]
    assert height_axis(frame([with_values(evaluate(bowl, X, Y), {(0, 0): 4e7})]))["linear"]["range"] == [
        0.0,
        pytest.approx(102),
    ]
    assert height_axis(frame([evaluate(bowl, X, Y)]))["logarithmic"]["range"] == [
        pytest.approx(-2.03),
        pytest.approx(2.03),
    ]


def test_only_a_grid_that_holds_the_origin_marks_the_trained_network():
    assert [
        trace.hovertemplate.split("<")[0] for trace in traces(drawn(evaluate(tilted, X, Y))[1], go.Scatter)
    ] == ["the trained network", "the lowest point"]
    assert [
        trace.hovertemplate.split("<")[0]
        for trace in traces(drawn(evaluate(tilted, X + 0.1, Y))[1], go.Scatter)
    ] == ["the lowest point"]


def test_a_single_row_is_drawn_as_points():
    perspective, above = drawn(evaluate(bowl, X, np.array([0.0])))
    assert not traces(perspective, go.Surface)
    assert traces(perspective, go.Scatter3d)[0].z == pytest.approx([float(bowl(x, np.float64(0))) for x in X])
    assert not traces(above, go.Contour)


def test_figures_are_json_even_with_nan_and_infinity():
    surface = with_values(evaluate(tilted, X, Y), {(0, 1): np.nan, (1, 2): np.inf})
    line = with_values(evaluate(bowl, X, np.array([0.0])), {(0, 0): np.nan, (0, 1): np.inf})
    run = summary(plane=surface, line=line)
    figures = [
        *drawn(surface),
        profile_figure([run], "loss"),
        profile_figure([run], "error"),
        epochs_figure([run], "loss"),
    ]
    for figure in figures:
        plain = json.loads(figures_json({"figure": figure}))["figures"]["figure"]
        assert plain == json.loads(figure.to_json(engine="json"))


def test_learning_curves_are_training_and_test_of_every_run():
    runs = [summary(run="first"), summary(run="second")]
    figure = epochs_figure(runs, "error")
    assert [trace.name for trace in figure.data] == [
        "first, training",
        "first, test",
        "second, training",
        "second, test",
    ]
    assert [trace.line.dash for trace in figure.data] == ["dash", "solid"] * 2
    assert figure.data[0].line.color == figure.data[1].line.color != figure.data[2].line.color
    assert list(figure.data[1].y) == [entry["test_error"] for entry in runs[0].epochs]


def test_a_profile_has_its_band_and_the_loss_of_guessing():
    line = with_values(evaluate(bowl, X, np.array([0.0])), {(0, 0): np.inf})
    figure = profile_figure([summary(line=line)], "loss")
    band, curve = figure.data
    np.testing.assert_allclose(band.y[:6], line.loss[0, 1:] * (1 + 1.96 * 0.04), rtol=1e-12)
    np.testing.assert_allclose(band.y[6:][::-1], line.loss[0, 1:] * (1 - 1.96 * 0.04), rtol=1e-12)
    assert np.isnan(curve.y[0])
    np.testing.assert_allclose(curve.y[1:], line.loss[0, 1:], rtol=1e-15)
    assert [shape.y0 for shape in figure.layout.shapes if shape.y0 == shape.y1] == [pytest.approx(np.log(10))]
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes if shape.type == "rect"] == [
        pytest.approx((X[0] - 1 / 6, X[0] + 1 / 6))
    ]


def test_runs_without_a_line_are_left_out_of_the_profile():
    figure = profile_figure(
        [summary(run="without"), summary(run="with", line=evaluate(bowl, X, np.array([0.0])))], "error"
    )
    assert [trace.name for trace in figure.data] == ["with"]


def test_names_reach_plotly_escaped():
    runs = [summary(run="<b>bold</b>&", line=evaluate(bowl, X, np.array([0.0]))), summary(run="plain")]
    names = [
        trace.name
        for figure in (epochs_figure(runs, "loss"), profile_figure(runs, "error"))
        for trace in figure.data
    ]
    assert names[0] == "&lt;b&gt;bold&lt;/b&gt;&amp;, training"
    assert not any("<" in name for name in names)


def likelihood(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -3.8 + np.exp(3 * (x**2 + y**2)) - 1


def test_negative_losses_have_heights_and_colours_of_their_own():
    surface = evaluate(likelihood, X, np.linspace(-1, 1, 5))
    perspective, above = drawn(surface)
    scale = frame([surface]).scale
    assert scale.kind == "symlog"
    sheet, cells = traces(perspective, go.Surface)[0], traces(above, go.Heatmap)[0]
    np.testing.assert_allclose(sheet.z, scale.heights(surface.loss), rtol=1e-12)
    np.testing.assert_allclose(cells.z, scale.heights(surface.loss), rtol=1e-12)
    axis = perspective.layout.scene.zaxis
    assert axis.range[0] < sheet.z.min() < sheet.z.max() < axis.range[1]
    assert list(height_axis(frame([surface]))) == ["symmetric logarithmic"]


@pytest.mark.parametrize(
    "formula",
    [lambda x, y: 1e-7 + 4e-5 * bowl(x, y), likelihood, lambda x, y: -3.8 + 2 * bowl(x, y)],
    ids=["tiny", "signed", "negative"],
)
def test_the_band_of_a_profile_lies_on_either_side_of_it(formula):
    line = evaluate(formula, X, np.array([0.0]))
    line = dataclasses.replace(line, loss_standard_error=np.full(line.loss.shape, 3e-5))
    band, curve = profile_figure([summary(line=line)], "loss").data[:2]
    count = len(X)
    assert (band.y[:count] > curve.y).all()
    assert (band.y[count:][::-1] < curve.y).all()


def test_points_that_no_facet_joins_are_drawn():
    alone = with_values(
        evaluate(bowl, X, Y),
        {(row, column): np.nan for row in range(5) for column in range(7) if (row, column) != (2, 3)},
    )
    (bead,) = traces(drawn(alone)[0], go.Scatter3d)[:1]
    assert (bead.x[0], bead.y[0]) == (X[3], Y[2])


def test_losses_beyond_float32_are_told():
    (cells,) = traces(drawn(evaluate(lambda x, y: 1e-60 + 0 * x, X, Y))[1], go.Heatmap)
    assert np.asarray(cells.customdata)[0, 0, 0] == 1e-60


def test_cuts_are_shown_down_to_the_bottom_of_a_narrow_basin():
    side = np.linspace(-1, 1, 41)
    plane = evaluate(lambda x, y: 1e-3 + 50 * (x**2 + y**2) ** 2, side, side)
    low, high = slices_figure(summary(plane=plane)).layout.yaxis.range
    assert 1e-4 < 10**low < plane.loss.min()
    assert 10**high > 100
