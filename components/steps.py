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
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.settings import Settings, passed_over
from lossmap.components.core.errors import DataError, LossmapError, TrackingError
from lossmap.components.core.notes import tell
from lossmap.components.core.progress import AtMost, Progress, silent
from lossmap.components.core.secrets import without_password
from lossmap.components.jobs.deployment import of_pipeline_run
from lossmap.components.stores.runs import Run

if TYPE_CHECKING:
    from lossmap.components.landscape.directions.invariance import Proof
    from lossmap.components.surveys.pending import Round
    from lossmap.components.surveys.tiles import Tile
    from lossmap.components.training.listen import Listeners

_TRACKING_SECONDS = 60.0
_PROOF_SAMPLES = 64  # an invariance holds on each sample
_PROOF_POINTS = tuple(round(-1 + 0.2 * index, 1) for index in range(11))

Launch = Callable[[Run, "Listeners"], None]  # whose training it is, and who hears of it


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


def require_machine(experiment: Experiment, settings: Settings) -> None:
    """Refuse, before anything is trained, what this machine lacks to train and survey, and an address that
    MLflow cannot have.

    Raises:
        LossmapError: what it is.
    """
    from lossmap.components.core.machine import require_device, require_semaphores, require_temporary_folder
    from lossmap.components.stores.tracking.server import check_address, is_server

    try:
        if settings.tracks:
            check_address(settings.tracking)
    except TrackingError as error:
        raise LossmapError(str(error)) from None  # not an outage, after which a run would go on
    if settings.tracks and passed_over() and not is_server(settings.tracking):
        tell(
            f"MLFLOW_TRACKING_URI is {without_password(passed_over())}, which is neither a server nor sqlite;"
            f" the run is logged to {settings.tracking}"
        )
    require_temporary_folder()
    if not experiment.in_process:
        require_semaphores()
    require_device(experiment.landscape.device, "landscape.device")
    if experiment.training:
        require_device(experiment.training.device, "training.device")


def prepare(
    run: Run, experiment: Experiment, progress: Progress = silent, packed: Manifest | None = None
) -> str:
    """Keep the experiment, pack its data set, and return the digest of that.

    Args:
        run: a new one, or one of this experiment.
        experiment: what is run.
        progress: called with (images decoded, images, "").
        packed: the data set, where it has been packed just now.
    """
    from lossmap.components.data import pack
    from lossmap.components.importing.notes import import_notes

    run.begin(experiment)
    begun, digest = _begun_with(run)
    if begun and not packed and pack.is_whole(run.store, begun):
        return begun.digest
    manifest = packed or pack.prepare(
        experiment.data, run.store, lambda done, total: progress(done, total, "")
    )
    if digest not in (None, manifest.digest):
        raise DataError(
            f"{experiment.data.source} has other images than when run {run.name} began; start a new run"
        )
    run.keep_manifest(manifest)
    for line in (*manifest.notes, *import_notes(experiment, manifest)):
        tell(line)
    return manifest.digest


def _begun_with(run: Run) -> tuple[Manifest | None, str | None]:
    """The data set that the run began with and its digest; None where it has none yet, or where what says so
    is damaged.
    """
    from lossmap.components.stores.documents import Damaged

    if not run.has_data():
        return None, None
    try:
        return run.manifest, run.manifest.digest
    except Damaged as error:
        tell(str(error))
        return None, run.trained_on()


def train(run: Run, settings: Settings, progress: Progress = silent, launch: Launch | None = None) -> None:
    """Train the network, from the newest checkpoint where there is one, unless the store has it.

    An imported network is loaded and evaluated instead, in this process.

    Args:
        run: with its data set packed.
        settings: where things are.
        progress: hears of every step.
        launch: starts the training processes and waits for them; without it a job of Kubeflow's in a
            pipeline, processes of this machine elsewhere.
    """
    from lossmap.components.stores.tracking.client import BackgroundTracker
    from lossmap.components.stores.tracking.runs import open_tracker
    from lossmap.components.training.listen import Listeners

    if _has_whole_network(run):
        if not run.experiment.training:
            from lossmap.components.importing.network import check_unchanged

            check_unchanged(run)
        progress(1, 1, "found in the store")
        return
    _check_names(run)
    if not run.experiment.training:
        from lossmap.components.importing.network import import_network

        import_network(run, progress)
    else:
        run.require_computation()
    if run.experiment.training and launch is None:
        launch = as_job(settings) if settings.pipeline_run else locally(settings)
    # Only now, since its thread imports MLflow: two threads that import packages which import each other get
    # halves of them.
    tracker = BackgroundTracker(lambda: open_tracker(settings.tracking, run)) if settings.tracks else None
    try:
        if launch:
            launch(run, Listeners(progress, tracker.send if tracker else lambda _epoch: None))
    finally:
        if tracker:
            tracker.close(_TRACKING_SECONDS)


def _has_whole_network(run: Run) -> bool:
    """Whether its training is complete. A damaged result is deleted: the last checkpoint leads there."""
    from lossmap.components.stores import layout
    from lossmap.components.stores.documents import Damaged

    if not run.has_network():
        return False
    try:
        run.check_network()
    except Damaged as error:
        tell(str(error))
        run.store.delete(layout.training_result(run.training))
        return False
    return True


def locally(settings: Settings) -> Launch:
    """Train by processes of this machine; what they print goes to a file."""
    from lossmap.components.training.launch import launch

    return lambda run, listeners: launch(
        run.training,
        run.experiment.training_settings,
        settings,
        listeners,
        settings.logs / run.name / "train.log",
    )


