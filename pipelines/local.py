"""The local executor: the steps of the chain, one after the other, on this machine."""

import secrets
from datetime import UTC, datetime
from urllib.parse import unquote

from lossmap.components import steps
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import Interrupted, TrackingError, TrainingKilled
from lossmap.components.core.processes import start_fork_server
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines.stages import Stage

STAGES = ("prepare", "train", "survey", "report")
UNTRACKED = "MLflow did not get this run: "


def new_name(experiment: Experiment) -> str:
    """A name for a new run: the experiment's, the day, and nine hexadecimal digits: the second of the day,
    so that names sort by time, and chance.
    """
    now = datetime.now(UTC)
    seconds = 3600 * now.hour + 60 * now.minute + now.second
    return f"{experiment.name}-{now:%Y%m%d}-{seconds:05x}{secrets.token_hex(2)}"


def open_run(name: str, settings: Settings) -> Run:
    """A run by its name, which may be a new one."""
    return Run(open_store(settings.store), name)


def place(store: str, key: str) -> str:
    """Where an object is, for people: its path in a folder, else its URI."""
    folder = unquote(store.removeprefix("file://")) if store.startswith("file://") else store
    return f"{folder}/{key}"


def untracked(run: str, error: TrackingError) -> str:
    """What a finished run says that MLflow did not get."""
    return f"{UNTRACKED}{error}; the report is complete, and `lossmap sync {run}` sends it"


def run(
    run: Run, experiment: Experiment, settings: Settings, stage: Stage, packed: Manifest | None = None
) -> None:
    """Train, survey and report, or what is left of it.

    Args:
        run: a new one, or a known one, which goes on where it stopped.
        experiment: what is run.
        settings: where things are.
        stage: opens the display of a stage, which then hears how far it is.
        packed: the data set, where it has been packed just now.
    """
    steps.require_machine(experiment, settings)
    if not experiment.in_process:
        start_fork_server()
    with stage("prepare") as progress:
        steps.prepare(run, experiment, progress, packed)
    try:
        _train_and_survey(run, settings, stage)
    except (KeyboardInterrupt, Interrupted):
        steps.end(run, settings, "KILLED")
        raise
    except TrackingError:  # nothing failed but MLflow
        raise
    except TrainingKilled as error:
        steps.end(run, settings, "FAILED")
        raise TrainingKilled(f"{error}; go on with: lossmap run --resume {run.name}") from None
    except Exception:  # a defect of ours, too, must not leave the run going on in MLflow for ever
        steps.end(run, settings, "FAILED")
        raise


def _train_and_survey(run: Run, settings: Settings, stage: Stage) -> None:
    with stage("train") as progress:
        steps.train(run, settings, progress)
    with stage("survey") as progress:
        first = steps.plan(run)
        steps.merge(run, progress, first)
    with stage("report") as progress:
        steps.report(run, settings, progress)
