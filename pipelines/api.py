"""lossmap in three lines of Python, for a network that is there:

from lossmap.pipelines.api import survey
result = survey(model, "cross-entropy", loader)
result.plot()
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lossmap.components.config.connection import Connecting
from lossmap.components.config.data import IN_PROCESS, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.parse import parse
from lossmap.components.config.settings import UNTRACKED, Settings
from lossmap.components.core.errors import ExperimentError, TrackingError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines import local
from lossmap.pipelines.result import Survey, temporary_store
from lossmap.pipelines.stages import printed_stage, silent_stage
from lossmap.pipelines.survey import experiment_name, imported_run

if TYPE_CHECKING:
    from lossmap.components.importing.given import AnyLoss
    from lossmap.components.importing.trajectories import Paths
    from lossmap.components.landscape.connectivity.barriers import Array

__all__ = ["Connections", "Survey", "connect", "survey"]

_FEWEST = 2

_logger = logging.getLogger(__name__)


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
    data: Any,
    targets: Any = None,
    *,
    test: Any = None,
    output: str | int | None = None,
    classes: bool | None = None,
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
        data: as of `survey`.
        targets: as of `survey`.
        test: as of `survey`.
        output: as of `survey`.
        classes: as of `survey`.
        connecting: how, for example Connecting(evaluation=Evaluation(points=11), curve=None); without it as
            `lossmap connect` does, and without a curve.
        study: as of `survey`.
        store: as of `survey`.
        tracking: as of `survey`.
        quiet: print no progress.

    Raises:
        LossmapError: in one line, what does not fit together.
    """
    from lossmap.components.importing.given import Batches, Given
    from lossmap.components.importing.in_process import in_process_model, pack
    from lossmap.pipelines.connect import connect_all, connection_settings

    named = (
        models if isinstance(models, Mapping) else {str(n): each for n, each in enumerate(models, start=1)}
    )
    if len(named) < _FEWEST:
        raise ExperimentError(f"connect got {len(named)} networks, expected two or more")
    settings, source = _settings(store, tracking), Data(source=IN_PROCESS)
    stage = silent_stage if quiet else printed_stage
    with ExitStack() as stack:
        runs, batches, packed = list[Run](), None, None
        for name, model in named.items():
            given = Given(model, loss, data, targets, test, output, classes)
            batches = batches or Batches.of(given)
            taken = stack.enter_context(in_process_model(given, batches))
            experiment = Experiment(name=experiment_name(name), study=study, data=source, model=taken.model)
            packed = packed or pack(taken.tensors, source, open_store(settings.store))
            runs.append(imported_run(experiment, settings, stage, packed))
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
    data: Any,
    targets: Any = None,
    *,
    test: Any = None,
    checkpoints: "Paths | None" = None,
    output: str | int | None = None,
    classes: bool | None = None,
    not_finite: Literal["refuse", "keep"] = "refuse",
    limit: int | None = None,
    test_limit: int | None = None,
    split: float | None = None,
    landscape: Landscape | None = None,
    name: str | None = None,
    study: str = "lossmap",
    store: str | None = None,
    tracking: str | None = None,
    quiet: bool = False,
) -> Survey:
    """Survey the loss of a network around its weights, and record that as a run.

    It is evaluated in this process, on a copy on the CPU (or on `landscape.device`), with one thread; the
    network stays as it is. The same network, loss, data and settings find what was evaluated before, also by
    a call that was interrupted.

    Without `store` and LOSSMAP_STORE everything is kept in a temporary folder, which is removed when Python
    ends, and MLflow is told nothing unless `tracking` or LOSSMAP_TRACKING names it.

    Args:
        model: a torch.nn.Module. A batch that is a dict are its keywords, several inputs its arguments.
        loss: "cross-entropy", "mse", "package.module:function", a loss of torch.nn or torch.nn.functional,
            averaged as it averages itself, or a function or module of outputs and targets that returns one
            loss for each sample, or their mean; or a function of network and batch, such as
            `lambda network, batch: network(**batch).loss`, that returns one number, or one for each sample,
            or values and weights of the samples, whose loss is sum(values) / sum(weights).
        data: a DataLoader or a Dataset, whose samples are read once, each once, without its shuffling; inputs
            as a tensor or array, N x …; or one batch of all samples: a dict, or a tuple whose last part are
            the targets.
        targets: tensor or array, N x …, of such inputs; or the key of the targets in batches that are dicts,
            if it is not one of labels, label, targets, target and y.
        test: data that the network was not trained on, of the same kind; or inputs and targets as a pair.
        checkpoints: of its training, in order: states (state_dict), networks or files; or several such lists
            by label, one for each optimiser. Their paths are shown on the plane, which is made of them unless
            there is a `landscape`, whose directions decide.
        output: key or place of the tensor that the loss takes, where the network returns several and none is
            called logits.
        classes: whether integer targets are classes, so that there is a share of wrong answers; without it
            where loss, outputs and targets say so.
        not_finite: "keep" takes NaN and infinity in the data, which are refused otherwise.
        limit: number of training samples to keep, the same number of each class where possible.
        test_limit: number of test samples to keep.
        split: share of the samples that are the test set, where there is no `test`.
        landscape: what is surveyed, for example Landscape(plane=Plane(x=Axis(points=11), y=Axis(points=11)),
            samples=200).
        name: of the run; without it the class of the network.
        study: the MLflow experiment in which runs are compared.
        store: folder, file:///folder or s3://bucket/prefix that keeps everything; else LOSSMAP_STORE.
        tracking: MLflow tracking URI; else LOSSMAP_TRACKING, else a sqlite file in the store that was named.
        quiet: print no progress.

    Raises:
        LossmapError: in one line, what does not fit together.
    """
    from lossmap.components.importing.given import Given
    from lossmap.components.importing.in_process import in_process_model, pack
    from lossmap.components.importing.trajectories import with_checkpoints

    settings = _settings(store, tracking)
    chosen = {"not_finite": not_finite, "limit": limit, "test_limit": test_limit, "split": split}
    surveyed = landscape or Landscape(directions="trajectory" if checkpoints else "random")
    fields = {
        "name": name or experiment_name(type(model).__name__),
        "study": study,
        "data": {"source": IN_PROCESS, **chosen},
        "landscape": surveyed,
    }
    # before anything is read; directions of a path need its checkpoints
    early = surveyed.model_copy(update={"directions": "random"}) if checkpoints else surveyed
    parse({**fields, "model": {"architecture": "imported", "classes": classes}, "landscape": early})
    given = Given(model, loss, data, targets, test, output, classes, not_finite == "keep")
    with in_process_model(given) as taken, with_checkpoints(taken.model, checkpoints) as imported:
        experiment = parse({**fields, "model": imported})
        taken.check(experiment.landscape)
        run = local.open_run(local.new_name(experiment), settings)
        stage = silent_stage if quiet else printed_stage
        try:
            packed = pack(taken.tensors, experiment.data, run.store)
            local.run(run, experiment, settings, stage, packed)
        except TrackingError as error:
            _logger.warning(
                "MLflow did not get this run: %s; the report is complete, and `lossmap sync %s --store %s`"
                " sends it",
                error,
                run.name,
                settings.store,
            )
    page = local.place(settings.store, layout.report(run.name, "page.html"))
    return Survey(run.name, run.scalars(), page, settings.store)


def _settings(store: str | None, tracking: str | None) -> Settings:
    """The environment's, with a temporary store where nobody names one."""
    places = {"store": store, "tracking": tracking}
    asked = {name: str(place) for name, place in places.items() if place}
    settings = Settings.model_validate(asked)
    if "store" in settings.model_fields_set:
        return settings
    tracked = {} if "tracking" in settings.model_fields_set else {"tracking": UNTRACKED}
    return Settings.model_validate({**asked, **tracked, "store": temporary_store()})
