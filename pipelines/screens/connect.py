"""What a person, or a program, sees of a connection of two networks."""

import json
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from lossmap.components.config.settings import Settings
from lossmap.pipelines import local
from lossmap.pipelines.connect import ConnectionReport, MatrixReport
from lossmap.pipelines.screens.console import console

if TYPE_CHECKING:
    from lossmap.components.config.connection import PathName
    from lossmap.components.figures.connection.summary import ConnectionSummary


def show_connection(report: ConnectionReport, settings: Settings) -> None:
    """The barriers as a table, the verdict in a sentence, and where the report lies."""
    from lossmap.components.figures.connection import sentences

    summary = report.summary
    console.print(_table(report))
    console.print(
        " barrier: greatest height above the chord between the ends [95 % interval], of\n"
        f" the loss in {summary.unit}, of the error in percentage points; t: where the former is",
        markup=False,
    )
    rise = sentences.barrier(summary.paths[0].rises["train", "loss"])
    console.print(
        f"{sentences.verdict(summary)}\nLargest rise of the training loss along the straight line: {rise}"
        f" {summary.unit}.",
        markup=False,
    )
    console.print(f"{sentences.alignment(summary)} {sentences.statistics(summary)}", markup=False)
    if report.untracked:
        console.print(
            f"MLflow did not get this: {report.untracked}; the report is complete, and the same command"
            " sends it later",
            markup=False,
        )
    for name, key in (("report", report.page), ("picture", report.picture)):
        console.print(f"{name:8} {local.place(settings.store, key)}", soft_wrap=True, markup=False)


def _table(report: ConnectionReport) -> Table:
    from lossmap.components.figures.connection import sentences

    summary = report.summary
    table = Table("path", box=None, padding=(0, 1))
    for column in ("training barrier", "t", "error", "test barrier", "error"):
        table.add_column(column, justify="right", no_wrap=True)
    for path in summary.paths:
        train, test = (sentences.barrier(path.barriers.get((split, "loss"))) for split in ("train", "test"))
        table.add_row(
            _path_name(summary, path.name),
            train.replace("[", "\\["),
            f"{path.barrier.t:.2f}",
            sentences.percentage_points(path.barriers.get(("train", "error"))),
            test.replace("[", "\\["),
            sentences.percentage_points(path.barriers.get(("test", "error"))),
        )
    return table


def _path_name(summary: "ConnectionSummary", name: str) -> str:
    curve = summary.connecting.curve
    return curve.shape if name == "curve" and curve else name


def connection_json(report: ConnectionReport, settings: Settings) -> str:
    """Everything for programs. A number that is NaN or infinite is the word."""
    from lossmap.components.figures.connection.record import record

    places = {
        "page": local.place(settings.store, report.page),
        "picture": local.place(settings.store, report.picture),
    }
    return json.dumps({**record(report.summary), **places}, indent=2, allow_nan=False)


def show_matrix(report: MatrixReport, settings: Settings) -> None:
    """The barriers between every two networks as a table for each path, and where the report lies."""
    from lossmap.components.figures.connection import matrix as barriers
    from lossmap.components.figures.connection import sentences

    matrix = report.matrix
    numbers = barriers.numbered(matrix)
    for path in matrix.paths:
        table = Table(f"{_path_name(matrix.first, path)}, training loss", box=None, padding=(0, 1))
        for number in numbers:
            table.add_column(number, justify="right", no_wrap=True)
        for row, label in enumerate(matrix.labels):
            pairs = [(row, column) for column in range(len(numbers))]
            cells = [_matrix_cell(report, pair, path) for pair in pairs]
            table.add_row(f"{numbers[row]} {escape(label)}", *cells)
        console.print(table)
    console.print(
        f" barrier: greatest height of the loss above the chord between the ends, in {matrix.first.unit};\n"
        " in brackets: the network's own loss",
        markup=False,
    )
    for line in barriers.connected_pairs(matrix):
        console.print(line, markup=False)
    console.print(sentences.statistics(matrix.first), markup=False)
    if report.untracked:
        console.print(f"MLflow did not get this: {report.untracked}", markup=False)
    for name, key in (("report", report.page), ("picture", report.picture)):
        console.print(f"{name:8} {local.place(settings.store, key)}", soft_wrap=True, markup=False)


def _matrix_cell(report: MatrixReport, pair: tuple[int, int], path: "PathName") -> str:
    barrier = report.matrix.barrier(pair, path, "train")
    if barrier:
        return f"{barrier.value:.3g}"
    loss = report.matrix.own_loss(pair[0], "train")
    return "" if loss is None else f"({loss:.3g})"


def matrix_json(report: MatrixReport, settings: Settings) -> str:
    """Everything for programs. A number that is NaN or infinite is the word."""
    from lossmap.components.figures.connection.matrix_report import matrix_record

    places = {
        "page": local.place(settings.store, report.page),
        "picture": local.place(settings.store, report.picture),
    }
    return json.dumps({**matrix_record(report.matrix), **places}, indent=2, allow_nan=False)
