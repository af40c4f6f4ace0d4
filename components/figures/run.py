"""Everything that a picture or a page of one run needs, without the store it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.landscape.grid import Surface


@dataclass(frozen=True)
class RunSummary:
    """One finished run. `epochs` holds the metrics of each epoch, `scalars` what people compare; errors are shares of 1."""

    run: str
    experiment: Experiment
    manifest: Manifest
    epochs: tuple[Mapping[str, float], ...]
    scalars: Mapping[str, float | None]
    plane: Surface
    line: Surface | None

    @property
    def guessing_loss(self) -> float:
        """Cross-entropy of guessing uniformly: ln C for C classes."""
        return log(len(self.manifest.classes))

    @property
    def samples(self) -> int:
        """Number of images on which every point was evaluated."""
        landscape = self.experiment.landscape
        return min(landscape.samples, self.manifest.count(landscape.split))
