"""The page and the picture of the barriers between every two of several networks."""

import numpy as np
from matplotlib.axes import Axes
from plotly import graph_objects as go

from lossmap.components.config.connection import PathName
from lossmap.components.figures.connection import report, sentences
from lossmap.components.figures.connection.matrix import BarrierMatrix, cell, connected_pairs, numbered
from lossmap.components.figures.connection.summary import SPLITS
from lossmap.components.figures.pages import BLANK, render
from lossmap.components.figures.pictures import figure_with_caption, house_style, png
from lossmap.components.figures.scale import COLOUR_MAP, READABLE_IN_WHITE


def matrix_page(matrix: BarrierMatrix) -> str:
    """Matrices as tables and pictures, with links to the page of every pair."""
    figures = {
        f"{split}-{path}": _heat_map(matrix, path, split) for split in matrix.splits for path in matrix.paths
    }
    return render(
        "matrix.html",
        figures,
        matrix=matrix,
        summary=matrix.first,
        sentences=sentences,
        connected=connected_pairs(matrix),
        cell=cell,
        numbered=numbered(matrix),
        page=report.PAGE,
    )


def _heat_map(matrix: BarrierMatrix, path: PathName, split: str) -> go.Figure:
    values = matrix.values(path, split)
    shown = np.where(np.isfinite(values), values, np.nan)
    texts = [[_short(value, i == j) for j, value in enumerate(row)] for i, row in enumerate(values)]
    sheet = go.Heatmap(
        z=shown,
        x=numbered(matrix),
        y=numbered(matrix),
        text=texts,
        texttemplate="%{text}",
        hovertemplate="%{y} and %{x}: %{text}<extra></extra>",
        colorscale=COLOUR_MAP,
        zmin=0,
        zmax=_greatest(matrix, split),
        showscale=False,
    )
    axis = {"type": "category", "constrain": "domain"}
    return go.Figure(
        [sheet],
        go.Layout(
            template=BLANK,
            xaxis={**axis, "title": {"text": sentences.label(matrix.first, path)}},
            yaxis={**axis, "autorange": "reversed", "scaleanchor": "x"},
            margin={"l": 40, "r": 10, "t": 20, "b": 60},
        ),
    )


def _short(value: float, own: bool) -> str:
    return "" if own else f"{value:.2g}"


def _greatest(matrix: BarrierMatrix, split: str) -> float:
    """The end of the colours, the same for all paths."""
    values = np.concatenate([matrix.values(path, split).ravel() for path in matrix.paths])
    finite = values[np.isfinite(values)]
    return float(finite.max()) or 1.0


def matrix_picture(matrix: BarrierMatrix) -> bytes:
    """A matrix for each path, one row for each split, on one scale of colours, as a PNG file."""
    columns, rows = len(matrix.paths), len(matrix.splits)
    side = max(2.2, 0.55 * len(matrix.labels) + 0.8)
    with house_style():
        figure = figure_with_caption(
            side * columns + 1.5, side * rows + 0.4, _caption(matrix), sentences.matrix_title(matrix.first)
        )
        axes = figure.subplots(rows, columns, squeeze=False)
        for row, split in zip(axes, matrix.splits, strict=True):
            for panel, path in zip(row, matrix.paths, strict=True):
                _draw(panel, matrix, path, split)
        return png(figure)


def _draw(axes: Axes, matrix: BarrierMatrix, path: PathName, split: str) -> None:
    values, greatest = matrix.values(path, split), _greatest(matrix, split)
    axes.imshow(np.where(np.isfinite(values), values, np.nan), cmap=COLOUR_MAP, vmin=0, vmax=greatest)
    for i, j in [*matrix.pairs, *((j, i) for i, j in matrix.pairs)]:
        light = values[i, j] < READABLE_IN_WHITE * greatest
        colour = "white" if light else "black"
        axes.text(j, i, _short(values[i, j], False), ha="center", va="center", fontsize=8, color=colour)
    places = range(len(matrix.labels))
    axes.set_xticks(places, numbered(matrix))
    axes.set_yticks(places, numbered(matrix))
    axes.set_title(f"{sentences.label(matrix.first, path)},\n{matrix.splits[split]} loss", fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _caption(matrix: BarrierMatrix) -> str:
    names = ", ".join(
        f"{number}: {label}" for number, label in zip(numbered(matrix), matrix.labels, strict=True)
    )
    summary = matrix.first
    samples = " and ".join(f"{summary.samples(split)} {SPLITS[split]}" for split in matrix.splits)
    return (
        f"Barriers in {summary.unit} between every two of {names}; mean over the same {samples} samples at"
        f" {summary.connecting.evaluation.points} points of each path. {' '.join(connected_pairs(matrix))}"
        f" {sentences.statistics(summary)}"
    )