def _check_names(run: Run) -> None:
    """Refuse a survey that names runs or parameters which there are not, before the network is trained.

    Raises:
        LossmapError: with the names that there are.
    """
    from lossmap.components.landscape.hessian.curvature import block_names
    from lossmap.components.models import build

    landscape = run.experiment.landscape
    for name in (*landscape.networks, *landscape.paths):
        Run(run.store, name).check_begun()
    if landscape.curvature and landscape.curvature.parameters:
        block_names(build(run.experiment.model, run.manifest), landscape.curvature)


def as_job(settings: Settings) -> Launch:
    """Train by a job of the cluster that this pod is in."""
    from lossmap.components.jobs.launch import launch

    return lambda run, listeners: launch(
        run.training,
        run.experiment.training_settings,
        run.experiment.cluster,
        run.experiment.nodes,
        settings,
        listeners,
    )


def clean_up(run: Run, settings: Settings) -> None:
    """Delete the training jobs of this pipeline run that are left, and end the run in MLflow where no
    report did.
    """
    terminated = _stop_jobs(settings) if settings.pipeline_run else False
    if run.has_data() and not run.is_finished():
        end(run, settings, "KILLED" if terminated else "FAILED")


def _stop_jobs(settings: Settings) -> bool:
    """Whether somebody had terminated the pipeline run."""
    from lossmap.components.jobs.connection import connect
    from lossmap.components.jobs.stop import stop
    from lossmap.components.jobs.workflow import was_terminated

    cluster = connect()
    stop(cluster.namespace, of_pipeline_run(settings.pipeline_run), cluster)
    return was_terminated(cluster)


def end(run: Run, settings: Settings, status: Literal["FAILED", "KILLED"]) -> None:
    """Mark a run that did not finish as what it is in MLflow, also where MLflow hears of it now for the first
    time, as of one whose network the store had; without MLflow nothing happens.
    """
    from lossmap.components.stores.tracking.runs import open_tracker

    if not settings.tracks:
        return
    with contextlib.suppress(LossmapError):
        open_tracker(settings.tracking, run).finish(status)


def plan(run: Run) -> "Round":
    """Make the directions, draw the samples, and address what is to be evaluated; returns the tiles to begin
    with.
    """
    from lossmap.components.surveys import plan as survey
    from lossmap.components.surveys.pending import next_round

    survey.plan(run)
    return next_round(run)


def evaluate(
    run: Run,
    progress: Progress = silent,
    share: Share = Share(0, 1),
    first: "Round | None" = None,
) -> None:
    """Evaluate the survey by a pool of processes: first this share of its tiles, then what nobody else has
    done.

    An adaptive plane takes several rounds: what is pending next follows from what is known, whoever evaluated
    it. A worker that would wait for the end of a round begins what belongs to no round.

    Args:
        run: with its survey planned.
        progress: called with (points done, points, what is being done); of adaptive planes the points are
            at most so many, until the last round is over.
        share: of several workers that do the same.
        first: the first round, where it has been planned just now.
    """
    from joblib import cpu_count

    from lossmap.components.surveys.pending import next_round, points_to_evaluate
    from lossmap.components.surveys.pool import in_this_process, workers

    landscape = run.experiment.landscape
    done, number, pending = 0, 0, next_round(run) if first is None else first
    most = points_to_evaluate(run) if pending and landscape.adaptive else 0
    evaluating = in_this_process if run.experiment.in_process else workers
    with evaluating(run, landscape.workers or cpu_count()) as work:
        while pending:
            current, beside = share.order(pending.current), share.order(pending.beside)
            number += 1
            total, detail = done + sum(len(tile.points) for tile in (*current, *beside)), "points"
            if landscape.adaptive:
                total, detail = AtMost(most), f"points, round {number}"
            left = {tile.key for tile in current}
            progress(done, total, detail)
            for tile in work([*current, *beside]):
                done += len(tile.points)
                progress(done, total, detail)
                left.discard(tile.key)
                if current and not left:
                    break
            pending = next_round(run)
    if done and landscape.adaptive:
        progress(done, done, f"points in {number} rounds" if number > 1 else "points")


def merge(run: Run, progress: Progress = silent, first: "Round | None" = None) -> None:
    """Assemble the grids from the tiles, evaluating first what is missing or damaged. `first` is that of
    evaluate.
    """
    from lossmap.components.surveys.merge import merge as assemble

    evaluate(run, progress, first=first)
    assemble(run)


def prove_invariance(run: Run, progress: Progress = silent) -> "Proof":
    """Tell how the pictures of every normalisation change when the run's network is rescaled so that its
    function stays the same.

    Nothing else of the survey is needed; an imported network is taken in where it is not there yet.

    Raises:
        LossmapError: the network is not trained yet.
    """
    from lossmap.components.importing.network import import_network
    from lossmap.components.landscape.directions.invariance import prove
    from lossmap.components.models.imported import in_one_line
    from lossmap.components.surveys.problems import Problems

    landscape = run.experiment.landscape
    if not run.has_network():
        if run.experiment.training:
            raise LossmapError(
                f"the network of {run.name} is not trained yet; train it first: lossmap run --resume"
                f" {run.name}"
            )
        import_network(run)
    with in_one_line(run.experiment.model, "the proof of invariance"):
        problem = Problems(run).problem(min(landscape.samples, _PROOF_SAMPLES))
        return prove(problem, landscape, _PROOF_POINTS, progress)


def report(run: Run, settings: Settings, progress: Progress = silent) -> None:
    """Draw the pictures and pages, compute the scalars, and log the whole run to MLflow."""
    from lossmap.components.figures.run.report import report as make

    make(run, settings.tracking, progress)
