"""What every run keeps in the store, read and written by its meaning."""

import json
from collections.abc import Mapping
from typing import Any

from lossmap.components.config.errors import ExperimentError, StoreError
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.stores import layout
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
    """Names of all runs, oldest first."""
    names = [key.split("/")[1] for key in store.keys("runs/") if key.endswith("/experiment.json") and key.count("/") == 2]
    return sorted(names, key=lambda name: name.rsplit("-", 2)[1:])


def save_run_manifest(store: Store, run_id: str, manifest: Manifest) -> None:
    """Note which data set the run uses."""
    store.write(layout.run_dataset(run_id), manifest.model_dump_json().encode())


def load_run_manifest(store: Store, run_id: str) -> Manifest:
    """The manifest of the run's data set."""
    return Manifest.model_validate_json(store.read(layout.run_dataset(run_id)))


def save_epoch(store: Store, run_id: str, metrics: Mapping[str, float]) -> None:
    """Keep the metrics of one epoch, under its number `epoch`."""
    store.write(layout.epoch_metrics(run_id, int(metrics["epoch"])), json.dumps(dict(metrics)).encode())


def load_epochs(store: Store, run_id: str) -> list[dict[str, float]]:
    """The metrics of all finished epochs, in order."""
    return [json.loads(store.read(key)) for key in store.keys(layout.run(run_id, "epochs/"))]


def load_json(store: Store, key: str) -> Any:
    """An object that is JSON."""
    return json.loads(store.read(key))
