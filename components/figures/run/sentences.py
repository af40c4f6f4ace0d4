"""Sentences on what a survey found beside the loss, and on how far to trust it."""

from collections.abc import Sequence

from lossmap.components.core.estimates import FEWEST, Estimate
from lossmap.components.figures import numbers, themes
from lossmap.components.figures.run import captions
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.surveys.result import Snapshot

_SHOWN = 8
_SHAPE = {
    "floor": "the loss goes down to {} on the plane",
    "basin_fraction": "{} of the plane has less loss than guessing",
    "line_convex_fraction": "the loss is convex along {} of the line",
    "hessian_largest": "the greatest curvature is {}",
}


def answer(run: RunSummary) -> str:
    """What the network is and how good: its errors, and the surface around it."""
    training = run.experiment.training
    trained = f", trained for {training.epochs} epochs," if training else ""
    subject = f"{captions.title(run)}{trained}"
    error, train_error = run.scalars.get("test_error"), run.scalars.get("train_error")
    if error is not None:
        count = run.manifest.count("test")
        noun = "samples" if run.manifest.tasks or run.experiment.data.holds_tensors else "images"
        trained_error = (
            f", of the training {noun} {numbers.scalar('train_error', train_error)}"
            if train_error is not None
            else ""
        )
        share = numbers.scalar("test_error", error)
        first = f"{subject} gets {share} of {count} test {noun} wrong{trained_error}."
    else:
        loss = numbers.number(run.scalars.get("train_loss"))
        first = f"{subject} has a loss of {loss} on its training samples."
    return f"{first} {shape(run)}".strip()


def shape(run: RunSummary) -> str:
    """The surface around the network in a sentence; empty where none of its measures exists."""
    parts = [
        text.format(numbers.scalar(name, value))
        for name, text in _SHAPE.items()
        if (value := run.scalars.get(name)) is not None
    ]
    return (
        f"Around it, {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}." if parts else ""
    )


def note(run: RunSummary, picture: str | None) -> str:
    """The run in Markdown: the answer, ten numbers, and the map.

    Args:
        run: which.
        picture: address of the map as an image, if it has one.
    """
    rows = [
        f"| {numbers.label(name)} | {numbers.scalar(name, value)} | {captions.interval(run, name)} |"
        for name in themes.ten(run.scalars)
        if (value := run.scalars[name]) is not None
    ]
    table = "\n".join(["| | | 95 % interval, or range |", "|---|---:|---|", *rows])
    image = f"\n\n![The loss around the network]({picture})" if picture else ""
    return (
        f"{numbers.markdown(answer(run))}{image}\n\n{table}\n\nAmong the artifacts: `page.html` is the"
        " report, `scalars.json` has every number with its bounds, `experiment.yaml` runs the same again with"
        " `lossmap run experiment.yaml`."
    )


def pairs(run: RunSummary) -> str:
    """How many planes were surveyed, and what that tells."""
    count = len(run.result.planes)
    if count == 1:
        return (
            "One plane was surveyed: how much the numbers depend on its directions is unknown."
            " landscape.pairs=4 surveys more."
        )
    return f"{count} planes were surveyed, each along another pair of directions; the first one is drawn."


def layers(run: RunSummary) -> str:
    """How the bars of the layers come about."""
    if not run.result.curvature:
        return ""
    return (
        "Each bar is the sum of the traces of its parameters' blocks, and so a part of the Hessian's whole"
        " trace. Its interval adds up those of the parameters, over the random vectors, and is"
        " rather too wide."
    )


def sampling(run: RunSummary) -> str:
    """How the plane was sampled, and what the intervals of its measures contain."""
    return f"{_points(run)} {_intervals(len(run.result.planes))}".strip()


def _points(run: RunSummary) -> str:
    bound, adaptive = run.result.bound, run.experiment.landscape.adaptive
    if not bound or not adaptive:
        return ""
    scale = "natural logarithm of the loss" if adaptive.scale == "log" else "loss"
    evaluated = f"{bound.evaluated} of {bound.points} points were evaluated"
    if not bound.held_out:
        return f"{evaluated}."
    return (
        f"{evaluated}, the others are interpolated. No point is to differ by more than {bound.absolute:.3g}"
        f" in the {scale}, {100 * bound.tolerance:g} % of its range: {bound.held_out} points drawn at random,"
        f" unknown to the interpolant, differ by {bound.largest_seen:.3g} at most, so that with 95 %"
        f" confidence less than {100 * bound.share_below:.2g} % of the points that it did not know differ by"
        " more. This is verified, not proved. What second differences tell needs every point, and is left"
        " out."
    )


