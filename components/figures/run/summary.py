"""Everything that a picture or a page of one run needs, without the store it came from."""

from collections.abc import Mapping
from dataclasses import dataclass

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
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
    def guessing_loss(self) -> float | None:
        """Cross-entropy of guessing uniformly on the survey's samples; None where the loss is another, or
        where there are no classes.
        """
        return guessing_loss(self.experiment, self.manifest)

    @property
    def samples(self) -> int:
        """Number of samples on which every point was evaluated."""
        landscape = self.experiment.landscape
        return min(landscape.samples, len(self.manifest.rows(landscape.split, landscape.task)))


def guessing_loss(experiment: Experiment, manifest: Manifest) -> float | None:
    """Cross-entropy of guessing uniformly on the samples of an experiment's survey; None where the loss is
    another, if only by weights of the classes, or where there are no classes.
    """
    landscape, model = experiment.landscape, experiment.model
    if experiment.loss != "cross-entropy" or (isinstance(model, Imported) and model.classes is False):
        return None
    return manifest.guessing_loss(landscape.split, landscape.task)
