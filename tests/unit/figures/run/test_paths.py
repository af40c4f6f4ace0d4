"""Paths of checkpoints and of optimisers in pictures and on the page."""

import numpy as np
import pytest
from reference.summaries import bowl, evaluate, summary, with_paths

from lossmap.components.figures.frame import frame
from lossmap.components.figures.run import captions, plots, sentences
from lossmap.components.figures.run.details import distance_figure, trajectory_figure
from lossmap.components.figures.run.interactive import map_figure
from lossmap.components.figures.run.page import run_page

NAMES = ("1.pt", "2<b>.pt", "3.pt", "4.pt")
SIDE = np.linspace(-1, 1, 11)


def _run(*paths):
    return with_paths(summary(plane=evaluate(bowl, SIDE, SIDE)), *paths)


def _lines(figure):
    return [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines+markers"]


def test_every_path_has_a_line_of_its_own_colour_through_its_projections():
    run = _run(("sgd", NAMES), ("adam", ()))
    lines = _lines(map_figure(run, frame([run.plane])))
    assert [list(line.x) for line in lines] == [pytest.approx([-0.8, -0.6, -0.4, -0.2])] * 2
    assert [list(line.y) for line in lines] == [[0.0] * 4, [0.3] * 4]
    assert len({line.line.color for line in lines}) == 2
    assert [row[0] for row in lines[0].customdata] == ["1.pt", "2&lt;b&gt;.pt", "3.pt", "4.pt"]
    assert lines[1].customdata[0][0] == "epoch 1"
    assert lines[0].hovertemplate.startswith("sgd, ")


def test_curves_have_a_loss_and_a_distance_for_each_path():
    run = _run(("sgd", NAMES), ("adam", ()))
    losses, distances = _lines(trajectory_figure(run.result)), _lines(distance_figure(run.result))
    assert [line.name for line in losses] == [
        f"{label}: {what}"
        for label in ("sgd", "adam")
        for what in ("the snapshot itself", "its projection onto the plane")
    ]
    assert [line.line.color for line in losses] == [line.line.color for line in distances]
    assert list(distances[1].y) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert trajectory_figure(run.result).layout.xaxis.title.text == "checkpoint or epoch"
    assert [line.name for line in _lines(trajectory_figure(_run(("", NAMES)).result))] == [
        "the snapshot itself",
        "its projection onto the plane",
    ]


def test_sentences_tell_shares_the_worst_snapshot_and_what_lies_outside():
    run = _run(("sgd", NAMES), ("adam", NAMES))
    assert sentences.trajectory(run) == (
        "The plane holds 75.0 % and 20.0 % of the paths' squared length along its two directions. Where a"
        " path is off the plane, contours do not show its loss: at sgd, 1.pt the snapshot's is 1, its"
        " projection's 0.9."
    )
    small = with_paths(summary(plane=evaluate(bowl, SIDE / 2, SIDE)), ("", ()))
    text = sentences.trajectory(small)
    assert text.endswith(
        "at epoch 1 the snapshot's is 1, its projection's 0.9. 2 of 4 snapshots lie outside of the picture."
    )
    lengths = sum((0.2 * epoch - 1) ** 2 for epoch in range(1, 5))
    off = sum((0.1 * epoch) ** 2 for epoch in range(1, 5))
    (_, snapshots), _ = run.result.paths
    assert sentences.held(snapshots) == f"{100 * lengths / (lengths + off):.1f} %"


def test_the_map_says_what_its_joined_dots_are():
    assert captions.trails(_run(("", NAMES))) == (
        " Joined dots: checkpoints of the path of training, projected onto the plane, which holds 95.0 % of"
        " the squared length."
    )
    assert "snapshots of sgd, adam, projected" in captions.trails(_run(("sgd", NAMES), ("adam", ())))
    assert captions.trails(summary()) == ""


def test_several_paths_have_a_legend_and_a_table_and_their_names_are_escaped():
    run = _run(("<i>sgd", NAMES), ("adam", NAMES))
    assert plots.contour(run)[:4] == b"\x89PNG"
    assert plots.contour(run) != plots.contour(_run(("", NAMES)))
    page = run_page(run)
    assert "<i>sgd" not in page.partition("<script")[0]
    assert page.count("</span>adam</li>") == 1
    assert "Share of its squared length in the plane" in page
    assert "Share of its squared length in the plane" not in run_page(_run(("", NAMES)))
