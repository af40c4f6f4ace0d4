"""The report of a run: pictures, page and scalars in the store, and the whole run in MLflow."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lossmap.components.config.models import BALANCE
from lossmap.components.config.settings import UNTRACKED
from lossmap.components.core.estimates import scalars_of
from lossmap.components.core.progress import Progress, silent
from lossmap.components.figures.run import plots
from lossmap.components.figures.run.page import run_page
from lossmap.components.figures.run.summary import RunSummary, guessing_loss
from lossmap.components.landscape.grid import to_npz
from lossmap.components.landscape.measures.surface import surface_measures
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run, load_epochs
from lossmap.components.stores.tracking.runs import open_tracker
from lossmap.components.surveys.result import SurveyResult
from lossmap.components.surveys.stored_result import load_result

PAGE = "page.html"


def report(run: Run, tracking: str, progress: Progress = silent) -> RunSummary:
    """Draw and write the report, scalars last, then log the run to MLflow, unless tracking is `none`.

    Raises:
        TrackingError: MLflow is out of reach; the report in the store is complete.
    """
    summary = summarize_run(run)
    progress(1, 4, "drawing")
    files = _files(summary)
    progress(2, 4, "writing")
    for name, content in files.items():
        run.store.write(layout.report(run.name, name), content)
    run.store.write(layout.scalars(run.name), json.dumps(dict(summary.scalars)).encode())
    if tracking != UNTRACKED:
        progress(3, 4, "logging to MLflow")
        _track(run, summary, files, tracking)
    progress(4, 4, "")
    return summary


def summarize_run(run: Run) -> RunSummary:
    """Everything that a report shows of a run whose survey is merged."""
    experiment, manifest, result = run.experiment, run.manifest, load_result(run)
    epochs = tuple(load_epochs(run.store, run.training))
    guess = guessing_loss(experiment, manifest)
    estimates = surface_measures(result.planes, result.lines, guess, experiment.landscape)
    scalars = _training_scalars(run.training_result) | _expert_scalars(epochs)
    return RunSummary(
        run=run.name,
        experiment=experiment,
        manifest=manifest,
        epochs=epochs,
        scalars=scalars | scalars_of(estimates) | _survey_scalars(result),
        result=result,
    )


def _training_scalars(result: Mapping[str, Any]) -> dict[str, float | None]:
    by_task = {}
    for split in ("test", "train"):
        for task, values in result[split].get("tasks", {}).items():
            by_task[f"{split}_error.{task}"] = values["error"]
            by_task[f"{split}_loss.{task}"] = values["loss"]
    return {
        "test_error": result["test"]["error"],
        "test_loss": result["test"]["loss"],
        "train_error": result["train"]["error"],
        "train_loss": result["train"]["loss"],
        "parameters": result["parameters"],
        "training_seconds": result["seconds"],
        **by_task,
    }


def _expert_scalars(epochs: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """How evenly the experts were used in the last epoch, where there are any."""
    return {name: epochs[-1][name] for name in BALANCE if epochs and name in epochs[-1]}


def _survey_scalars(survey: SurveyResult) -> dict[str, float | None]:
    plane = survey.planes[0]
    scalars: dict[str, float | None] = {
        "points": float(plane.known.sum()),
        "evaluated_points": float(plane.evaluated.sum()),
        "masked_points": float((~plane.finite).sum()),
    }
    if survey.curvature:
        scalars |= survey.curvature.scalars()
    if survey.convexity:
        scalars["hessian_convex_fraction"] = float(survey.convexity.convex.mean())
    if survey.trajectory:
        scalars["trajectory_explained"] = sum(survey.explained)
    return scalars


def _files(summary: RunSummary) -> dict[str, bytes]:
    files = {
        "contour.png": plots.contour(summary),
        "surface.png": plots.surface(summary),
        PAGE: run_page(summary).encode(),
        "experiment.yaml": summary.experiment.to_yaml().encode(),
        "surface.npz": to_npz(**vars(summary.plane)),
    }
    if summary.epochs:
        files["learning_curves.png"] = plots.learning_curves(summary)
    if summary.line:
        files |= {"line.png": plots.line_profile(summary), "line.npz": to_npz(**vars(summary.line))}
    return files


def _track(run: Run, summary: RunSummary, files: Mapping[str, bytes], tracking: str) -> None:
    store, training = run.store, run.experiment.training
    tracker = open_tracker(tracking, run)
    with tracker.concluding():
        tracker.log_epochs(summary.epochs)
        tracker.log_final(summary.scalars, step=training.epochs if training else 0)
        tracker.log_dataset(
            summary.manifest.source,
            summary.manifest.digest,
            f"{store.uri}/{layout.dataset(summary.manifest.digest)}",
        )
        tracker.log_model(run.name, f"{store.uri}/{layout.weights(run.training)}")
        # last, since they alone may go elsewhere than to the server
        tracker.log_artifacts({**files, "scalars.json": json.dumps(dict(summary.scalars), indent=2).encode()})
