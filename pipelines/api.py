"""lossmap in three lines of Python, for a network that is there:

from lossmap.pipelines.api import survey
result = survey(model, "cross-entropy", loader)
result.plot()
"""

import logging
from typing import TYPE_CHECKING, Any, Literal

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.parse import parse
from lossmap.components.config.settings import UNTRACKED, Settings
from lossmap.components.core.errors import TrackingError
from lossmap.components.stores import layout
from lossmap.pipelines import local
from lossmap.pipelines.result import Survey, temporary_store
from lossmap.pipelines.stages import printed_stage, silent_stage
from lossmap.pipelines.survey import experiment_name

if TYPE_CHECKING:
    from lossmap.components.importing.given import AnyLoss

__all__ = ["Survey", "survey"]

_logger = logging.getLogger(__name__)


def survey(  # noqa: PLR0913  # what is surveyed has four parts; everything else has a default
    model: Any,
    loss: "AnyLoss",
    data: Any,
    targets: Any = None,
    *,
    test: Any = None,
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

    settings = _settings(store, tracking)
    chosen = {"not_finite": not_finite, "limit": limit, "test_limit": test_limit, "split": split}
    fields = {
        "name": name or experiment_name(type(model).__name__),
        "study": study,
        "data": {"source": IN_PROCESS, **chosen},
        "landscape": landscape or Landscape(),
    }
    parse({**fields, "model": {"architecture": "imported", "classes": classes}})  # before anything is read
    given = Given(model, loss, data, targets, test, output, classes, not_finite == "keep")
    with in_process_model(given) as taken:
        experiment = parse({**fields, "model": taken.model})
        taken.check(experiment.landscape)
        run = local.open_run(local.new_name(experiment), settings)
        stage = silent_stage if quiet else printed_stage
        try:
            packed = pack(taken.tensors, experiment.data, run.store)
            local.run(run, experiment, settings, stage, packed)
        except TrackingError as error:
            _logger.warning("MLflow did not get this run: %s; the report is complete", error)
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
