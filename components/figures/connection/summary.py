"""What was found about the connection of two networks: numbers, and the words for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lossmap.components.config.connection import Connecting, Note, PathName
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.core.estimates import scalars_of
from lossmap.components.core.serialization import plain
from lossmap.components.figures import numbers
from lossmap.components.figures.names import network_on_data
from lossmap.components.figures.scale import COLOURS
from lossmap.components.landscape.connectivity.barriers import PathMaximum, Profile, barrier, largest_rise

Quantity = Literal["loss", "error"]
QUANTITIES: tuple[Quantity, ...] = ("loss", "error")
_NAMES: tuple[PathName, ...] = ("linear", "aligned", "repaired", "curve")
SPLITS = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class Walked:
    """A path that was walked. Profiles, barriers and rises are by split, the latter two also by quantity;
    no error without classes.
    """

    name: PathName
    profiles: Mapping[str, Profile]
    barriers: Mapping[tuple[str, Quantity], PathMaximum | None]
    rises: Mapping[tuple[str, Quantity], PathMaximum | None]

    @classmethod
    def of(cls, name: PathName, profiles: Mapping[str, Profile]) -> "Walked":
        """The path with its barriers and rises."""
        kinds = [(split, quantity) for split in profiles for quantity in QUANTITIES]
        barriers = {(split, quantity): barrier(profiles[split], quantity) for split, quantity in kinds}
        return cls(
            name,
            profiles,
            barriers,
            {(split, quantity): largest_rise(profiles[split], quantity) for split, quantity in kinds},
        )

    @property
    def barrier(self) -> PathMaximum:
        """Of the training loss: what decides whether the path connects."""
        found = self.barriers["train", "loss"]
        assert found is not None
        return found


@dataclass(frozen=True)
class ConnectionSummary:
    """Two runs and the paths between their networks. Experiment and manifest are the first run's."""

    runs: tuple[str, str]
    trainings: tuple[str, str]
    experiment: Experiment
    manifest: Manifest
    connecting: Connecting
    note: Note
    paths: tuple[Walked, ...]

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
    def walked(self) -> dict[PathName, Walked]:
        """The paths by name; the repaired one also where it is the aligned one."""
        found = {path.name: path for path in self.paths}
        return found | (
            {"repaired": found["aligned"]} if self.is_repaired_anyway and "aligned" in found else {}
        )

    @property
    def barriers(self) -> dict[PathName, PathMaximum]:
        """Of the training loss, by path."""
        return {name: path.barrier for name, path in self.walked.items()}

    def samples(self, split: str) -> int:
        """How many samples of a split the paths were evaluated on."""
        return min(
            self.connecting.evaluation.samples, self.manifest.count("train" if split == "train" else "test")
        )


def title(summary: ConnectionSummary) -> str:
    """What is connected: network and data set."""
    return f"Are two minima connected? {network_on_data(summary.experiment, summary.manifest)}"


def label(summary: ConnectionSummary, name: PathName) -> str:
    """The name of a path in a few words."""
    shape = summary.connecting.curve.shape if summary.connecting.curve else ""
    curve = "Bezier curve" if shape == "bezier" else "polygonal chain"
    return {
        "linear": "straight line",
        "aligned": "line after alignment",
        "repaired": "line after alignment and repair",
        "curve": curve,
    }[name]


def colour(name: PathName) -> str:
    """Of a path, the same in every report."""
    return COLOURS[_NAMES.index(name)]


def verdict(summary: ConnectionSummary) -> str:
    """One sentence: which paths connect the networks on these samples, by the stated threshold."""
    threshold = summary.connecting.threshold
    connected = [path for path in summary.paths if path.barrier.high <= threshold]
    apart = [path for path in summary.paths if path.barrier.low > threshold]
    open_ones = [path for path in summary.paths if path not in connected and path not in apart]
    found = "connected by" if connected else "not connected by" if apart and not open_ones else ""
    on = f"On these {summary.samples('train')} training samples"
    rule = f"(connected: the 95 % interval of the barrier ends at or below {threshold:g} {summary.unit})"
    if not found:
        return (
            f"{on} it cannot be told whether the networks are connected by {_names(summary, open_ones)}"
            f" {rule}{_others(summary, apart, 'they are not by')}."
        )
    rest = (
        _others(summary, apart, "not by") + _others(summary, open_ones, "it cannot be told of")
        if connected
        else ""
    )
    return f"{on} the networks are {found} {_names(summary, connected or apart)} {rule}{rest}."


