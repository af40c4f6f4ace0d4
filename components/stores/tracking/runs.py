"""How a run appears in MLflow: its parameters and tags."""

import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from lossmap.components.config.connection import Connecting
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.settings import Settings
from lossmap.components.config.study import Study
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run
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
            **dict(_flat(connecting.model_dump(mode="json"))),
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
        dict(_flat(study.model_dump(mode="json", exclude={"statements", "contrasts"}))),
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


def end_run(
    uri: str, study: str, name: str, status: Literal["FAILED", "KILLED"], store_uri: str = ""
) -> None:
    """Mark a run that did not finish as what it is, if MLflow knows it."""
    tracker = RunTracker(uri, study, name, store_uri)
    if tracker.resume():
        tracker.finish(status)


def parameters(experiment: Experiment, manifest: Manifest) -> dict[str, Any]:
    """The flattened experiment, with the digest of its data."""
    fields = experiment.model_dump(mode="json", exclude={"name", "study"})
    return {**dict(_flat(fields)), "data.digest": manifest.digest}


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
        "mlflow.note.content": (
            "Among the artifacts: `page.html` is the report, `experiment.yaml` runs the same again with"
            " `lossmap run experiment.yaml`."
        ),
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


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
