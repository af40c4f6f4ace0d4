"""Runs side by side: the table, and the page."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.pictures import Pictures
from lossmap.components.config.settings import Settings
from lossmap.components.core.serialization import as_csv
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import Run, list_finished

if TYPE_CHECKING:
    from lossmap.components.figures.comparison.contrasts import Comparison


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
    runs = [Run(store, name) for name in list_finished(store)]
    return [run for run in runs if run.experiment.study == study]


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


def compared(runs: Sequence[Run]) -> "Comparison":
    """What finished runs differ in."""
    from lossmap.components.figures.comparison.contrasts import compare_runs
    from lossmap.components.figures.run.report import stored_summary

    return compare_runs([stored_summary(run) for run in runs])


def as_records(rows: Sequence[Row], comparison: "Comparison") -> list[dict[str, object]]:
    """For JSON: every run with its scalars, the differences from runs before it, and the common answer."""
    from lossmap.components.figures.comparison import sentences

    together = {"answer": sentences.answer(comparison), "caveats": sentences.caveats(comparison)}
    differences = defaultdict[str, list[dict[str, Any]]](list)
    for contrast in comparison.contrasts:
        differences[contrast.second].append(contrast.record())
    return [
        {**record, "differences": differences[row.run.name], **together}
        for row, record in zip(rows, row_records(rows), strict=True)
    ]


def tell_mlflow(comparison: "Comparison", settings: Settings) -> None:
    """Write what the runs of one study differ in into its description, where MLflow has it.

    Raises:
        TrackingError: MLflow is out of reach.
    """
    from lossmap.components.figures.comparison import sentences
    from lossmap.components.stores.tracking.runs import note_comparison
    from lossmap.components.stores.tracking.server import is_begun

    studies = {run.experiment.study for run in comparison.runs}
    if len(studies) == 1 and settings.tracks and is_begun(settings.tracking):
        note_comparison(settings.tracking, studies.pop(), sentences.note(comparison))


def write_page(store: Store, comparison: "Comparison", pictures: Pictures | None = None) -> str:
    """Draw the comparison page of some runs and return its key in the store.

    Args:
        store: where it is kept, as the runs are.
        comparison: of finished runs.
        pictures: how the loss is drawn; without it as in the experiments, where these agree.
    """
    from lossmap.components.figures.comparison.page import comparison_page
    from lossmap.components.figures.run import plots
    from lossmap.components.figures.run.report import shared_script
    from lossmap.components.figures.run.summary import common_pictures

    runs = comparison.runs
    drawn = pictures or common_pictures(runs)
    name = hashlib.sha256(" ".join(run.run for run in runs).encode()).hexdigest()[:12]
    key = layout.comparison(name, "page.html")
    is_light = all(run.pictures.light_page for run in runs)
    page = comparison_page(comparison, drawn, shared_script(store, key, is_light), links=True)
    store.write(layout.comparison(name, "comparison.png"), plots.comparison(runs, drawn))
    store.write(key, page.encode())
    return key
