"""Runs side by side: the table, and the page."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.pictures import Pictures
from lossmap.components.core.serialization import as_csv
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import Run, list_runs


@dataclass(frozen=True)
class Row:
    """One finished run and its scalars."""

    run: Run
    scalars: dict[str, float | None]

    @property
    def experiment(self) -> Experiment:
        """What the run is."""
        return self.run.experiment


def finished_runs(store: Store, study: str) -> list[Run]:
    """The finished runs of a study, oldest first."""
    runs = [Run(store, name) for name in list_runs(store)]
    return [run for run in runs if run.is_finished() and run.experiment.study == study]


def rows(runs: Sequence[Run]) -> list[Row]:
    """The runs with their scalars, in the given order."""
    return [Row(run, run.scalars()) for run in runs]


def row_records(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows for JSON: run, study, recipe, and every scalar."""
    return [
        {"run": row.run.name, "study": row.experiment.study, "recipe": row.experiment.name, **row.scalars}
        for row in rows
    ]


def rows_as_csv(rows: Sequence[Row]) -> str:
    """Rows as comma-separated values, with a header; a scalar that a run does not have is empty."""
    return as_csv(row_records(rows))


def write_page(store: Store, runs: Sequence[Run], pictures: Pictures | None = None) -> str:
    """Draw the comparison page of some runs and return its key in the store.

    Args:
        store: where it is kept.
        runs: finished ones.
        pictures: how the loss is drawn; without it as in the experiments, where these agree.
    """
    from lossmap.components.figures.run import plots
    from lossmap.components.figures.run.page import comparison_page
    from lossmap.components.figures.run.report import summarize_run
    from lossmap.components.figures.run.summary import common_pictures

    summaries = [summarize_run(run) for run in runs]
    drawn = pictures or common_pictures(summaries)
    name = hashlib.sha256(" ".join(run.name for run in runs).encode()).hexdigest()[:12]
    store.write(layout.comparison(name, "comparison.png"), plots.comparison(summaries, drawn))
    store.write(layout.comparison(name, "page.html"), comparison_page(summaries, drawn).encode())
    return layout.comparison(name, "page.html")
