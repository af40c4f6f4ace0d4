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
from lossmap.components.jobs.connection import connect
from lossmap.pipelines.cluster.cancel import cluster_tracking, end_and_wait
from lossmap.pipelines.cluster.follow import cause, follow_to_end, step_log, step_pods, waiting
from lossmap.pipelines.cluster.kubeflow import STEPS, Kubeflow, PipelineRun
from lossmap.pipelines.cluster.submit import (
    demand,
    demand_record,
    package,
    start_again,
    submit_experiment,
)
from lossmap.pipelines.local import new_name

if TYPE_CHECKING:
    from lossmap.components.jobs.connection import Api

console = Console(highlight=False, soft_wrap=True)
_EXIT_CODES = {"FAILED": 1, "CANCELLED": 130}


def show_demands(experiments: Sequence[Experiment], as_json: bool) -> None:
    """Show what runs would ask of a cluster."""
    if as_json:
        records = [{"name": experiment.name, **demand_record(experiment)} for experiment in experiments]
        print(json.dumps(records, indent=2))
        return
    for experiment in experiments:
        needs, cluster = demand(experiment), experiment.cluster
        training = f"{cluster.training.cpu} CPU, {cluster.training.memory}"
        survey = f"{cluster.survey.cpu} CPU, {cluster.survey.memory}"
        console.print(experiment.name, style="bold")
        console.print(
            f"  training  {_counted(needs.training_pods, 'pod')} with"
            f" {_counted(needs.training_processes, 'process')}, {_counted(needs.training_gpus, 'GPU')}; each"
            f" pod {training}"
        )
        console.print(
            f"  survey    {_counted(needs.survey_pods, 'pod')}, {_counted(needs.survey_gpus, 'GPU')}; each"
            f" pod {survey}"
        )
        console.print(
            f"            {_counted(needs.points, 'point')} in {_counted(needs.tiles, 'tile')},"
            f" {_counted(needs.images, 'image')} through the network"
        )
        hours = "1 hour" if cluster.hours == 1 else f"{cluster.hours:g} hours"
        console.print(f"  queue     {needs.queue or 'none'}; at most {hours} of training")


