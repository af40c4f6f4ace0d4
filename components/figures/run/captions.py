"""The sentences and captions that stand beside the pictures of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.manifest import PackedTask
from lossmap.components.config.models import Imported
from lossmap.components.core.estimates import ENDS
from lossmap.components.figures.frame import counts, lowest
from lossmap.components.figures.names import network_on_data
from lossmap.components.figures.numbers import coordinate, ends, scalar
from lossmap.components.figures.run.summary import RunSummary, profile_axis
from lossmap.components.figures.scale import Scale
from lossmap.components.landscape.grid import Surface

_FINE = "1, 2 and 5 times powers of ten"
MOST_CLASSES = 100  # that are named one by one

_DIRECTIONS = {
    "random": "Random directions",
    "networks": "Directions to the network of {networks}, which lie at coordinate 1",
    "trajectory": "Directions of the two principal components of the path of training",
    "hessian": "Eigenvectors of the Hessian's two greatest eigenvalues",
    "gradient": "The gradient, and a random direction",
}

_PLANES = {
    "random": "a random plane",
    "networks": "the plane of other networks",
    "trajectory": "the plane of its training's path",
    "hessian": "the plane of greatest curvature",
    "gradient": "the plane of its gradient and a random direction",
}

_NORMALIZATIONS = {
    "none": "without normalisation",
    "model": "as long as all the weights together",
    "layer": "layer normalisation",
    "filter": "filter normalisation",
    "element": "element-wise normalisation",
    "neuron": "neuron normalisation",
}

_STATISTICS = {
    "frozen": "frozen as trained",
    "reestimated": "re-estimated at every point",
    "coordinates": "moved along with the weights",
}


def map_legend(scale: Scale, guesses: bool) -> str:
    """What colours, lines and marks of a map are; guesses: whether there is a loss of uniform guessing."""
    thick = "thick line: the loss of uniform guessing; " if guesses else ""
    return (
        f"In the map every point has one colour; thin lines ({lines(scale)}) interpolate {scale.name}"
        f" linearly between points; {thick}plus: the trained network; ring: the"
        " lowest point; hatched: NaN or infinite; dotted: not evaluated."
    )


def lines(scale: Scale) -> str:
    """At which losses there are lines of equal loss."""
    if scale.kind == "linear":
        return f"every {scale.step:g}"
    return "powers of ten" if scale.kind == "symlog" or len(scale.levels()) == 1 else _FINE


def facets(scale: Scale) -> str:
    """What the facets of a surface in perspective are."""
    return (
        f"Flat facets join neighbouring points and have the colour of the mean {scale.name} of their corners;"
        " a facet with a corner without a finite loss is left out."
    )


def pointing(scale: Scale, guesses: bool) -> str:
    """What the interactive surface and map show."""
    thick = "the thick line is the loss of uniform guessing. " if guesses else ""
    return (
        f"Thin lines ({lines(scale)}) are of equal loss{'; ' if guesses else '. '}{thick}Filled cross: the"
        " trained network; ring: the lowest point; specks: evaluated points; thin crosses: NaN or infinite;"
        " dots: not evaluated. Point at a place for its values."
    )


def interactive_facets(scale: Scale) -> str:
    """What is drawn between the points of the interactive surface and map."""
    return (
        f"{scale.text} The surface joins neighbouring points and blends their colours, with some shading; the"
        f" map has one colour for each evaluated point. Lines of equal loss interpolate {scale.name} linearly"
        " between points."
    )


def scale_note(scale: Scale) -> str:
    """What to know about the scale when reading the pictures."""
    usual = (
        " A bowl on a logarithmic scale is steeper near its bottom than it is on a linear one: switch the"
        " height of the surface to see both."
    )
    return f"{scale.text}{usual if scale.kind == 'log' else ''}"


@dataclass(frozen=True)
class ScalarEnds:
    """The interval or the range of a scalar."""

    low: float | None
    high: float | None
    range_of: int | None


def interval(run: RunSummary, name: str) -> str:
    """The 95 % interval of a scalar, or its range; empty where it has neither."""
    low, high, pairs = (run.scalars.get(f"{name}_{end}") for end in ENDS)
    return ends(name, ScalarEnds(low, high, int(pairs) if pairs else None), "pairs")


def value_and_interval(run: RunSummary, name: str) -> str:
    """A scalar with its 95 % interval, or its range, where it has one."""
    value, known = scalar(name, run.scalars.get(name)), interval(run, name)
    return f"{value} ({known})" if known else value


def title(run: RunSummary) -> str:
    """Network and data set."""
    return network_on_data(run.experiment, run.manifest)


def split(run: RunSummary) -> str:
    """Which images the survey used: the adjective."""
    return "training" if run.experiment.landscape.split == "train" else "test"


def grid(surface: Surface) -> str:
    """Size and extent of a grid."""
    across = f"x from {coordinate(surface.x[0])} to {coordinate(surface.x[-1])}"
    if len(surface.y) == 1:
        return f"{len(surface.x)} points, {across}"
    return (
        f"{len(surface.x)} × {len(surface.y)} points, {across}, y from {coordinate(surface.y[0])} to"
        f" {coordinate(surface.y[-1])}"
    )


def evaluation(run: RunSummary) -> str:
    """What was evaluated, and how."""
    landscape = run.experiment.landscape
    return (
        f"{objective(run)} of {run.samples} {split(run)} {sample_noun(run)}. {directions(landscape)};"
        f" BatchNorm statistics {_STATISTICS[landscape.batch_norm]}. {' '.join(run.result.notes)}".strip()
    )


def objective(run: RunSummary) -> str:
    """The loss, averaged."""
    loss = run.experiment.loss
    return {"cross-entropy": "Mean cross-entropy", "mse": "Mean squared error"}.get(
        loss, f"Mean of {loss.removeprefix(IN_PROCESS).strip()}"
    )


def sample_noun(run: RunSummary) -> str:
    """What a sample is."""
    if run.manifest.tasks:
        return f"samples of {run.experiment.landscape.task or 'all tasks'}"
    return "samples" if run.experiment.data.holds_tensors else "images"


def directions(landscape: Landscape) -> str:
    """What spans the plane, and how it is scaled."""
    kind = _DIRECTIONS[landscape.directions].format(networks=" and ".join(landscape.networks))
    if landscape.directions in ("networks", "trajectory"):
        return f"{kind}, all parameters"
    moved = (
        "biases and BatchNorm parameters stay"
        if landscape.ignore_bias_and_norm
        else "biases and BatchNorm parameters move too"
    )
    return f"{kind}, {_NORMALIZATIONS[landscape.normalization]}; {moved}"


def tally(surface: Surface, scale: Scale) -> str:
    """How many points lie beyond the ends of the scale, and how many have no finite loss."""
    number = counts(surface, scale)
    kinds = {"NaN": number.nan, "infinite": number.infinite, "not evaluated": number.missing}
    holes = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    beyond = f"{number.below} below and {number.above} above the scale, drawn at its ends"
    interpolated = int(surface.interpolated.sum())
    between = f", {interpolated} of them interpolated" if interpolated else ""
    return f"{beyond}; without a finite loss: {holes or 'none'}, of {number.points} points{between}."


def guess(run: RunSummary) -> str:
    """The loss of guessing uniformly, as a formula; empty where that means nothing."""
    if run.guessing_loss is None:
        return ""
    if run.manifest.tasks:
        return f"{run.guessing_loss:.3f}, the mean of ln C over the samples, C the classes of a sample's task"
    return f"ln {len(run.manifest.classes)} = {run.guessing_loss:.3f}"


def markers(surface: Surface) -> str:
    """Where the lowest point is."""
    place = lowest(surface)
    if place is None:
        return "the lowest point (no loss is finite)"
    return f"the lowest point, {place.loss:.4g} at ({coordinate(place.x)}, {coordinate(place.y)})"


def contour_caption(run: RunSummary, scale: Scale) -> str:
    """The caption of the map."""
    thick = f"the thick line is {guess(run)} and " if run.guessing_loss is not None else ""
    return (
        f"{evaluation(run)} {scale.text} {grid(run.plane)}; {tally(run.plane, scale)}"
        f" {map_legend(scale, bool(thick))} Here {thick}the ring {markers(run.plane)}."
        f"{networks(run)}{trails(run)}"
    )


def networks(run: RunSummary) -> str:
    """What the diamonds on a map are; empty where there are none."""
    named = " and ".join(f"{name} at ({x:g}, {y:g})" for name, x, y in run.networks)
    return f" Diamonds: the networks of {named}." if named else ""


def trails(run: RunSummary) -> str:
    """What the paths on a map are; empty where there are none."""
    result = run.result
    if not result.trails:
        return ""
    kind = "checkpoints" if all(trail.checkpoints for trail in result.trails) else "snapshots"
    labels = [trail.label for trail in result.trails if trail.label]
    whose = f" of {', '.join(labels)}" if labels else " of the path of training"
    return (
        f" Joined dots: {kind}{whose}, projected onto the plane, which holds"
        f" {100 * sum(result.explained):.1f} % of the squared length."
    )


def surface_caption(run: RunSummary, scale: Scale) -> str:
    """The caption of the three-dimensional picture."""
    return f"{evaluation(run)} {scale.text} {grid(run.plane)}; {tally(run.plane, scale)} {facets(scale)}"


def page_caption(run: RunSummary, scale: Scale) -> str:
    """What is particular to one run's surface and map on an interactive page."""
    thick = f" Thick line: {guess(run)}." if run.guessing_loss is not None else ""
    return (
        f"{evaluation(run)} {grid(run.plane)}; {tally(run.plane, scale)}{thick} Ring: {markers(run.plane)}."
        f"{networks(run)}{trails(run)}"
    )


