"""The steps of the chain, in the order in which they run. Each can be repeated at any time: what is finished is not done again.

The laptop's executor (pipelines/local.py) and the Kubeflow components (prepare.py … report.py) both call these functions.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from lossmap.components.config.deployment import of_pipeline_run
from lossmap.components.config.errors import DataError, LossmapError
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.progress import Progress, silent
from lossmap.components.config.settings import Settings
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import links, load_experiment, load_run_manifest, save_experiment, save_run_manifest

if TYPE_CHECKING:
    from lossmap.components.training.listen import Listeners

_TRACKING_SECONDS = 60.0

Launch = Callable[[str, Experiment, "Listeners"], None]  # address of the training, what it belongs to, who hears of it


def prepare(run: str, experiment: Experiment, settings: Settings, progress: Progress = silent) -> str:
    """Keep the experiment, pack its data set, and return the digest of that."""
    from lossmap.components.data import pack

    store = open_store(settings.store)
    save_experiment(store, run, experiment)
    begun = load_run_manifest(store, run) if store.exists(layout.run_dataset(run)) else None
    if begun and pack.is_whole(store, begun):
        return begun.digest
    manifest = pack.prepare(experiment.data, store, lambda done, total: progress(done, total, ""))
    if begun and manifest.digest != begun.digest:
        raise DataError(f"{experiment.data.source} has other images than when run {run} began; start a new run")
    save_run_manifest(store, run, manifest)
    return manifest.digest


def train(run: str, settings: Settings, launch: Launch, progress: Progress = silent) -> str:
    """Train the network, from the newest checkpoint where there is one, unless the store has it; returns the training's address.

    Args:
        run: name of the run.
        settings: where things are.
        launch: starts the training processes and waits for them: here, or on a cluster.
        progress: hears of every step.
    """
    from lossmap.components.stores.run_tracking import open_tracker
    from lossmap.components.stores.tracking import BackgroundTracker
    from lossmap.components.training.listen import Listeners

    store = open_store(settings.store)
    training = links(store, run).training
    if store.exists(layout.training_result(training)):
        progress(1, 1, "found in the store")
        return training
    experiment, manifest = load_experiment(store, run), load_run_manifest(store, run)
    tracker = BackgroundTracker(lambda: open_tracker(settings.tracking, store.uri, run, experiment, manifest))
    try:
        launch(training, experiment, Listeners(progress, tracker.send))
    finally:
        tracker.close(_TRACKING_SECONDS)
    return training


def locally(run: str, settings: Settings) -> Launch:
    """Train by processes of this machine; what they print goes to a file."""
    from lossmap.components.training.launch import launch

    return lambda training, experiment, listeners: launch(training, experiment.training, settings, listeners, settings.logs / run / "train.log")


def as_job(settings: Settings) -> Launch:
    """Train by a PyTorchJob of the cluster that this pod is in."""
    from lossmap.components.jobs.launch import launch

    return lambda training, experiment, listeners: launch(training, experiment.training, experiment.cluster, experiment.nodes, settings, listeners)


def clean_up(run: str, settings: Settings) -> None:
    """Delete the training jobs of this pipeline run that are left, and end the run in MLflow where no report did."""
    store = open_store(settings.store)
    terminated = _stop_jobs(settings) if settings.pipeline_run else False
    if store.exists(layout.run_dataset(run)) and not store.exists(layout.scalars(run)):
        end(run, settings, "KILLED" if terminated else "FAILED")


def _stop_jobs(settings: Settings) -> bool:
    """Whether somebody had terminated the pipeline run."""
    from lossmap.components.jobs.connection import connect
    from lossmap.components.jobs.stop import stop
    from lossmap.components.jobs.workflow import was_terminated

    cluster = connect()
    stop(cluster.namespace, of_pipeline_run(settings.pipeline_run), cluster)
    return was_terminated(cluster)


def end(run: str, settings: Settings, status: Literal["FAILED", "KILLED"]) -> None:
    """Mark a run that did not finish as what it is in MLflow; without MLflow nothing happens."""
    from lossmap.components.stores.run_tracking import end_run

    with contextlib.suppress(LossmapError):
        end_run(settings.tracking, load_experiment(open_store(settings.store), run).study, run, status)


def plan(run: str, settings: Settings) -> list[str]:
    """Make the directions and cut the points to evaluate into tiles; returns the tiles' digests."""
    from lossmap.components.landscape import survey

    return [tile.digest for tile in survey.plan(open_store(settings.store), run).tiles]


def planned(run: str, settings: Settings) -> list[str]:
    """The digests of the tiles of a survey that is planned."""
    from lossmap.components.landscape.tiles import load_survey

    return [tile.digest for tile in load_survey(open_store(settings.store), run).tiles]


def evaluate(run: str, tiles: Sequence[str], settings: Settings, progress: Progress = silent) -> None:
    """Evaluate the named tiles of the plan by a pool of processes."""
    from lossmap.components.config.machine import available_cores
    from lossmap.components.landscape.pool import evaluate_tiles
    from lossmap.components.landscape.tiles import load_survey

    store = open_store(settings.store)
    survey, asked = load_survey(store, run), set(tiles)
    wanted = [tile for tile in survey.tiles if tile.digest in asked and not store.exists(layout.tile(survey.surface, tile.digest))]
    workers = load_experiment(store, run).landscape.workers or available_cores()
    evaluate_tiles(settings.store, run, survey.surface, wanted, workers, progress)


def merge(run: str, settings: Settings, progress: Progress = silent) -> None:
    """Assemble the grids from the tiles, evaluating again what is missing or damaged."""
    from lossmap.components.landscape import merge as tiles
    from lossmap.components.landscape.survey import evaluator

    store = open_store(settings.store)
    tiles.merge(store, run, lambda: evaluator(store, run), progress)


def report(run: str, settings: Settings, progress: Progress = silent) -> None:
    """Draw the pictures and pages, compute the scalars, and log the whole run to MLflow."""
    from lossmap.components.figures.report import report as make

    make(open_store(settings.store), run, settings.tracking, progress)
