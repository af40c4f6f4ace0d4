"""The cells of a study and their outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass

from lossmap.components.config.experiment import Experiment


@dataclass(frozen=True)
class Cell:
    """One combination: a run of its own.

    Attributes:
        network: its label in the study.
        levels: factor to level.
        seed: which repetition.
        experiment: what is run.
        run: name of the run, which follows from study, cell and experiment: the same cell is the same run.
    """

    network: str
    levels: Mapping[str, str]
    seed: int
    experiment: Experiment
    run: str

    @property
    def label(self) -> str:
        """Network and levels, without the seed."""
        return " ".join([self.network, *self.levels.values()])


@dataclass(frozen=True)
class Outcome:
    """A finished cell. `scalars` are those of its report, with `_low` and `_high` where a measure has an
    interval.
    """

    cell: Cell
    scalars: Mapping[str, float | None]


@dataclass(frozen=True)
class SeedPair:
    """Two finished cells that differ in nothing but the seed, and the barriers between their networks.

    Attributes:
        first: one cell.
        second: the other.
        barriers: by path (linear, aligned, repaired, curve), in units of the loss: value, lower and upper end
            of its 95 % interval.
        threshold: up to which they count as connected; None where nobody has said so.
    """

    first: Cell
    second: Cell
    barriers: Mapping[str, tuple[float, float, float]]
    threshold: float | None
