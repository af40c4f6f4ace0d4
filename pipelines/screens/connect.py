"""What a person, or a program, sees of a connection of two networks."""

import json
from typing import TYPE_CHECKING

from rich.table import Table

from lossmap.components.config.settings import Settings
from lossmap.pipelines import local
from lossmap.pipelines.connect import ConnectionReport
from lossmap.pipelines.screens.console import console

if TYPE_CHECKING:
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
