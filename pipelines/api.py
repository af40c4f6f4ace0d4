"""lossmap in three lines of Python, for a network that is there:

from lossmap.pipelines.api import survey
result = survey(model, "cross-entropy", inputs, targets)
print(result.scalars, result.page)
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossmap.components.config.connection import Connecting
from lossmap.components.config.data import IN_PROCESS, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError, TrackingError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines import local
from lossmap.pipelines.stages import printed_stage, silent_stage
from lossmap.pipelines.survey import experiment_name, imported_run

if TYPE_CHECKING:
    from lossmap.components.importing.in_process import AnyLoss
    from lossmap.components.importing.trajectories import Paths
    from lossmap.components.landscape.connectivity.barriers import Array
    from lossmap.components.landscape.grid import Surface

_FEWEST = 2
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Survey:
    """A finished survey.

    Attributes:
        run: its name, for `lossmap compare` and the other commands.
        scalars: the numbers that runs are compared by; None where one does not exist.
        page: the report: one HTML file, its path or its URI.
        store: where everything is kept.
    """

    run: str
    scalars: Mapping[str, float | None]
    page: str
    store: str

    @property
    def plane(self) -> "Surface":
        """Losses and errors on the plane, one row for each y and one column for each x."""
        from lossmap.components.surveys.stored_result import load_result

        return load_result(Run(open_store(self.store), self.run)).planes[0]


@dataclass(frozen=True)
class Connections:
    """The barriers between every two of several networks.

    Attributes:
        networks: their names, in the order of rows and columns.
        barriers: of the training loss by path (linear, aligned, repaired, curve), each (K, K), symmetric: the
            greatest height above the chord between two networks; infinite where the loss is not finite.
        intervals: of each, (K, K, 2): the ends of its 95 % interval over the samples.
        page: the report: one HTML file, its path or its URI.
        store: where everything is kept.
    """

    networks: tuple[str, ...]
    barriers: Mapping[str, "Array"]
    intervals: Mapping[str, "Array"]
    page: str
    store: str


def connect(  # noqa: PLR0913  # what is connected has four parts; everything else has a default
    models: Mapping[str, Any] | Sequence[Any],
    loss: "AnyLoss",
    inputs: Any,
    targets: Any,
    *,
    test: tuple[Any, Any] | None = None,
    connecting: Connecting | None = None,
    study: str = "lossmap",
    store: str | None = None,
    tracking: str | None = None,
    quiet: bool = False,
) -> Connections:
    """Connect every two of several networks of one architecture, on the same samples.

    Args:
        models: two networks or more, perhaps by name.
        loss: as of `survey`.
        inputs: as of `survey`.
        targets: as of `survey`.
        test: as of `survey`.
        connecting: how, for example Connecting(evaluation=Evaluation(points=11), curve=None); without it as
            `lossmap connect` does, and without a curve.
        study: as of `survey`.
        store: as of `survey`.
        tracking: as of `survey`.
        quiet: print no progress.

    Raises:
        LossmapError: in one line, what does not fit together.
    """
    from lossmap.components.importing.in_process import in_process_model, pack
    from lossmap.pipelines.connect import connect_all, connection_settings

    named = (
        models if isinstance(models, Mapping) else {str(n): each for n, each in enumerate(models, start=1)}
    )
    places = {"store": store, "tracking": tracking}
    settings = Settings.model_validate({name: place for name, place in places.items() if place})
    stage = silent_stage if quiet else printed_stage
    tensors = {"inputs": inputs, "targets": targets}
    if test:
        tensors["test_inputs"], tensors["test_targets"] = test
    with ExitStack() as stack:
        runs, packed = [], pack(tensors, open_store(settings.store))
        for name, model in named.items():
            imported = stack.enter_context(in_process_model(model, loss, tensors))
            experiment = Experiment(
                name=experiment_name(name), study=study, data=Data(source=IN_PROCESS), model=imported
            )
            runs.append(imported_run(experiment, settings, stage, packed))
        if len(runs) < _FEWEST:
            raise ExperimentError(f"connect got {len(runs)} networks, expected two or more")
        asked = connecting or connection_settings(runs[0], {"curve": "none"})
        report = connect_all(runs, list(named), asked, settings.tracking, stage)
    if report.untracked:
        _logger.warning("MLflow did not get this: %s; the report is complete", report.untracked)
    matrix = report.matrix
    return Connections(
        tuple(named),
        {path: matrix.values(path, "train") for path in matrix.paths},
        {path: matrix.intervals(path, "train") for path in matrix.paths},
        local.place(settings.store, report.page),
        settings.store,
    )


def survey(  # noqa: PLR0913  # what is surveyed has four parts; everything else has a default
    model: Any,
    loss: "AnyLoss",
    inputs: Any,
    targets: Any,
    *,
    test: tuple[Any, Any] | None = None,
    checkpoints: "Paths | None" = None,
    landscape: Landscape | None = None,
    name: str | None = None,
    study: str = "lossmap",
    store: str | None = None,
    tracking: str | None = None,
    quiet: bool = False,
) -> Survey:
    """Survey the loss of a network around its weights, and record that as a run.

    It is evaluated in this process, on a copy on the CPU (or on `landscape.device`), with one thread; the
    network stays as it is. The same network, loss, tensors and settings find what was evaluated before, also
    by a call that was interrupted.

    Args:
        model: a torch.nn.Module that returns one tensor.
        loss: "cross-entropy", "mse", "package.module:function", a loss of torch.nn or torch.nn.functional,
            averaged as it averages itself, or a function or module of outputs and targets that returns one
            loss for each sample, or their mean.
        inputs: tensor or array, N x …: what the module is called with, batch by batch.
        targets: tensor or array, N x …
        test: inputs and targets that the network was not trained on.
        checkpoints: of its training, in order: states (state_dict), networks or files; or several such lists
            by label, one for each optimiser. Their paths are shown on the plane, which is made of them unless
            there is a `landscape`, whose directions decide.
        landscape: what is surveyed, for example Landscape(plane=Plane(x=Axis(points=11), y=Axis(points=11)),
            samples=200).
        name: of the run; without it the class of the network.
        study: the MLflow experiment in which runs are compared.
        store: file:///folder or s3://bucket/prefix; else LOSSMAP_STORE, else ./lossmap-runs.
        tracking: MLflow tracking URI; else LOSSMAP_TRACKING, else a sqlite file in the store.
        quiet: print no progress.

    Raises:
        LossmapError: in one line, what does not fit together.
    """
    from lossmap.components.importing.in_process import in_process_model, pack
    from lossmap.components.importing.trajectories import with_checkpoints

    places = {"store": store, "tracking": tracking}
    settings = Settings.model_validate({name: place for name, place in places.items() if place})
    tensors = {"inputs": inputs, "targets": targets}
    if test:
        tensors["test_inputs"], tensors["test_targets"] = test
    surveyed = landscape or Landscape(directions="trajectory" if checkpoints else "random")
    with in_process_model(model, loss, tensors) as alone, with_checkpoints(alone, checkpoints) as imported:
        experiment = Experiment(
            name=name or experiment_name(type(model).__name__),
            study=study,
            data=Data(source=IN_PROCESS),
            model=imported,
            landscape=surveyed,
        )
        run = local.open_run(local.new_name(experiment), settings)
        stage = silent_stage if quiet else printed_stage
        try:
            local.run(run, experiment, settings, stage, pack(tensors, run.store))
        except TrackingError as error:
            _logger.warning("MLflow did not get this run: %s; the report is complete", error)
    page = local.place(settings.store, layout.report(run.name, "page.html"))
    return Survey(run.name, run.scalars(), page, settings.store)