def _counted(number: int, noun: str) -> str:
    """1 pod, 2 pods, 2 processes."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def show_submitted(run: str, identity: str) -> None:
    """Say that a run was started, and how to go on."""
    console.print(
        f"{run}\n  Kubeflow's run {identity}\n  lossmap status {run}\n  lossmap logs {run} -f\n  lossmap"
        f" cancel {run}"
    )


def submit_all(
    experiments: Sequence[Experiment], settings: Settings, cached: bool, as_json: bool
) -> list[str]:
    """Start runs one after the other, and say of each that it was started; also of those before one that
    fails. Returns their names.
    """
    started: list[dict[str, str]] = []
    try:
        for experiment in experiments:
            run = new_name(experiment)
            identity = submit_experiment(experiment, settings, run, cached)
            started.append({"run": run, "pipeline_run": identity})
            if not as_json:
                show_submitted(run, identity)
    finally:
        if as_json:
            print(json.dumps(started, indent=2))
    return [each["run"] for each in started]


def follow_run(name: str, settings: Settings) -> int:
    """Tell what goes on in a run until it has ended; returns the exit code."""
    kubeflow, api = Kubeflow(settings), connect()
    try:
        run = follow_to_end(kubeflow, api, settings, name, _say)
    except KeyboardInterrupt:
        _say(f"the run goes on; follow it again: lossmap logs {name} -f; end it: lossmap cancel {name}")
        return 128 + signal.SIGINT
    return _conclude(api, run, settings)


def show_status(name: str, settings: Settings, as_json: bool) -> int:
    """Show a run and its steps; returns the exit code."""
    api, kubeflow = interactive_api(), Kubeflow(settings)
    run = kubeflow.find(name)
    failure = cause(api, settings, run) if run.state == "FAILED" else ""
    waits = [] if run.ended else waiting(api, settings, run)
    if as_json:
        print(json.dumps({**asdict(run), "cause": failure, "waiting": waits}, indent=2, default=str))
        return _EXIT_CODES.get(run.state, 0)
    console.print(f"{run.name}: {run.state.lower()}")
    console.print(_steps(run))
    for reason in waits:
        _say(f"waiting: {reason}")
    if failure:
        _say(f"failed: {failure}")
    return _EXIT_CODES.get(run.state, 0)


def _steps(run: PipelineRun) -> Table:
    table = Table(box=None, show_header=False)
    for step in run.steps:
        repaired = ", made good by merge" if step.state == "FAILED" and run.state == "SUCCEEDED" else ""
        seconds = "" if step.seconds is None else f"{step.seconds:.0f} s"
        table.add_row(step.name, step.state.lower() + repaired, seconds)
    return table


def show_logs(name: str, settings: Settings, step: str | None, rank: int | None, follow: bool) -> None:
    """Print the lines of a run's steps."""
    if step is not None and step not in STEPS:
        raise ExperimentError(f"--step is {step!r}, expected one of {', '.join(STEPS)}")
    if rank is not None and step not in (None, "train"):
        raise ExperimentError(
            f"--rank is {rank} and --step is {step}, expected --step train or none: only the training has"
            " ranks"
        )
    kubeflow, api = Kubeflow(settings), connect() if follow else interactive_api()
    shown_step = step if rank is None else "train"
    prefix = "" if rank is None else f"rank {rank}: "

    def say(line: str) -> None:
        source, bar, text = line.strip().partition(" | ")
        if not bar and shown_step is None:
            _say(line)
        elif bar and shown_step in (None, source) and text.startswith(prefix):
            _say(line if shown_step is None else text)

    if follow:
        follow_to_end(kubeflow, api, settings, name, say)
        return
    for pod in step_pods(api, settings, kubeflow.find(name)):
        if pod.phase != "Pending":
            for line in step_log(api, settings, pod, follow=False):
                say(f"{pod.step} | {line}")


def cancel_run(name: str, settings: Settings) -> None:
    """End a run."""
    api, kubeflow = interactive_api(), Kubeflow(settings)
    run = kubeflow.find(name)
    verb = "had ended before: it is" if run.ended else "is"
    end = end_and_wait(kubeflow, api, settings, run)
    _say(f"{run.name} {verb} {end.state}; nothing of it is running")
    if end.never_starts:
        _say(f"Kubeflow waits up to half an hour for the step that tidies up: {end.never_starts}")


def retry_run(name: str, settings: Settings) -> None:
    """Start a run that has ended once more."""
    kubeflow = Kubeflow(settings)
    show_submitted(name, start_again(kubeflow, kubeflow.find(name)))


def write_package(experiment: Experiment, settings: Settings, output: str) -> None:
    """Write the pipeline of an experiment; each of its runs gets a name of its own."""
    pipeline = package(experiment, settings, f"{experiment.name}-{{pipeline}}")
    try:
        Path(output).write_text(pipeline)
    except OSError as error:
        raise ExperimentError(f"{output} cannot be written: {error.strerror}") from None
    _say(
        f"{output}: upload it to Kubeflow Pipelines, and choose the service account lossmap-run for its runs"
    )


def serve_cluster_ui(settings: Settings, port: int) -> None:
    """Give the cluster's MLflow an address on this machine until Ctrl-C."""
    from lossmap.components.stores.tracking.server import ui_address

    try:
        with cluster_tracking(interactive_api(), settings, port) as uri:
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
        _say(f"{run.name} failed: {cause(api, settings, run)}; go on with: lossmap retry {run.name}")
    else:
        duration = f" in {(run.finished - run.created).total_seconds():.0f} s" if run.finished else ""
        end = "was cancelled" if run.state == "CANCELLED" else "has succeeded"
        _say(f"{run.name} {end}{duration}; compare it with others: lossmap ui --cluster")
    return _EXIT_CODES.get(run.state, 0)


def _say(line: str) -> None:
    console.print(line, markup=False)