def _others(summary: ConnectionSummary, paths: Sequence[Walked], what: str) -> str:
    return f"; {what} {_names(summary, paths)}" if paths else ""


def _names(summary: ConnectionSummary, paths: Sequence[Walked]) -> str:
    named = [f"the {label(summary, path.name)}" for path in paths]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def estimate(found: PathMaximum | None, percent: bool = False) -> str:
    """A number with its interval, for people."""
    if found is None:
        return numbers.ABSENT
    value, low, high = (
        f"{100 * part:.3g}" if percent else f"{part:.3g}" for part in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}]{' %' if percent else ''}"


def points(found: PathMaximum | None) -> str:
    """A difference of errors in percentage points, without its interval."""
    return f"{100 * found.value:.2f}" if found else numbers.ABSENT


def alignment(summary: ConnectionSummary) -> str:
    """What came of the alignment, in a sentence."""
    note = summary.note
    if note.reason:
        return f"Nothing was aligned: {note.reason}."
    if not note.spaces:
        return "There is nothing to align: no hidden channel can be permuted."
    done = (
        f"{note.permuted} of {note.spaces} permutable channel spaces of the second network were reordered by"
        " weight matching."
    )
    return (
        f"{done} Re-estimating BatchNorm's statistics at every point is the repair (REPAIR), too."
        if summary.is_repaired_anyway
        else done
    )


def statistics(summary: ConnectionSummary) -> str:
    """What BatchNorm's statistics were at each point, in a sentence."""
    if not summary.note.batch_norm:
        return "The networks have no BatchNorm."
    return {
        "reestimated": (
            "BatchNorm's statistics are re-estimated on the training samples at every point, the ends"
            " included."
        ),
        "interpolated": (
            "BatchNorm's statistics go from the first network's to the second's along with the weights."
        ),
        "frozen": "BatchNorm's statistics are those of the first network everywhere.",
    }[summary.connecting.evaluation.batch_norm]


def scalars(summary: ConnectionSummary) -> dict[str, float | None]:
    """What is logged to MLflow: barrier_<path> of the training loss with its interval, of the error, and
    on test samples; the largest rise.
    """
    estimates: dict[str, PathMaximum | None] = {}
    for name, path in summary.walked.items():
        for split, suffix in (("train", ""), ("test", "_test")):
            for quantity in QUANTITIES:
                kind = "" if quantity == "loss" else "_error"
                estimates[f"barrier_{name}{kind}{suffix}"] = path.barriers.get((split, quantity))
        estimates[f"largest_rise_{name}"] = path.rises["train", "loss"]
    return scalars_of({name: estimate for name, estimate in estimates.items() if estimate is not None})


def record(summary: ConnectionSummary) -> dict[str, Any]:
    """Everything as JSON values; NaN and infinity are the texts NaN and Infinity."""
    return {
        "runs": list(summary.runs),
        "trainings": list(summary.trainings),
        "data": summary.manifest.digest,
        "settings": summary.connecting.model_dump(mode="json"),
        "networks": summary.note.model_dump(mode="json"),
        "verdict": verdict(summary),
        "unit": summary.unit,
        "samples": {split: summary.samples(split) for split in summary.paths[0].profiles},
        "paths": [_record(path) for path in summary.paths],
    }


def _record(path: Walked) -> dict[str, Any]:
    return {"path": path.name} | {
        split: {
            "barrier": {
                quantity: plain(found and found.model_dump(exclude_none=True))
                for (of, quantity), found in path.barriers.items()
                if of == split
            },
            "largest_rise": {
                quantity: plain(found and found.model_dump(exclude_none=True))
                for (of, quantity), found in path.rises.items()
                if of == split
            },
            **{
                name: plain(getattr(profile, name).tolist())
                for name in ("t", "loss", "loss_standard_error", "error", "error_standard_error")
            },
        }
        for split, profile in path.profiles.items()
    }
