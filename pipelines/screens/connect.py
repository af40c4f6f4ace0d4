"""What a person, or a program, sees of a connection of two networks."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from rich.table import Table

from lossmap.components.config.settings import Settings
from lossmap.components.core.progress import Printed, Progress
from lossmap.pipelines import local
from lossmap.pipelines.connect import Outcome
from lossmap.pipelines.screens.console import console


@contextmanager
def plain_stage(name: str) -> Iterator[Progress]:
    """Lines on standard error, so that standard output holds nothing but JSON."""
    yield Printed(name)


def show(outcome: Outcome, settings: Settings) -> None:
    """The barriers as a table, the verdict in a sentence, and where the report lies."""
    from lossmap.components.figures.connection import summary as found

    summary = outcome.summary
    console.print(_table(outcome))
    console.print(
        " barrier: greatest height above the chord between the ends [95 % interval], of\n"
        f" the loss in {summary.unit}, of the error in percentage points; t: where the former is",
        markup=False,
    )
    rise = found.estimate(summary.paths[0].rises["train", "loss"])
    console.print(
        f"{found.verdict(summary)}\nLargest rise of the training loss along the straight line: {rise}"
        f" {summary.unit}.",
        markup=False,
    )
    console.print(f"{found.alignment(summary)} {found.statistics(summary)}", markup=False)
    if outcome.untracked:
        console.print(
            f"MLflow did not get this: {outcome.untracked}; the report is complete, and the same command"
            " sends it later",
            markup=False,
        )
    for name, key in (("report", outcome.page), ("picture", outcome.picture)):
        console.print(f"{name:8} {local.place(settings.store, key)}", soft_wrap=True, markup=False)


def _table(outcome: Outcome) -> Table:
    from lossmap.components.figures.connection import summary as found

    summary = outcome.summary
    table = Table("path", box=None, padding=(0, 1))
    for column in ("training barrier", "t", "error", "test barrier", "error"):
        table.add_column(column, justify="right", no_wrap=True)
    for path in summary.paths:
        name = (
            summary.connecting.curve.shape if path.name == "curve" and summary.connecting.curve else path.name
        )
        numbers = [
            (
                found.estimate(path.barriers.get((split, "loss"))),
                found.points(path.barriers.get((split, "error"))),
            )
            for split in found.SPLITS
        ]
        table.add_row(
            name,
            numbers[0][0].replace("[", "\\["),
            f"{path.barrier.t:.2f}",
            numbers[0][1],
            numbers[1][0].replace("[", "\\["),
            numbers[1][1],
        )
    return table


def as_json(outcome: Outcome, settings: Settings) -> str:
    """Everything for programs. A number that is NaN or infinite is the word."""
    from lossmap.components.figures.connection.summary import record

    places = {
        "page": local.place(settings.store, outcome.page),
        "picture": local.place(settings.store, outcome.picture),
    }
    return json.dumps({**record(outcome.summary), **places}, indent=2, allow_nan=False)
