"""The local executor: the steps of the chain, one after the other, on this machine."""

import secrets
from datetime import UTC, datetime
from urllib.parse import unquote

from lossmap.components import steps
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import Interrupted, LossmapError, TrackingError, TrainingKilled
from lossmap.components.core.processes import start_fork_server
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import load_experiment
from lossmap.pipelines.stages import Stage


def new_run(experiment: Experiment) -> str:
    """A name for a new run: the experiment's, the day, and nine hexadecimal digits: the second of the day,
    so that names sort by time, and chance.
    """
    now = datetime.now(UTC)
    seconds = 3600 * now.hour + 60 * now.minute + now.second
    return f"{experiment.name}-{now:%Y%m%d}-{seconds:05x}{secrets.token_hex(2)}"


def stored_experiment(run_id: str, settings: Settings) -> Experiment:
    """The experiment of a run that has begun."""
    return load_experiment(open_store(settings.store), run_id)


def place(store: str, key: str) -> str:
    """Where an object is, for people: its path in a folder, else its URI."""
    folder = unquote(store.removeprefix("file://")) if store.startswith("file://") else store
    return f"{folder}/{key}"


def run(run_id: str, experiment: Experiment, settings: Settings, stage: Stage) -> None:
    """Train, survey and report, or what is left of it.

    Args:
        run_id: its name; a known one goes on where it stopped.
        experiment: what is run.
        settings: where things are.
        stage: opens the display of a stage, which then hears how far it is.
    """
    if not experiment.in_process:
        start_fork_server()
    with stage("prepare") as progress:
        steps.prepare(run_id, experiment, settings, progress)
    try:
        _train_and_survey(run_id, settings, stage)
    except (KeyboardInterrupt, Interrupted):
        steps.end(run_id, settings, "KILLED")
        raise
    except TrackingError:  # nothing failed but MLflow
        raise
    except TrainingKilled as error:
        steps.end(run_id, settings, "FAILED")
        raise TrainingKilled(f"{error}; go on with: lossmap run --resume {run_id}") from None
    except LossmapError:
        steps.end(run_id, settings, "FAILED")
        raise


def _train_and_survey(run_id: str, settings: Settings, stage: Stage) -> None:
    with stage("train") as progress:
        steps.train(run_id, settings, steps.locally(run_id, settings), progress)
    with stage("survey") as progress:
        steps.plan(run_id, settings)
        steps.merge(run_id, settings, progress)
    with stage("report") as progress:
        steps.report(run_id, settings, progress)