def line_caption(run: RunSummary, line: Surface) -> str:
    """The caption of the line profile."""
    dashed = "" if run.guessing_loss is None else f"Dashed: {guess(run)}, uniform guessing. "
    beyond = profile_axis([run], run.pictures).beyond
    outside = f" {beyond} lie beyond the axis." if beyond else ""
    return (
        f"{evaluation(run)} {grid(line)}, along the first direction; {int((~line.finite).sum())} have no"
        f" finite loss and are shaded.{outside} Band: 1.96 standard errors of the mean over the"
        f" {sample_noun(run)}, on either side. {dashed}Dotted: the trained network."
    )


def line_key(run: RunSummary) -> str:
    """What the lines of the profile are."""
    dashed = "" if run.guessing_loss is None else " Dashed: uniform guessing."
    return f"Band: 1.96 standard errors on either side.{dashed} Dotted: the trained network."


def epochs_caption(runs: Sequence[RunSummary]) -> str:
    """The caption of the learning curves; imported networks have none."""
    return " ".join(_epochs_sentence(run) for run in runs if run.experiment.training)


def _epochs_sentence(run: RunSummary) -> str:
    noun = "samples" if run.manifest.tasks else "images"
    train, test = run.manifest.count("train"), run.manifest.count("test")
    return f"{run.run}: {len(run.epochs)} epochs, {train} training and {test} test {noun}."


