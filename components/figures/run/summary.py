"""Everything that a picture or a page of one run needs, without the store it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.scale import CONFIDENCE
from lossmap.components.landscape.grid import Surface
from lossmap.components.surveys.result import SurveyResult


@dataclass(frozen=True)
class RunSummary:
    """One finished run. `epochs` holds the metrics of each epoch, `scalars` what people compare; errors
    are shares of 1.
    """

    run: str
    experiment: Experiment
    manifest: Manifest
    epochs: tuple[Mapping[str, float], ...]
    scalars: Mapping[str, float | None]
    result: SurveyResult

    @property
    def plane(self) -> Surface:
        """The loss on the plane that is drawn."""
        return self.result.planes[0]

    @property
    def line(self) -> Surface | None:
        """The loss along the plane's first direction."""
        return self.result.lines[0] if self.result.lines else None

    @property
    def networks(self) -> list[tuple[str, float, float]]:
        """The other runs whose networks lie on the plane, and where, as far as the grid holds them."""
        surface, landscape = self.plane, self.experiment.landscape
        return [
            (name, x, y)
            for name, (x, y) in zip(landscape.networks, ((1.0, 0.0), (0.0, 1.0)), strict=False)
            if surface.x[0] <= x <= surface.x[-1] and surface.y[0] <= y <= surface.y[-1]
        ]

    @property
    def guessing_loss(self) -> float | None:
        """Cross-entropy of guessing uniformly on the survey's samples; None where the loss is another, or
        where there are no classes.
        """
        return guessing_loss(self.experiment, self.manifest)

    @property
    def pictures(self) -> Pictures:
        """Settings of its pictures."""
        return self.experiment.pictures

    @property
    def samples(self) -> int:
        """Number of samples on which every point was evaluated."""
        landscape = self.experiment.landscape
        return min(landscape.samples, len(self.manifest.rows(landscape.split, landscape.task)))


def common_pictures(runs: Sequence[RunSummary]) -> Pictures | None:
    """The settings of pictures that are the same in all runs; None where they differ."""
    settings = {run.pictures for run in runs}
    return settings.pop() if len(settings) == 1 else None


def profile_axis(runs: Sequence[RunSummary], pictures: Pictures | None = None) -> CurveAxis:
    """The axis of the loss along the first directions of those runs that have a line, with the bands and the
    losses of guessing.
    """
    lines = [run.line for run in runs if run.line is not None]
    return CurveAxis.of(
        [np.where(line.finite[0], line.loss[0], np.nan) for line in lines],
        [CONFIDENCE * line.loss_standard_error[0] for line in lines],
        [run.guessing_loss for run in runs if run.line is not None and run.guessing_loss is not None],
        pictures,
    )


def guessing_loss(experiment: Experiment, manifest: Manifest) -> float | None:
    """Cross-entropy of guessing uniformly on the samples of an experiment's survey; None where the loss is
    another, if only by weights of the classes, or where there are no classes.
    """
    landscape, model = experiment.landscape, experiment.model
    if experiment.loss != "cross-entropy" or (isinstance(model, Imported) and model.classes is False):
        return None
    return manifest.guessing_loss(landscape.split, landscape.task)
