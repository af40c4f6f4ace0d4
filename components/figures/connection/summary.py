"""Everything that a picture or a page of a connection of two networks needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from lossmap.components.config.connection import Connecting, Note, PathName
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.landscape.connectivity.barriers import PathMaximum, Profile, barrier, largest_rise

Quantity = Literal["loss", "error"]
QUANTITIES: tuple[Quantity, ...] = ("loss", "error")
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

    def samples(self, split: str) -> int:
        """How many samples of a split the paths were evaluated on."""
        available = self.manifest.count("train" if split == "train" else "test")
        return min(self.connecting.evaluation.samples, available)
