"""The steps of the chain, in the order in which they run. Each can be repeated at any time: what is finished
is not done again.

The laptop's executor (pipelines/local.py) and the Kubeflow components (prepare.py … report.py) both call
these functions.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import DataError, LossmapError
from lossmap.components.core.progress import Progress, silent
from lossmap.components.jobs.deployment import of_pipeline_run
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import (
    links,
    load_experiment,
    load_run_manifest,
    save_experiment,
    save_run_manifest,
)

if TYPE_CHECKING:
    from lossmap.components.landscape.directions.invariance import Proof
    from lossmap.components.surveys.tiles import Tile
    from lossmap.components.training.listen import Listeners

_TRACKING_SECONDS = 60.0
_PROOF_SAMPLES = 64  # an invariance holds on each sample
_PROOF_POINTS = tuple(round(-1 + 0.2 * index, 1) for index in range(11))

Launch = Callable[
    [str, Experiment, "Listeners"], None
]  # address of the training, what it belongs to, who hears of it


@dataclass(frozen=True)
class Share:
    """One of several equal workers' part in a survey. A worker that is through with its own tiles takes those
    of others that are not there yet.

    Attributes:
        index: which worker, from 0 on.
        count: how many there are.
    """

    index: int
    count: int

    def order(self, tiles: "Sequence[Tile]") -> "list[Tile]":
        """Tiles in the order in which this worker takes them: its own, then the others from the end."""
        own = [int(tile.digest[:8], 16) % self.count == self.index for tile in tiles]
        others = [tile for tile, mine in zip(tiles, own, strict=True) if not mine]
        return [tile for tile, mine in zip(tiles, own, strict=True) if mine] + others[::-1]


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
        raise DataError(
            f"{experiment.data.source} has other images than when run {run} began; start a new run"
        )
    save_run_manifest(store, run, manifest)
    return manifest.digest


def train(run: str, settings: Settings, launch: Launch, progress: Progress = silent) -> str:
    """Train the network, from the newest checkpoint where there is one, unless the store has it; returns the
    training's address.

    An imported network is loaded and evaluated instead, in this process.

    Args:
        run: name of the run.
        settings: where things are.
        launch: starts the training processes and waits for them: here, or on a cluster.
        progress: hears of every step.
    """
    from lossmap.components.stores.tracking.client import BackgroundTracker
    from lossmap.components.stores.tracking.runs import open_tracker
    from lossmap.components.training.listen import Listeners

    store = open_store(settings.store)
    training = links(store, run).training
    if store.exists(layout.training_result(training)):
        progress(1, 1, "found in the store")
        return training
    experiment, manifest = load_experiment(store, run), load_run_manifest(store, run)
    tracker = BackgroundTracker(lambda: open_tracker(settings.tracking, store.uri, run, experiment, manifest))
    try:
        if experiment.training:
            launch(training, experiment, Listeners(progress, tracker.send))
        else:
            from lossmap.components.importing.network import take_in

            take_in(store, training, progress)
    finally:
        tracker.close(_TRACKING_SECONDS)
    return training


def locally(run: str, settings: Settings) -> Launch:
    """Train by processes of this machine; what they print goes to a file."""
    from lossmap.components.training.launch import launch

    return lambda training, experiment, listeners: launch(
        training, experiment.trained, settings, listeners, settings.logs / run / "train.log"
    )


def as_job(settings: Settings) -> Launch:
    """Train by a PyTorchJob of the cluster that this pod is in."""
    from lossmap.components.jobs.launch import launch

    return lambda training, experiment, listeners: launch(
        training, experiment.trained, experiment.cluster, experiment.nodes, settings, listeners
    )


def clean_up(run: str, settings: Settings) -> None:
    """Delete the training jobs of this pipeline run that are left, and end the run in MLflow where no
    report did.
    """
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
    from lossmap.components.stores.tracking.runs import end_run

    with contextlib.suppress(LossmapError):
        end_run(settings.tracking, load_experiment(open_store(settings.store), run).study, run, status)


def plan(run: str, settings: Settings) -> int:
    """Make the directions, and address what is to be evaluated; returns the number of tiles to begin with."""
    from lossmap.components.surveys import plan as survey
    from lossmap.components.surveys.pending import wanted_tiles

    store = open_store(settings.store)
    return len(wanted_tiles(store, survey.plan(store, run), load_experiment(store, run).landscape))


def evaluate(run: str, settings: Settings, progress: Progress = silent, share: Share = Share(0, 1)) -> None:
    """Evaluate the survey by a pool of processes: first this share of its tiles, then what nobody else has
    done.

    An adaptive plane takes several rounds: what is wanted next follows from what is known, whoever evaluated
    it. A worker that would wait for the end of a round begins what belongs to no round.
    """
    from joblib import cpu_count

    from lossmap.components.surveys.pending import next_round
    from lossmap.components.surveys.pool import in_this_process, workers
    from lossmap.components.surveys.tiles import TilesRead, load_survey

    store = open_store(settings.store)
    experiment, survey, done = load_experiment(store, run), load_survey(store, run), 0
    landscape, read = experiment.landscape, TilesRead()
    evaluating = in_this_process if experiment.in_process else workers
    with evaluating(settings.store, run, landscape.workers or cpu_count()) as work:
        while any(tiles := next_round(store, survey, landscape, read)):
            current, beside = map(share.order, tiles)
            total = done + sum(len(tile.points) for tile in (*current, *beside))
            left = {tile.key for tile in current}
            progress(done, total, "")
            for tile in work([*current, *beside]):
                done += len(tile.points)
                progress(done, total, "")
                left.discard(tile.key)
                if current and not left:
                    break


def merge(run: str, settings: Settings, progress: Progress = silent) -> None:
    """Assemble the grids from the tiles, evaluating first what is missing or damaged."""
    from lossmap.components.surveys.merge import merge as assemble

    evaluate(run, settings, progress)
    assemble(open_store(settings.store), run)


def prove_invariance(run: str, settings: Settings, progress: Progress = silent) -> "Proof":
    """Tell how the pictures of every normalisation change when the run's network is rescaled so that its
    function stays the same.

    Nothing else of the survey is needed; an imported network is taken in where it is not there yet.

    Raises:
        LossmapError: the network is not trained yet.
    """
    from lossmap.components.importing.network import take_in
    from lossmap.components.landscape.directions.invariance import prove
    from lossmap.components.surveys.problems import load_problem

    store = open_store(settings.store)
    experiment, training = load_experiment(store, run), links(store, run).training
    if not store.exists(layout.training_result(training)):
        if experiment.training:
            raise LossmapError(
                f"the network of {run} is not trained yet; train it first: lossmap run --resume {run}"
            )
        take_in(store, training)
    problem = load_problem(store, run, min(experiment.landscape.samples, _PROOF_SAMPLES))
    return prove(problem, experiment.landscape, _PROOF_POINTS, progress)


def report(run: str, settings: Settings, progress: Progress = silent) -> None:
    """Draw the pictures and pages, compute the scalars, and log the whole run to MLflow."""
    from lossmap.components.figures.run.report import report as make

    make(open_store(settings.store), run, settings.tracking, progress)