def origin(run: RunSummary) -> str:
    """Where the weights come from."""
    model, training = run.experiment.model, run.experiment.training
    if training:
        return f"trained for {training.epochs} epochs"
    if isinstance(model, Imported) and model.weights:
        return f"imported from {model.weights.rpartition('/')[2]} (SHA-256 {str(model.weights_sha256)[:12]}…)"
    if isinstance(model, Imported) and model.in_process:
        return f"handed over in Python (SHA-256 of the weights {str(model.weights_sha256)[:12]}…)"
    return "imported with the weights that its factory gives it"


def network_source(run: RunSummary) -> str:
    """What an imported network was made of, whole."""
    model = run.experiment.model
    if not isinstance(model, Imported):
        return ""
    parts = [model.factory if model.in_process else f"{model.factory}({_arguments(model)})"]
    if model.source_sha256 and not model.in_process:
        parts.append(f"source and what it imports, SHA-256 {model.source_sha256}")
    if model.weights_sha256:
        place = f"from {model.weights}" if model.weights else "as they were"
        place += f" under {model.weights_key}" if model.weights_key else ""
        parts.append(f"weights {place}, SHA-256 {model.weights_sha256}")
    return "; ".join(parts) + "."


def _arguments(model: Imported) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in model.arguments.items())


def classes(run: RunSummary) -> str:
    """The classes by name, where they are not too many."""
    names = run.manifest.classes
    if run.manifest.tasks:
        return f"Tasks: {', '.join(_task(task) for task in run.manifest.tasks)}."
    imported = isinstance(run.experiment.model, Imported)
    if not names or (imported and run.scalars.get("train_error") is None):
        return "The targets are no classes."
    if len(names) > MOST_CLASSES:
        return f"{len(names)} classes, {names[0]} to {names[-1]}."
    return f"Classes: {', '.join(names)}."


def _task(task: PackedTask) -> str:
    samples = f"{task.train_count} training and {task.test_count} test samples"
    return f"{task.name} ({samples}, {len(task.classes)} classes)"


def sentence(run: RunSummary) -> str:
    """One sentence: what the page shows."""
    plane = run.plane
    points = str(plane.loss.size)
    if plane.interpolated.any():
        points = f"{plane.evaluated.sum()} of {plane.loss.size}"
    kind = _PLANES[run.experiment.landscape.directions]
    return (
        f"The {split(run)} loss of {title(run)}, {origin(run)}, at {points} points of {kind} through its"
        " weights."
    )
