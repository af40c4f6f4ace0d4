"""Everything that a picture or a page of a connection of two networks needs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from lossmap.components.config.connection import Connecting, Note, PathName
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.scale import CONFIDENCE, Array
from lossmap.components.landscape.connectivity.barriers import PathMaximum, Profile, barrier, largest_rise

Quantity = Literal["loss", "error"]
QUANTITIES: tuple[Quantity, ...] = ("loss", "error")
_NEAR_ZERO = 1.2  # times the least loss up to which the greatest is far above 0
SPLITS = {"train": "training", "test": "test"}
Estimates = Mapping[tuple[str, Quantity], PathMaximum | None]  # by split and quantity


@dataclass(frozen=True)
class ConnectionPath:
    """A path between two networks. Profiles are by split, barriers and rises also by quantity; no error
    without classes.
    """

    name: PathName
    profiles: Mapping[str, Profile]
    barriers: Estimates
    rises: Estimates

    @classmethod
    def of(cls, name: PathName, profiles: Mapping[str, Profile]) -> "ConnectionPath":
        """The path with its barriers and rises."""
        barriers, rises = {}, {}
        for split, quantity in product(profiles, QUANTITIES):
            barriers[split, quantity] = barrier(profiles[split], quantity)
            rises[split, quantity] = largest_rise(profiles[split], quantity)
        return cls(name, profiles, barriers, rises)

    @property
    def barrier(self) -> PathMaximum:
        """Of the training loss: what decides whether the path connects."""
        estimate = self.barriers["train", "loss"]
        assert estimate is not None
        return estimate


@dataclass(frozen=True)
class ConnectionSummary:
    """Two runs and the paths between their networks. Experiment and manifest are the first run's."""

    runs: tuple[str, str]
    trainings: tuple[str, str]
    experiment: Experiment
    manifest: Manifest
    connecting: Connecting
    note: Note
    paths: tuple[ConnectionPath, ...]

    @property
    def unit(self) -> str:
        """Of the loss."""
        return "nats" if self.experiment.loss == "cross-entropy" else "units of the loss"

    @property
    def is_repaired_anyway(self) -> bool:
        """Whether every path has its statistics re-estimated, so that the aligned path is the repaired
        one.
        """
        return self.note.batch_norm and self.connecting.evaluation.batch_norm == "reestimated"

    @property
    def paths_by_name(self) -> dict[PathName, ConnectionPath]:
        """The paths by name; the repaired one also where it is the aligned one."""
        paths = {path.name: path for path in self.paths}
        if self.is_repaired_anyway and "aligned" in paths:
            paths["repaired"] = paths["aligned"]
        return paths

    @property
    def barriers(self) -> dict[PathName, PathMaximum]:
        """Of the training loss, by path."""
        return {name: path.barrier for name, path in self.paths_by_name.items()}

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Which there are: no errors without classes."""
        known = {quantity for (_, quantity), found in self.paths[0].barriers.items() if found is not None}
        return tuple(quantity for quantity in QUANTITIES if quantity in known)

    @property
    def chord_t(self) -> Array:
        """(T,) where the chord is told."""
        return self.paths[0].profiles["train"].t

    def chord(self, split: str, quantity: Quantity) -> Array:
        """(T,) the chord between the ends of the straight line, which is straight on a linear axis only."""
        start, end = getattr(self.paths[0].profiles[split], quantity)[[0, -1]]
        chord: Array = (1 - self.chord_t) * start + self.chord_t * end
        return chord

    def axis(self, split: str) -> CurveAxis:
        """Of the loss along all paths, with their bands: linear, on which a barrier is a height, and from 0
        on where the losses are not all far above it; but not where that would show the greatest loss alone.
        """
        profiles = [path.profiles[split] for path in self.paths]
        losses = [np.where(np.isfinite(profile.loss), profile.loss, np.nan) for profile in profiles]
        halves = [CONFIDENCE * profile.loss_standard_error for profile in profiles]
        axis = CurveAxis.of(losses, halves, pictures=self.experiment.pictures, wide=False)
        if axis.scale.kind == "linear" and axis.low > 0 and axis.high > _NEAR_ZERO * axis.low:
            return replace(axis, low=0.0)
        return axis

    def samples(self, split: str) -> int:
        """How many samples of a split the paths were evaluated on."""
        available = self.manifest.count("train" if split == "train" else "test")
        return min(self.connecting.evaluation.samples, available)
