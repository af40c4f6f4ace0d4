"""The report of a study: pages, pictures and numbers in the store, and one run of its own in MLflow beside
those of its cells.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import yaml

from lossmap.components.config.study import Study
from lossmap.components.core.serialization import as_csv, plain
from lossmap.components.figures.run.report import summarize_run
from lossmap.components.figures.study.lesson_page import lesson_cells, lesson_page
from lossmap.components.figures.study.page import measure_samples, study_page
from lossmap.components.figures.study.plot import measure_dots
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.tracking.runs import open_study_tracker
from lossmap.components.studies.cells import Cell, Outcome, SeedPair
from lossmap.components.studies.summary import (
    StudySummary,
    connection_records,
    effect_records,
    mean_records,
    run_records,
    summarize_study,
    verdict_records,
)
from lossmap.components.studies.verdicts import Answer

PAGE, LESSON, RESULTS = "page.html", "lesson.html", "results.json"


def write(
    store: Store,
    study: Study,
    outcomes: Sequence[Outcome],
    pairs: Sequence[SeedPair],
    missing: Sequence[Cell],
    tracking: str,
    folder: str,
) -> str:
    """Compare, judge, write the report, results.json last, and log it to MLflow; returns the key of the page.

    Args:
        store: where the report is kept; surfaces of a lesson are read from it.
        study: what was asked.
        outcomes: of the finished cells.
        pairs: networks between which barriers were measured.
        missing: cells that are not finished.
        tracking: MLflow's address.
        folder: where among the studies the report is kept.

    Raises:
        TrackingError: MLflow is out of reach; the report in the store is complete.
    """
    summary = summarize_study(study, outcomes, pairs, missing)
    files = _files(store, summary)
    for name, content in files.items():
        store.write(layout.study(folder, name), content)
    _track(store, summary, files, tracking, folder)
    return layout.study(folder, PAGE)


def _files(store: Store, summary: StudySummary) -> dict[str, bytes]:
    files = {PAGE: study_page(summary).encode()}
    if summary.study.name.startswith("lesson"):
        runs = {cell.network: summarize_run(Run(store, cell.run)) for cell in lesson_cells(summary)}
        files[LESSON] = lesson_page(summary, runs).encode()
    for measure, samples in measure_samples(summary).items():
        if samples:
            files[picture_name(measure)] = measure_dots(samples, summary.study.title)
    study = summary.study.model_dump(mode="json")
    return {
        **files,
        "study.yaml": yaml.safe_dump(study, sort_keys=False, allow_unicode=True).encode(),
        "results.csv": as_csv(run_records(summary)).encode(),
        "means.csv": as_csv(mean_records(summary)).encode(),
        "effects.csv": as_csv(effect_records(summary)).encode(),
        RESULTS: json.dumps(plain(record(summary)), allow_nan=False, indent=2).encode(),
    }


def picture_name(measure: str) -> str:
    """The file of a measure's picture."""
    return f"{re.sub(r'[^a-zA-Z0-9_.-]', '_', measure)}.png"


def record(summary: StudySummary) -> dict[str, Any]:
    """Everything for programs."""
    return {
        "study": summary.study.model_dump(mode="json"),
        "verdicts": verdict_records(summary),
        "means": mean_records(summary),
        "effects": effect_records(summary),
        "connections": connection_records(summary),
        "runs": run_records(summary),
        "missing": [
            {"network": cell.network, **cell.levels, "seed": cell.seed, "run": cell.run}
            for cell in summary.measurements.missing
        ],
    }


def metrics(summary: StudySummary) -> dict[str, float]:
    """What MLflow sorts and draws beside the runs' own numbers: how many statements got which verdict, how
    many cells there are.

    The comparisons are a table (`effects.csv`): as metrics they would fill the page of charts ahead of the
    runs' own.
    """
    counts = Counter(verdict.answer for verdict in summary.verdicts)
    answers = {f"statements_{answer.replace(' ', '_')}": float(counts[answer]) for answer in get_args(Answer)}
    return answers | {
        "runs_finished": float(len(summary.measurements.outcomes)),
        "runs_missing": float(len(summary.measurements.missing)),
    }


def _track(
    store: Store, summary: StudySummary, files: Mapping[str, bytes], tracking: str, folder: str
) -> None:
    tracker = open_study_tracker(tracking, store.uri, folder, summary.study)
    with tracker.concluding():
        tracker.log_final(metrics(summary), step=0)
        tracker.log_artifacts(files)
