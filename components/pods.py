"""The steps as pods carry them out: the run from the environment, artifacts for Kubeflow's pages, errors in
one line.

Which run a step belongs to is in the environment (LOSSMAP_RUN) and not among its arguments, because
Kubeflow's cache compares these: two runs that ask for the same training get the same one.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lossmap.components import steps
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import LossmapError, TrackingError
from lossmap.components.core.machine import explanation
from lossmap.components.core.progress import Printed
from lossmap.components.importing.digests import with_digests
from lossmap.components.jobs.deployment import STEP_BEGINS, STEP_ENDS
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.software import environment_digest

if TYPE_CHECKING:
    from kfp.dsl import HTML, Artifact, Metrics


def prepare(experiment: str, dataset: "Artifact") -> tuple[str, str]:
    """Keep the experiment and pack its data set; returns the digests of the data set and of the software."""
    with _errors_in_one_line():
        run, _ = _own_run()
        whole = with_digests(Experiment.model_validate_json(experiment))
        digest = steps.prepare(run, whole, Printed("prepare"))
        manifest = run.manifest
        _describe(dataset, f"{run.store.uri}/{layout.dataset(digest)}", manifest.model_dump_json(indent=2))
        dataset.metadata.update(
            {"source": manifest.source, "train": manifest.count("train"), "test": manifest.count("test")}
        )
        return digest, _software(whole)


def train(model: "Artifact", metrics: "Metrics") -> str:
    """Train by a job of Kubeflow's in a pipeline, by processes of this machine elsewhere; returns the
    training's address.
    """
    with _errors_in_one_line():
        run, settings = _own_run()
        steps.train(run, settings, Printed("train"))
        result = run.training_result
        _describe(model, f"{run.store.uri}/{layout.weights(run.training)}", json.dumps(result, indent=2))
        values = {
            f"{split}_{name}": result[split][name]
            for split in ("train", "test")
            for name in ("loss", "error")
        }
        model.metadata.update({"parameters": result["parameters"], "test_error": values["test_error"]})
        for name, value in values.items():
            if value is not None:  # an imported network may have no test samples, or no classes
                metrics.log_metric(name, value)
        return run.training


def plan(pods: int) -> tuple[str, list[str]]:
    """Plan the survey; returns its address, and a share for each pod: one at least, so that the loop over
    them is never empty.
    """
    with _errors_in_one_line():
        run, _ = _own_run()
        first = steps.plan(run)
        count = max(1, min(pods, len(first.current or first.beside)))
        return run.links.survey, [f"{index}/{count}" for index in range(count)]


def tile(share: str) -> None:
    """Evaluate the survey as worker i of n, for the share i/n. What fails here is left to the merge, which
    makes it good or fails by it.
    """
    with _errors_in_one_line():
        run, _ = _own_run()
        index, count = map(int, share.split("/"))
        try:
            steps.evaluate(run, Printed("tiles"), steps.Share(index, count))
        except LossmapError as error:
            print(f"lossmap: what is missing is left to the merge: {error}", flush=True)


def merge() -> None:
    """Assemble the grids, evaluating what is missing."""
    with _errors_in_one_line():
        run, _ = _own_run()
        steps.merge(run, Printed("merge"))


def report(page: "HTML", metrics: "Metrics") -> None:
    """Make the report. It is complete also where MLflow does not take it; the step fails then, so that a
    retry sends it.
    """
    from lossmap.components.figures import themes
    from lossmap.components.figures.run.report import whole_page

    with _errors_in_one_line():
        run, settings = _own_run()
        try:
            steps.report(run, settings, Printed("report"))
        except TrackingError as error:
            raise TrackingError(
                f"MLflow did not get this run: {error}; the report is complete; send it later: lossmap retry"
                f" {run.name}"
            ) from None
        Path(page.path).write_bytes(whole_page(run))
        page.metadata.update(_links(run, settings))
        for name, value in themes.sortable(run.scalars()).items():
            metrics.log_metric(name, value)


def _links(run: Run, settings: Settings) -> dict[str, str]:
    """Where else the run is: shown beside its report."""
    from lossmap.components.stores.tracking.runs import run_address

    links = {"run": run.name, "store": f"{run.store.uri}/{layout.report(run.name, '')}"}
    with suppress(TrackingError):  # the report is here in any case
        if address := run_address(settings.tracking, run) if settings.tracks else None:
            links["mlflow"] = address
    return links


def clean_up() -> None:
    """Delete what is left of the training, and end the run in MLflow where no report did."""
    with _errors_in_one_line():
        run, settings = _own_run()
        steps.clean_up(run, settings)


def _software(experiment: Experiment) -> str:
    """Digest of everything that is installed, and of the imported network's own code, which need not be, and
    of what it became.
    """
    own = (getattr(experiment.model, name, None) for name in ("source_sha256", "object_sha256"))
    return "-".join(filter(None, (environment_digest(), *own)))


def _own_run() -> tuple[Run, Settings]:
    settings = Settings()
    return Run(open_store(settings.store), settings.run), settings


def _describe(artifact: "Artifact", uri: str, text: str) -> None:
    """The object itself is in the store; Kubeflow gets its description, and where it is."""
    Path(artifact.path).write_text(text)
    artifact.metadata["uri"] = uri


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    print(STEP_BEGINS, flush=True)
    try:
        yield
    except LossmapError as error:
        sys.exit(f"lossmap: {error}")
    except OSError as error:
        line = explanation(error)
        if not line:
            raise
        sys.exit(f"lossmap: {line}")
    print(STEP_ENDS, flush=True)
