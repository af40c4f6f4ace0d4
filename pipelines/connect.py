"""Connect the networks of two runs: every path that there is, and the report."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lossmap.components.config.connection import Connecting, Curve, Evaluation
from lossmap.components.config.experiment import Experiment
from lossmap.components.core.errors import ExperimentError, TrackingError
from lossmap.components.core.progress import Progress
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run

if TYPE_CHECKING:
    from lossmap.components.figures.connection.summary import ConnectionSummary

Stage = Callable[[str], AbstractContextManager[Progress]]

_WITHOUT_A_RATE = 0.01  # for networks that no gradient descent of ours has trained


@dataclass(frozen=True)
class Outcome:
    """What was found, the keys of page and picture in the store, and why MLflow did not get it, if so."""

    summary: "ConnectionSummary"
    page: str
    picture: str
    untracked: str | None


def asked(run: Run, options: dict[str, Any]) -> Connecting:
    """The settings of a connection.

    Args:
        run: the first one; what the options leave open is as in its experiment: device, batch sizes, and the
            learning rate where SGD trained it.
        options: points, samples, batch_norm, seed, curve, curve_epochs, curve_learning_rate, threshold; None
            where left open.

    Raises:
        ExperimentError: a value is impossible.
    """
    experiment = run.experiment
    given = {name: value for name, value in options.items() if value is not None}
    own = {"device": experiment.landscape.device, "batch_size": experiment.landscape.batch_size}
    try:
        evaluation = Evaluation(
            **own, **{name: value for name, value in given.items() if name in Evaluation.model_fields}
        )
        curve = None if given.get("curve") == "none" else _curve(experiment, given)
        return Connecting(
            evaluation=evaluation,
            curve=curve,
            **{name: value for name, value in given.items() if name == "threshold"},
        )
    except ValidationError as error:
        raise ExperimentError(_explained(error)) from None


def _curve(experiment: Experiment, given: dict[str, Any]) -> Curve:
    training = experiment.training
    own = {
        "learning_rate": (
            training.optimizer.learning_rate
            if training and training.optimizer.algorithm == "sgd"
            else _WITHOUT_A_RATE
        ),
        "batch_size": training.batch_size if training else Curve().batch_size,
    }
    options = {
        "shape": given.get("curve"),
        "epochs": given.get("curve_epochs"),
        "learning_rate": given.get("curve_learning_rate"),
        "seed": given.get("seed"),
    }
    return Curve(**{**own, **{name: value for name, value in options.items() if value is not None}})


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][-1])
    option = {"shape": "curve", "epochs": "curve-epochs", "learning_rate": "curve-learning-rate"}.get(
        name, name.replace("_", "-")
    )
    expected = f"{first['msg'].replace('Input should be ', '')}{', or none' if name == 'shape' else ''}"
    return f"--{option} is {first['input']}, expected {expected}"


def connect(runs: tuple[Run, Run], connecting: Connecting, tracking: str, stage: Stage) -> Outcome:
    """Walk every path between the networks of two runs, as far as the store does not have them, and report.

    Args:
        runs: two trained ones.
        connecting: how.
        tracking: MLflow's address.
        stage: opens the display of a stage, which then hears how far it is.
    """
    from lossmap.components.figures.connection import report
    from lossmap.components.figures.connection.summary import ConnectionSummary, Walked
    from lossmap.components.surveys.connection import Connection
    from lossmap.components.surveys.ends import find_ends

    store, ends = runs[0].store, find_ends(runs)
    connection = Connection(ends, connecting)
    with stage("align") as progress:
        names = connection.names
        progress(1, 1, "")
    walked = []
    for name in names:
        if name == "curve":
            with stage("train the curve") as progress:
                connection.train_curve(progress)
        with stage(name) as progress:
            walked.append(Walked.of(name, connection.walk(name, progress)))
    summary = ConnectionSummary(
        (runs[0].name, runs[1].name),
        ends.trainings,
        ends.experiment,
        ends.manifest,
        connecting,
        connection.note,
        tuple(walked),
    )
    with stage("report") as progress:
        digest = report.write(store, summary, {name: connection.address(name) for name in names})
        progress(1, 2, "logging to MLflow")
        untracked = None
        try:
            report.track(store, summary, digest, tracking)
        except TrackingError as error:
            untracked = str(error)
        progress(2, 2, "")
    return Outcome(
        summary, layout.connection(digest, report.PAGE), layout.connection(digest, report.PICTURE), untracked
    )
