"""What a person sees of runs on a cluster."""

import json
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError, ExperimentError
from lossmap.components.jobs.cluster import interactive_api
from lossmap.pipelines.cluster import cancel as cancelling
from lossmap.pipelines.cluster import follow as following
from lossmap.pipelines.cluster import submit as submitting
from lossmap.pipelines.cluster.kubeflow import STEPS, Kubeflow, PipelineRun

if TYPE_CHECKING:
    from lossmap.components.jobs.connection import Api

console = Console(highlight=False, soft_wrap=True)
_EXIT_CODES = {"FAILED": 1, "CANCELLED": 130}


def demands(experiments: Sequence[Experiment], as_json: bool) -> None:
    """Show what runs would ask of a cluster."""
    if as_json:
        print(
            json.dumps(
                [{"name": experiment.name, **submitting.as_record(experiment)} for experiment in experiments],
                indent=2,
            )
        )
        return
    for experiment in experiments:
        asked, cluster = submitting.demand(experiment), experiment.cluster
        training, survey = (f"{each.cpu} CPU, {each.memory}" for each in (cluster.training, cluster.survey))
        console.print(experiment.name, style="bold")
        console.print(
            f"  training  {asked.training_pods} pods with {asked.training_processes} processes,"
            f" {asked.training_gpus} GPUs; each pod {training}"
        )
        console.print(f"  survey    {asked.survey_pods} pods, {asked.survey_gpus} GPUs; each pod {survey}")
        console.print(
            f"            {asked.points:,} points in {asked.tiles} tiles, {asked.images:,} images through the"
            " network"
        )
        console.print(f"  queue     {asked.queue or 'none'}; at most {cluster.hours:g} hours of training")


def submitted(started: Sequence[tuple[str, str]], as_json: bool) -> None:
    """Say which runs were started and how to go on."""
    if as_json:
        print(json.dumps([{"run": run, "pipeline_run": identity} for run, identity in started], indent=2))
        return
    for run, identity in started:
        console.print(
            f"{run}\n  Kubeflow's run {identity}\n  lossmap status {run}\n  lossmap logs {run} -f\n  lossmap"
            f" cancel {run}"
        )


def follow(name: str, settings: Settings) -> int:
    """Tell what goes on in a run until it has ended; returns the exit code."""
    api, kubeflow = interactive_api(), Kubeflow(settings)
    try:
        run = following.follow(kubeflow, api, settings, name, _say)
    except KeyboardInterrupt:
        _say(f"the run goes on; follow it again: lossmap logs {name} -f; end it: lossmap cancel {name}")
        return 128 + signal.SIGINT
    return _conclude(api, run, settings)


def status(name: str, settings: Settings, as_json: bool) -> int:
    """Show a run and its steps; returns the exit code."""
    api, kubeflow = interactive_api(), Kubeflow(settings)
    run = kubeflow.find(name)
    why = following.cause(api, settings, run) if run.state == "FAILED" else ""
    waits = [] if run.ended else following.waiting(api, settings, run)
    if as_json:
        print(json.dumps({**asdict(run), "cause": why, "waiting": waits}, indent=2, default=str))
        return _EXIT_CODES.get(run.state, 0)
    table = Table(box=None, show_header=False)
    for step in run.steps:
        repaired = ", made good by merge" if step.state == "FAILED" and run.state == "SUCCEEDED" else ""
        table.add_row(
            step.name, step.state.lower() + repaired, "" if step.seconds is None else f"{step.seconds:.0f} s"
        )
    console.print(f"{run.name}: {run.state.lower()}")
    console.print(table)
    for line in [*(f"waiting: {reason}" for reason in waits), *([f"failed: {why}"] if why else [])]:
        _say(line)
    return _EXIT_CODES.get(run.state, 0)


def logs(name: str, settings: Settings, step: str | None, rank: int | None, follow: bool) -> None:
    """Print the lines of a run's steps."""
    if step is not None and step not in STEPS:
        raise ExperimentError(f"--step is {step!r}, expected one of {', '.join(STEPS)}")
    api, kubeflow = interactive_api(), Kubeflow(settings)
    wanted = "train" if rank is not None else step
    prefix = "" if rank is None else f"rank {rank}: "

    def say(line: str) -> None:
        said_by, bar, text = line.strip().partition(" | ")
        if not bar and wanted is None:
            _say(line)
        elif bar and wanted in (None, said_by) and text.startswith(prefix):
            _say(line if wanted is None else text)

    if follow:
        following.follow(kubeflow, api, settings, name, say)
        return
    for pod in following.step_pods(api, settings, kubeflow.find(name)):
        for line in following.step_log(api, settings, pod, follow=False) if pod.phase != "Pending" else ():
            say(f"{pod.step} | {line}")


def cancel(name: str, settings: Settings) -> None:
    """End a run."""
    api, kubeflow = interactive_api(), Kubeflow(settings)
    found = kubeflow.find(name)
    run = cancelling.cancel(kubeflow, api, settings, found)
    _say(
        f"{run.name} {'had ended before: it is' if found.ended else 'is'} {run.state.lower()}; nothing of it"
        " is running"
    )


def retry(name: str, settings: Settings) -> None:
    """Start a run that has ended once more."""
    kubeflow = Kubeflow(settings)
    submitted([(name, submitting.retry(kubeflow, kubeflow.find(name)))], as_json=False)


def write_package(experiment: Experiment, settings: Settings, output: str) -> None:
    """Write the pipeline of an experiment; each of its runs gets a name of its own."""
    package = submitting.package(experiment, settings, f"{experiment.name}-{{pipeline}}")
    try:
        Path(output).write_text(package)
    except OSError as error:
        raise ExperimentError(f"{output} cannot be written: {error.strerror}") from None
    _say(
        f"{output}: upload it to Kubeflow Pipelines, and choose the service account lossmap-run for its runs"
    )


def ui(settings: Settings, port: int) -> None:
    """Give the cluster's MLflow an address on this machine until Ctrl-C."""
    from lossmap.components.stores.tracking.server import ui_address

    try:
        with cancelling.tracking(interactive_api(), settings, port) as uri:
            _say(f"MLflow UI at {ui_address(uri)}; Ctrl-C ends it")
            signal.pause()
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise ClusterError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port"
        ) from None


def _conclude(api: "Api", run: PipelineRun, settings: Settings) -> int:
    if run.state == "FAILED":
        _say(
            f"{run.name} failed: {following.cause(api, settings, run)}; go on with: lossmap retry {run.name}"
        )
    else:
        took = f" in {(run.finished - run.created).total_seconds():.0f} s" if run.finished else ""
        _say(
            f"{run.name} {'was cancelled' if run.state == 'CANCELLED' else 'has succeeded'}{took}; compare it"
            " with others: lossmap ui --cluster"
        )
    return _EXIT_CODES.get(run.state, 0)


def _say(line: str) -> None:
    console.print(line, markup=False)