def _intervals(pairs: int) -> str:
    if pairs == 1:
        return (
            "Intervals are 95 % and hold the variation of the samples alone: with one pair of directions that"
            " between directions is unknown."
        )
    if pairs < FEWEST:
        return (
            f"Measures are means over {pairs} pairs of directions, too few for an interval: where the pairs"
            " differ, their range is told, which is no interval. Intervals are 95 % and hold the variation of"
            " the samples alone."
        )
    return (
        f"Intervals are 95 % and hold the variation of the samples and of {pairs} pairs of directions, on the"
        " scale on which a measure lives. Measures are means over the pairs; counts have the pairs' range."
    )


def trajectory(run: RunSummary) -> str:
    """What the plane leaves out of the path of training."""
    result, plane = run.result, run.plane
    shares = " and ".join(f"{100 * share:.1f} %" for share in result.explained)
    whose = "the path's" if len(result.trails) == 1 else "the paths'"
    along = " along its two directions" if len(result.explained) > 1 else ""
    worst = max(result.trajectory, key=lambda snapshot: abs(snapshot.loss - snapshot.plane_loss))
    trail = result.trails[worst.position.trail]
    label = f"{trail.label}, " if trail.label else ""
    outside = sum(
        not (plane.x[0] <= each.position.x <= plane.x[-1] and plane.y[0] <= each.position.y <= plane.y[-1])
        for each in result.trajectory
    )
    beyond = (
        f" {outside} of {len(result.trajectory)} snapshots lie outside of the picture." if outside else ""
    )
    return (
        f"The plane holds {shares} of {whose} squared length{along}. Where a path is off the plane, contours"
        f" do not show its loss: at {label}{trail.name(worst.position.epoch)} the snapshot's is"
        f" {numbers.number(worst.loss)}, its projection's {numbers.number(worst.plane_loss)}.{beyond}"
    )


def held(snapshots: Sequence[Snapshot]) -> str:
    """The share of a path's squared length that lies in the plane."""
    total = sum(each.position.length**2 for each in snapshots)
    off = sum(each.position.distance**2 for each in snapshots)
    return f"{100 * (1 - off / total):.1f} %" if total else numbers.ABSENT


def convexity(run: RunSummary) -> str:
    """What the map of the Hessian's extreme eigenvalues shows."""
    convexity, settings = run.result.convexity, run.experiment.landscape.convexity
    if convexity is None or settings is None:
        return ""
    return (
        f"Magnitude of the Hessian's least eigenvalue over its greatest at {convexity.convex.size} points,"
        f" {settings.samples} samples, BatchNorm statistics frozen; 0 where the least is not negative by more"
        f" than its residual, at {int(convexity.convex.sum())} points. Eigenvalues are of the mean loss."
    )


def curvature(run: RunSummary) -> str:
    """How curvature was measured."""
    settings = run.experiment.landscape.curvature
    if settings is None:
        return ""
    return (
        f"Hessian of the mean loss over {settings.samples} samples, BatchNorm statistics frozen. Eigenvalues"
        f" by Lanczos, each within its residual of a true one; traces from these and"
        f" {settings.trace_products} random vectors. Intervals: 95 %."
    )


def blocks(run: RunSummary) -> str:
    """What the table of blocks of the Hessian has in it."""
    curvature, settings = run.result.curvature, run.experiment.landscape.curvature
    if curvature is None or settings is None:
        return ""
    text = (
        "A block is the Hessian of the loss where only these parameters move, the others staying as they are."
    )
    if not settings.parameters:
        return text
    names = curvature.blocks[0].names
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{text} The chosen parameters are those of {', '.join(settings.parameters)}:"
        f" {', '.join(names[:_SHOWN])}{more}."
    )


def estimates(values: Sequence[Estimate]) -> str:
    """Numbers with their intervals, where they have some."""
    return "; ".join(_estimate(value) for value in values)


def _estimate(value: Estimate) -> str:
    text = numbers.number(value.value)
    if value.low is None or value.high is None:
        return text
    return f"{text} ({numbers.number(value.low)} to {numbers.number(value.high)})"
