"""Sentences, names and colours of a connection of two networks."""

from collections.abc import Sequence

from lossmap.components.config.connection import PathName
from lossmap.components.figures import numbers
from lossmap.components.figures.connection.summary import ConnectionPath, ConnectionSummary
from lossmap.components.figures.names import network_on_data
from lossmap.components.figures.scale import COLOURS
from lossmap.components.landscape.connectivity.barriers import PathMaximum

_NAMES: tuple[PathName, ...] = ("linear", "aligned", "repaired", "curve")


def title(summary: ConnectionSummary) -> str:
    """What is connected: network and data set."""
    return f"Are two minima connected? {network_on_data(summary.experiment, summary.manifest)}"


def matrix_title(summary: ConnectionSummary) -> str:
    """What is connected: network and data set."""
    return f"Which minima are connected? {network_on_data(summary.experiment, summary.manifest)}"


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
    """One sentence: which paths connect the networks on these samples, by the stated threshold, or, without
    one, how high the lowest barrier is.
    """
    threshold = summary.connecting.threshold
    if threshold is None:
        lowest = min(summary.paths, key=lambda path: path.barrier.value)
        return (
            f"On these {summary.samples('train')} training samples the lowest barrier is that of the"
            f" {label(summary, lowest.name)}, {barrier(lowest.barrier)} {summary.unit}; up to which height"
            " networks count as connected has not been said (--threshold)."
        )
    connecting = [path for path in summary.paths if path.barrier.high <= threshold]
    apart = [path for path in summary.paths if path.barrier.low > threshold]
    undecided = [path for path in summary.paths if path not in connecting and path not in apart]
    start = f"On these {summary.samples('train')} training samples"
    rule = f"(connected: the 95 % interval of the barrier ends at or below {threshold:g} {summary.unit})"
    if connecting:
        others = _others(summary, apart, "not by") + _others(summary, undecided, "it cannot be told of")
        return f"{start} the networks are connected by {_names(summary, connecting)} {rule}{others}."
    if not undecided and apart:
        return f"{start} the networks are not connected by {_names(summary, apart)} {rule}."
    return (
        f"{start} it cannot be told whether the networks are connected by {_names(summary, undecided)}"
        f" {rule}{_others(summary, apart, 'they are not by')}."
    )


def _others(summary: ConnectionSummary, paths: Sequence[ConnectionPath], text: str) -> str:
    return f"; {text} {_names(summary, paths)}" if paths else ""


def _names(summary: ConnectionSummary, paths: Sequence[ConnectionPath]) -> str:
    *first, last = (f"the {label(summary, path.name)}" for path in paths)
    return f"{', '.join(first)} and {last}" if first else last


def barrier(estimate: PathMaximum | None) -> str:
    """A barrier, or a rise, with its interval."""
    if estimate is None:
        return numbers.ABSENT
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def percent_barrier(estimate: PathMaximum | None) -> str:
    """A barrier of the error, in percent, with its interval."""
    if estimate is None:
        return numbers.ABSENT
    return f"{100 * estimate.value:.3g} [{100 * estimate.low:.3g}, {100 * estimate.high:.3g}] %"


def percentage_points(estimate: PathMaximum | None) -> str:
    """A difference of errors in percentage points, without its interval."""
    return f"{100 * estimate.value:.2f}" if estimate else numbers.ABSENT


def alignment(summary: ConnectionSummary) -> str:
    """What came of the alignment, in a sentence."""
    note = summary.note
    if note.reason:
        return f"Nothing was aligned: {note.reason}."
    if not note.spaces:
        return "There is nothing to align: no hidden channel can be permuted."
    text = (
        f"{note.permuted} of {note.spaces} permutable channel spaces of the second network were reordered by"
        " weight matching."
    )
    if summary.is_repaired_anyway:
        text += " Re-estimating BatchNorm's statistics at every point is the repair (REPAIR), too."
    return text


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
