"""What every run keeps in the store, read and written by its meaning."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.core.errors import ExperimentError, StoreError
from lossmap.components.core.frozen import Frozen
from lossmap.components.stores import layout, software
from lossmap.components.stores.addresses import SurveyTask, TrainingTask
from lossmap.components.stores.objects import Store


def save_experiment(store: Store, run_id: str, experiment: Experiment) -> None:
    """Keep the experiment of a new run. A run's experiment never changes."""
    key = layout.experiment(run_id)
    if store.exists(key) and load_experiment(store, run_id) != experiment:
        raise ExperimentError(f"run {run_id} exists with another experiment; start a new run")
    store.write(key, experiment.canonical_json().encode())


def load_experiment(store: Store, run_id: str) -> Experiment:
    """The experiment of a run."""
    if not store.exists(layout.experiment(run_id)):
        known = list_runs(store)
        hint = f"the newest are {', '.join(known[-3:])}" if known else "it has no runs yet"
        raise StoreError(f"{store.uri} has no run {run_id}; {hint}")
    return Experiment.model_validate_json(store.read(layout.experiment(run_id)))


def list_runs(store: Store) -> list[str]:
    """Names of all runs: those of studies, whose names have no time, in their order, then the others,
    oldest first.
    """
    names = [
        key.split("/")[1]
        for key in store.keys("runs/")
        if key.endswith("/experiment.json") and key.count("/") == 2
    ]
    return sorted(names, key=_age)


def _age(run: str) -> tuple[str, str]:
    timed = re.search(r"-(\d{8}-[0-9a-f]{9})$", run)
    return (timed[1], run) if timed else ("", run)


def load_manifest(store: Store, digest: str) -> Manifest:
    """The manifest of a packed data set; StoreError where it is missing or damaged."""
    key = layout.dataset(digest)
    try:
        return Manifest.model_validate_json(store.read(key))
    except ValidationError:
        raise StoreError(
            f"{store.uri}/{key} is damaged, expected a manifest; a run on the same images writes it again"
        ) from None


def save_run_manifest(store: Store, run_id: str, manifest: Manifest) -> None:
    """Note which data set the run uses."""
    store.write(layout.run_dataset(run_id), manifest.model_dump_json().encode())


def load_run_manifest(store: Store, run_id: str) -> Manifest:
    """The manifest of the run's data set."""
    return Manifest.model_validate_json(store.read(layout.run_dataset(run_id)))


class Links(Frozen):
    """The addresses of a run's training and survey. Runs that ask for the same share them."""

    training: str
    survey: str


def links(store: Store, run_id: str) -> Links:
    """The run's training and survey: those that it began with, also when lossmap has changed since."""
    key = layout.links(run_id)
    if not store.exists(key):
        store.write(key, _new_links(store, run_id).model_dump_json().encode())
    return Links.model_validate_json(store.read(key))


def _new_links(store: Store, run_id: str) -> Links:
    experiment = load_experiment(store, run_id)
    task = TrainingTask(
        dataset=load_run_manifest(store, run_id).digest,
        model=experiment.model,
        training=experiment.training,
        software=software.software_of(software.TRAINING),
    )
    training = task.address()
    store.write(layout.training_task(training), task.model_dump_json().encode())
    survey = SurveyTask(
        training=training, landscape=experiment.landscape, software=software.software_of(software.SURVEY)
    )
    return Links(training=training, survey=survey.address())


def load_training_task(store: Store, training: str) -> TrainingTask:
    """What a training is to do."""
    return TrainingTask.model_validate_json(store.read(layout.training_task(training)))


def save_epoch(store: Store, training: str, metrics: Mapping[str, float]) -> None:
    """Keep the metrics of one epoch, under its number `epoch`."""
    store.write(layout.epoch_metrics(training, int(metrics["epoch"])), json.dumps(dict(metrics)).encode())


def load_epochs(store: Store, training: str) -> list[dict[str, float]]:
    """The metrics of all finished epochs, in order."""
    return [json.loads(store.read(key)) for key in store.keys(layout.epochs(training))]


def load_json(store: Store, key: str) -> Any:
    """An object that is JSON."""
    return json.loads(store.read(key))
