"""Connect the networks of two runs: every path that there is, and the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lossmap.components.config.connection import Connecting, Curve, Evaluation
from lossmap.components.config.experiment import Experiment
from lossmap.components.core.errors import ExperimentError, TrackingError
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run
from lossmap.pipelines.stages import Stage

if TYPE_CHECKING:
    from lossmap.components.figures.connection.matrix import BarrierMatrix
    from lossmap.components.figures.connection.summary import ConnectionSummary

_DEFAULT_LEARNING_RATE = 0.01  # for networks that no gradient descent of ours has trained


@dataclass(frozen=True)
class ConnectionReport:
    """The summary, its digest, the keys of page and picture in the store, and why MLflow did not get it, if
    so.
    """

    summary: "ConnectionSummary"
    digest: str
    page: str
    picture: str
    untracked: str | None


@dataclass(frozen=True)
class MatrixReport:
    """The barriers between several networks, the keys of page and picture in the store, and why MLflow did
    not get some connection, if so.
    """

    matrix: "BarrierMatrix"
    page: str
    picture: str
    untracked: str | None


def connection_settings(run: Run, options: dict[str, Any]) -> Connecting:
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
    chosen = {name: value for name, value in options.items() if value is not None}
    try:
        return Connecting(
            evaluation=_evaluation(experiment, chosen),
            curve=None if chosen.get("curve") == "none" else _curve(experiment, chosen),
            **_part(_with_threshold(experiment, chosen), threshold="threshold"),
        )
    except ValidationError as error:
        raise ExperimentError(_option_error(error)) from None


def _with_threshold(experiment: Experiment, options: dict[str, Any]) -> dict[str, Any]:
    """The usual threshold is one of cross-entropies: of another loss nobody knows which barrier is low."""
    return options if experiment.loss == "cross-entropy" else {"threshold": None, **options}


def _part(options: dict[str, Any], **names: str) -> dict[str, Any]:
    """Those of the options that were chosen, each under the name of a field: field=option."""
    return {field: options[option] for field, option in names.items() if option in options}


def _evaluation(experiment: Experiment, options: dict[str, Any]) -> Evaluation:
    own = {"device": experiment.landscape.device, "batch_size": experiment.landscape.batch_size}
    return Evaluation(**own, **_part(options, **{name: name for name in Evaluation.model_fields}))


def _curve(experiment: Experiment, options: dict[str, Any]) -> Curve:
    chosen = _part(
        options, shape="curve", epochs="curve_epochs", learning_rate="curve_learning_rate", seed="seed"
    )
    training = experiment.training
    if training is None:
        return Curve(**{"learning_rate": _DEFAULT_LEARNING_RATE, **chosen})
    is_sgd = training.optimizer.algorithm == "sgd"
    rate = training.optimizer.learning_rate if is_sgd else _DEFAULT_LEARNING_RATE
    return Curve(**{"learning_rate": rate, "batch_size": training.batch_size, **chosen})


def _option_error(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][-1])
    options = {"shape": "curve", "epochs": "curve-epochs", "learning_rate": "curve-learning-rate"}
    option = options.get(name, name.replace("_", "-"))
    expected = first["msg"].replace("Input should be ", "")
    if name == "shape":
        expected += ", or none"
    return f"--{option} is {first['input']}, expected {expected}"


def connect_runs(
    runs: tuple[Run, Run], connecting: Connecting, tracking: str, stage: Stage
) -> ConnectionReport:
    """Walk every path between the networks of two runs, as far as the store does not have them, and report.

    Args:
        runs: two trained ones.
        connecting: how.
        tracking: MLflow's address.
        stage: opens the display of a stage, which then hears how far it is.
    """
    from lossmap.components.core.machine import require_device
    from lossmap.components.figures.connection import report
    from lossmap.components.figures.connection.summary import ConnectionPath, ConnectionSummary
    from lossmap.components.surveys.connection import Connection
    from lossmap.components.surveys.ends import find_ends

    require_device(connecting.evaluation.device, f"landscape.device of {runs[0].name}")
    store, ends = runs[0].store, find_ends(runs)
    connection = Connection(ends, connecting)
    with stage("align") as progress:
        names = connection.names
        progress(1, 1, "")
    paths = []
    for name in names:
        if name == "curve":
            with stage("train the curve") as progress:
                connection.train_curve(progress)
        with stage(name) as progress:
            paths.append(ConnectionPath.of(name, connection.walk(name, progress)))
    summary = ConnectionSummary(
        (runs[0].name, runs[1].name),
        ends.trainings,
        ends.experiment,
        ends.manifest,
        connecting,
        connection.note,
        tuple(paths),
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
    page, picture = (layout.connection(digest, name) for name in (report.PAGE, report.PICTURE))
    return ConnectionReport(summary, digest, page, picture, untracked)


def connect_all(
    runs: Sequence[Run],
    labels: Sequence[str],
    connecting: Connecting,
    tracking: str,
    stage: Stage,
) -> MatrixReport:
    """Connect every two of several networks on the same samples, and report the barriers between all.

    Args:
        runs: three trained ones or more, all of which are looked at before the first path is walked.
        labels: of the networks, for people.
        connecting: how.
        tracking: MLflow's address.
        stage: opens the display of a stage, which then hears how far it is.
    """
    from lossmap.components.figures.connection import matrix_report
    from lossmap.components.figures.connection.matrix import barrier_matrix
    from lossmap.components.surveys.ends import find_ends

    for pair in combinations(runs, 2):
        find_ends(pair)
    untracked: list[str] = []

    def connect(pair: tuple[int, int]) -> tuple["ConnectionSummary", str]:
        first, second = pair
        report = connect_runs(
            (runs[first], runs[second]),
            connecting,
            tracking,
            lambda name: stage(f"{first + 1} to {second + 1}: {name}"),
        )
        untracked.extend([report.untracked] if report.untracked else [])
        return report.summary, report.digest

    matrix = barrier_matrix(labels, connect)
    digest = matrix_report.write(runs[0].store, matrix)
    page, picture = (layout.connection(digest, name) for name in (matrix_report.PAGE, matrix_report.PICTURE))
    return MatrixReport(matrix, page, picture, next(iter(untracked), None))


def for_many(connecting: Connecting, options: dict[str, Any]) -> Connecting:
    """The settings for more than two networks: no curve is trained between every two of them, unless one is
    asked for.
    """
    return connecting if options.get("curve") else connecting.model_copy(update={"curve": None})
