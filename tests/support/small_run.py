"""A run that takes a second: trained and surveyed in this process."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import Mlp
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_tensors, write_json
from lossmap.components.stores.runs import Run, load_epochs
from lossmap.components.surveys.merge import merge
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.problems import TileEvaluator
from lossmap.components.surveys.stored_result import load_result
from support.training import in_process

EXPERIMENT = Experiment(
    data=Data(source="blobs", blobs=Blobs(classes=2, train_per_class=8, test_per_class=4, image_size=4)),
    model=Mlp(hidden=(3,)),
    training=Training(epochs=2, batch_size=8, processes=1, checkpoint_seconds=0.0),
    landscape=Landscape(
        directions="trajectory",
        plane=Plane(x=Axis(points=3), y=Axis(points=3)),
        line=Axis(points=3),
        samples=8,
        tile_points=5,
        adaptive=None,
        curvature=None,
    ),
)


def survey(settings: Settings, run: Run, experiment: Experiment = EXPERIMENT) -> None:
    """All steps but the report."""
    steps.prepare(run, experiment)
    steps.train(run, settings, launch=in_process(settings))
    steps.plan(run)
    evaluator = TileEvaluator(run)
    for tile in pending_tiles(run):
        evaluator.evaluate(tile)
    merge(run)
    write_json(run.store, layout.scalars(run.name), {"floor": 0.5})


def found(run: Run) -> tuple[Any, ...]:
    """Everything that anybody reads of a run's results."""
    result = load_result(run)
    arrays = [array for surface in (*result.planes, *result.lines) for array in vars(surface).values()]
    losses = [each.loss for each in result.trajectory]
    weights = load_tensors(run.store, layout.weights(run.training))
    epochs = [_untimed(metrics) for metrics in load_epochs(run.store, run.training)]
    return arrays, losses, weights, epochs, _untimed(run.scalars()), run.manifest, run.experiment


def _untimed(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if "second" not in name and name != "timestamp"}


def same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    """Whether all of it has equal bits."""
    arrays = all(np.array_equal(*pair, equal_nan=True) for pair in zip(first[0], second[0], strict=True))
    weights = all(torch.equal(first[2][name], second[2][name]) for name in first[2])
    return arrays and weights and first[1] == second[1] and first[3:] == second[3:]
