"""The cells of a study as runs of Kubeflow Pipelines, a bounded number of them at a time."""

import time
from collections.abc import Sequence

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import Interrupted
from lossmap.components.studies.cells import Cell
from lossmap.pipelines.cluster.kubeflow import PATIENCE_SECONDS, Away, Kubeflow, PipelineRun
from lossmap.pipelines.cluster.submit import check_for_cluster, package
from lossmap.pipelines.stages import Say

_POLL_SECONDS = 5.0


def run_on_cluster(
    missing: Sequence[Cell], settings: Settings, parallel: int, say: Say, poll: float = _POLL_SECONDS
) -> dict[str, str]:
    """Submit cells and wait for them. A cell whose run goes on, or has succeeded, is not submitted again.

    Args:
        missing: cells that the store does not have.
        settings: where the cluster is.
        parallel: how many runs go on at the same time at most.
        say: hears what begins and ends.
        poll: seconds between two looks.

    Returns:
        Names of the runs that failed or were cancelled, with what became of them.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the runs go on.
    """
    for cell in missing:
        check_for_cluster(cell.experiment)
    kubeflow = Kubeflow(settings)
    known = {cell.run: kubeflow.lookup(cell.run) for cell in missing}
    active = {name for name, run in known.items() if run and not run.ended}
    waiting = [cell for cell in missing if _needs_submission(known[cell.run])]
    for run in sorted(active):
        say(f"{run} goes on in the cluster")
    try:
        return _run_all(kubeflow, waiting, active, settings, parallel, say, poll)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"interrupted; {len(active)} runs go on in the cluster, and the same command goes on with them"
            " and the others"
        ) from None


def _needs_submission(run: PipelineRun | None) -> bool:
    return run is None or run.state in ("FAILED", "CANCELLED")


def _run_all(
    kubeflow: Kubeflow,
    waiting: list[Cell],
    active: set[str],
    settings: Settings,
    parallel: int,
    say: Say,
    poll: float,
) -> dict[str, str]:
    failed = {}
    while waiting or active:
        while waiting and len(active) < parallel:
            cell = waiting.pop(0)
            _submit(kubeflow, cell, settings, poll)
            active.add(cell.run)
            say(f"{cell.run} submitted, {len(waiting)} to go")
        time.sleep(poll)
        found = [kubeflow.find(name, PATIENCE_SECONDS) for name in sorted(active)]
        ended = [run for run in found if run.ended]
        for run in ended:
            active.remove(run.name)
            say(_end_line(run))
            if run.state != "SUCCEEDED":
                failed[run.name] = f"{run.state.lower()} in the cluster; see: lossmap status {run.name}"
    return failed


def _submit(kubeflow: Kubeflow, cell: Cell, settings: Settings, poll: float) -> None:
    """Start a cell's run once, also where the answer to that is lost."""
    pipeline, end = package(cell.experiment, settings, cell.run), time.monotonic() + PATIENCE_SECONDS
    before = newest = kubeflow.lookup(cell.run, PATIENCE_SECONDS)
    while (newest and newest.id) == (before and before.id):
        try:
            kubeflow.submit(pipeline, cell.run, cell.experiment.study)
            return
        except Away:
            if time.monotonic() > end:
                raise
        time.sleep(poll)
        newest = kubeflow.lookup(cell.run, PATIENCE_SECONDS)


def _end_line(run: PipelineRun) -> str:
    duration = f" in {(run.finished - run.created).total_seconds():.0f} s" if run.finished else ""
    return f"{run.name} {run.state.lower()}{duration}"
