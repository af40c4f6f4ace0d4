"""How a run appears in MLflow: its parameters and tags."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from lossmap.components.config.connection import Connecting
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.settings import Settings
from lossmap.components.config.study import Study
from lossmap.components.core.serialization import flat
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run, load_epochs
from lossmap.components.stores.tracking.client import RunTracker

STUDY = (
    "The chart button shows the runs side by side; `lossmap compare --study {study}` draws their surfaces on"
    " one scale. `test_error`: wrong answers on the test set. `centre_loss`: loss at the trained weights."
    " `floor`, `ceiling`: least and greatest finite loss on the plane. `basin_fraction`: share of the plane"
    " with less loss than by guessing. `line_convex_fraction`: share of the line where its second difference"
    " is not negative."
)


def open_tracker(uri: str, run: Run) -> RunTracker:
    """The run's place in MLflow, made where it is not there yet."""
    study = run.experiment.study
    tracker = RunTracker(uri, study, run.name, run.store.uri, STUDY.format(study=study))
    tracker.start(parameters(run.experiment, run.manifest), tags(run))
    return tracker


def open_connection_tracker(
    uri: str,
    store_uri: str,
    digest: str,
    runs: tuple[str, str],
    connecting: Connecting,
    experiment: Experiment,
    manifest: Manifest,
) -> RunTracker:
    """A connection's place in MLflow, as a run `connect-<digest>` in the study of the first of the two
    runs.
    """
    name = f"connect-{digest[:12]}"
    tracker = RunTracker(uri, experiment.study, name, store_uri, STUDY.format(study=experiment.study))
    tracker.start(
        {
            "runs": " ".join(runs),
            **dict(flat(connecting.model_dump(mode="json"))),
            "data.digest": manifest.digest,
        },
        {
            "kind": "connection",
            "model": experiment.model.architecture,
            "data": manifest.source,
            "version": code_version(),
            "store": f"{store_uri}/{layout.connection(digest, '')}",
            "mlflow.note.content": (
                f"Paths between the networks of `{runs[0]}` and `{runs[1]}`. Among the artifacts: `page.html`"
                " is the report."
            ),
        },
    )
    return tracker


def open_study_tracker(uri: str, store_uri: str, folder: str, study: Study) -> RunTracker:
    """A study's place in MLflow beside its runs, as `study-<name>-<digest>`: a study with other networks,
    levels or seeds is another run. Its report is in a folder among the studies.
    """
    name = f"study-{study.name}-{study.digest()[:8]}"
    tracker = RunTracker(uri, study.name, name, store_uri, STUDY.format(study=study.name))
    tracker.start(
        dict(flat(study.model_dump(mode="json", exclude={"statements", "contrasts"}))),
        {
            "kind": "study",
            "version": code_version(),
            "store": f"{store_uri}/{layout.study(folder, '')}",
            "mlflow.note.content": (
                f"{study.title} Among the artifacts: `page.html` is the report, `means.csv` and `effects.csv`"
                " are its tables."
            ),
        },
    )
    return tracker


def send_epochs(uri: str, run: Run) -> int:
    """Log the epochs that the store has of a run that is not finished, and return how many there are. A run
    that MLflow did not know as running is not made to run there by that.
    """
    epochs = load_epochs(run.store, run.training)
    known = RunTracker(uri, run.experiment.study, run.name, run.store.uri)
    status = known.status() if known.resume() else "KILLED"
    tracker = open_tracker(uri, run)
    tracker.log_epochs(epochs)
    if status != "RUNNING":
        tracker.finish("FAILED" if status == "FAILED" else "KILLED")
    return len(epochs)


def run_address(uri: str, run: Run) -> str | None:
    """The run's page in MLflow; None where MLflow is a database, or does not know it."""
    tracker = RunTracker(uri, run.experiment.study, run.name, run.store.uri)
    return tracker.url() if tracker.resume() else None


def note_comparison(uri: str, study: str, text: str) -> bool:
    """Write what a comparison says into the description of its study, below what always stands there; a
    description of somebody's own stays. Returns whether it was written.
    """
    beginning = STUDY.format(study=study)
    return RunTracker(uri, study, "").describe_study(beginning, f"{beginning}\n\n{text}")


def end_run(
    uri: str, study: str, name: str, status: Literal["FAILED", "KILLED"], store_uri: str = ""
) -> None:
    """Mark a run that did not finish as what it is, if MLflow knows it."""
    tracker = RunTracker(uri, study, name, store_uri)
    if tracker.resume():
        tracker.finish(status)


def parameters(experiment: Experiment, manifest: Manifest) -> dict[str, Any]:
    """The flattened experiment, with the digest of its data; what it asks of a cluster only on one, and of
    its data only what its source reads.
    """
    unsaid: dict[str, Any] = {"name": True, "study": True, "data": experiment.data.of_other_sources}
    if not Settings().pipeline_run:
        unsaid["cluster"] = True
    fields = experiment.model_dump(mode="json", exclude=unsaid)
    return {**dict(flat(fields)), "data.digest": manifest.digest}


def tags(run: Run) -> dict[str, str]:
    """What one filters and groups by. The code's version is a tag and no parameter: a run may be resumed
    by a newer one.
    """
    return {
        "recipe": run.experiment.name,
        "experiment.digest": run.experiment.digest(),
        "model": run.experiment.model.architecture,
        "data": run.manifest.source,
        "version": code_version(),
        **_of_the_cluster(),
        "store": f"{run.store.uri}/{layout.run(run.name, '')}",
    }


def _of_the_cluster() -> dict[str, str]:
    """Kubeflow's run and the image, in a step of a pipeline."""
    settings = Settings()
    if not settings.pipeline_run:
        return {}
    tags = {"kubeflow.run": settings.pipeline_run, "image": settings.image}
    if settings.pipelines_page:
        pages = settings.pipelines_page.rstrip("/")
        tags["kubeflow.page"] = f"{pages}/#/runs/details/{settings.pipeline_run}"
    return tags


def code_version() -> str:
    """The installed version, and from a git checkout its commit: 0.1.0+g1234567, with -dirty where files
    were changed.
    """
    here = Path(__file__)
    try:
        # a wheel may lie inside somebody else's checkout
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return (
            f"{version('lossmap')}+g{_git(here.parent, 'describe', '--always', '--dirty', '--exclude', '*')}"
        )
    except (OSError, subprocess.CalledProcessError):
        return version("lossmap")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()
