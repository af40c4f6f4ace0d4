"""The report of a run: pictures, page and scalars in the store, and the whole run in MLflow."""

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from lossmap.components.config.models import BALANCE
from lossmap.components.config.settings import UNTRACKED
from lossmap.components.core.estimates import scalars_of
from lossmap.components.core.progress import Progress, silent
from lossmap.components.figures import themes
from lossmap.components.figures.pages import SharedScript, plotly_script, plotly_version
from lossmap.components.figures.run import plots, sentences
from lossmap.components.figures.run.page import run_page
from lossmap.components.figures.run.summary import RunSummary, guessing_loss
from lossmap.components.landscape.grid import to_npz
from lossmap.components.landscape.measures.surface import surface_measures
from lossmap.components.stores import layout
from lossmap.components.stores.documents import write_json
from lossmap.components.stores.objects import Store
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
    for name, content in {**files, **_light_page(run, summary)}.items():
        run.store.write(layout.report(run.name, name), content)
    write_json(run.store, layout.scalars(run.name), summary.scalars)
    if tracking != UNTRACKED:
        progress(3, 4, "logging to MLflow")
        _track(run, summary, files, tracking)
    progress(4, 4, "")
    return summary


def send(run: Run, tracking: str) -> None:
    """Log a finished run to MLflow from what the store has of it: nothing is measured anew, and what
    MLflow has already stays as it is.

    Raises:
        TrackingError: MLflow is out of reach.
        StoreError: the store does not have all of the run.
    """
    folder = layout.report(run.name, "")
    files = {key.removeprefix(folder): run.store.read(key) for key in run.store.keys(folder)}
    _track(run, stored_summary(run), {**files, PAGE: whole_page(run)}, tracking)


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


def stored_summary(run: Run) -> RunSummary:
    """Everything that a report shows of a finished run, with the scalars of its report: nothing is measured
    again.
    """
    return RunSummary(
        run=run.name,
        experiment=run.experiment,
        manifest=run.manifest,
        epochs=tuple(load_epochs(run.store, run.training)),
        scalars=run.scalars(),
        result=load_result(run),
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


def whole_page(run: Run) -> bytes:
    """The page of a finished run with everything in it, wherever it is shown."""
    if run.experiment.pictures.light_page:
        return run_page(stored_summary(run)).encode()
    return run.store.read(layout.report(run.name, PAGE))


def shared_script(store: Store, key: str, is_light: bool) -> SharedScript | None:
    """The script that a light page takes from the store, kept there now; None of a page that has its own.

    Args:
        store: where the page is.
        key: of the page.
        is_light: whether it shares the script.
    """
    if not is_light:
        return None
    script = layout.page_script(plotly_version())
    if not store.exists(script):
        store.write(script, plotly_script())
    return SharedScript(posixpath.relpath(script, posixpath.dirname(key)))


def _light_page(run: Run, summary: RunSummary) -> dict[str, bytes]:
    """The page that the store gets instead of the whole one, where that is asked for."""
    shared = shared_script(run.store, layout.report(run.name, PAGE), run.experiment.pictures.light_page)
    return {PAGE: run_page(summary, shared).encode()} if shared else {}


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
        tracker.log_final(themes.sortable(summary.scalars), step=training.epochs if training else 0)
        tracker.log_dataset(
            summary.manifest.source,
            summary.manifest.digest,
            f"{store.uri}/{layout.dataset(summary.manifest.digest)}",
        )
        tracker.log_model(run.name, f"{store.uri}/{layout.weights(run.training)}")
        tracker.describe(sentences.note(summary, tracker.artifact_address("contour.png")))
        # last, since they alone may go elsewhere than to the server
        tracker.log_artifacts({**files, "scalars.json": json.dumps(dict(summary.scalars), indent=2).encode()})
