"""Runs side by side: the table, and the page."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from lossmap.components.config.experiment import Experiment
from lossmap.components.core.errors import StoreError
from lossmap.components.core.serialization import as_csv
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import list_runs, load_experiment, load_json


@dataclass(frozen=True)
class Row:
    """One finished run and its scalars."""

    run: str
    experiment: Experiment
    scalars: dict[str, float | None]


def finished_runs(store: Store, study: str) -> list[str]:
    """Names of the finished runs of a study, oldest first."""
    finished = [run for run in list_runs(store) if store.exists(layout.scalars(run))]
    return [run for run in finished if load_experiment(store, run).study == study]


def rows(store: Store, runs: Sequence[str]) -> list[Row]:
    """The runs with their scalars, in the given order."""
    return [_row(store, run) for run in runs]


def _row(store: Store, run: str) -> Row:
    experiment = load_experiment(store, run)
    if not store.exists(layout.scalars(run)):
        raise StoreError(f"run {run} is not finished; go on with it: lossmap run --resume {run}")
    return Row(run, experiment, load_json(store, layout.scalars(run)))


def row_records(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows for JSON: run, study, recipe, and every scalar."""
    return [
        {"run": row.run, "study": row.experiment.study, "recipe": row.experiment.name, **row.scalars}
        for row in rows
    ]


def rows_as_csv(rows: Sequence[Row]) -> str:
    """Rows as comma-separated values, with a header; a scalar that a run does not have is empty."""
    return as_csv(row_records(rows))


def write_page(store: Store, runs: Sequence[str]) -> str:
    """Draw the comparison page of some runs and return its key in the store."""
    from lossmap.components.figures.run import plots
    from lossmap.components.figures.run.page import comparison_page
    from lossmap.components.figures.run.report import summarize_run

    summaries = [summarize_run(store, run) for run in runs]
    name = hashlib.sha256(" ".join(runs).encode()).hexdigest()[:12]
    store.write(layout.comparison(name, "comparison.png"), plots.comparison(summaries))
    store.write(layout.comparison(name, "page.html"), comparison_page(summaries).encode())
    return layout.comparison(name, "page.html")
