"""Pictures of runs as PNG files: equal runs give equal bytes on one version of matplotlib."""

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lossmap.components.config.errors import LossmapError
from lossmap.components.figures import words
from lossmap.components.figures.panels import TICKS, draw_epochs, draw_map, draw_profile, draw_surface, mappable, use_log_scale
from lossmap.components.figures.run import RunSummary
from lossmap.components.figures.scale import COLOURS, Frame, frame
from lossmap.components.landscape.grid import Surface

DOTS_PER_INCH = 160
COLUMNS = 4  # runs side by side before the next row begins
STYLE = {
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "lines.linewidth": 1.5,
}


def contour(run: RunSummary) -> bytes:
    """The plane from above."""
    with styled():
        figure = captioned(7.2, 5.9, words.contour_caption(run), words.title(run))
        axes = figure.add_subplot()
        draw_map(axes, run, frame([run.plane]))
        _colour_bar(figure, [axes])
        return png(figure)


def surface(run: RunSummary) -> bytes:
    """The plane in perspective."""
    with styled():
        figure = captioned(7.2, 5.2, words.surface_caption(run), words.title(run))
        axes = figure.add_subplot(projection="3d")
        draw_surface(axes, run, frame([run.plane]))
        _colour_bar(figure, [axes])
        return png(figure)


def learning_curves(run: RunSummary) -> bytes:
    """Loss, error and learning rate over epochs."""
    with styled():
        figure = captioned(9.6, 3.4, words.epochs_caption([run]), words.title(run))
        loss, error, rate = figure.subplots(1, 3)
        for axes, quantity, text in ((loss, "loss", "loss"), (error, "error", "error, percent")):
            draw_epochs(axes, run, quantity)
            axes.set(xlabel="epoch", ylabel=text)
        loss.legend()
        use_log_scale(loss, [entry.get(name, np.nan) for entry in run.epochs for name in ("train_loss", "test_loss")])
        error.set_ylim(bottom=0)
        rate.plot([entry["epoch"] for entry in run.epochs], [entry.get("learning_rate", np.nan) for entry in run.epochs], color="#555555")
        rate.set(xlabel="epoch", ylabel="learning rate")
        rate.set_ylim(bottom=0)
        return png(figure)


def line_profile(run: RunSummary) -> bytes:
    """Loss and error along the first direction."""
    if run.line is None:
        raise LossmapError(f"run {run.run} has no line, expected one for a profile; set landscape.line in the experiment and survey again")
    with styled():
        figure = captioned(7.2, 5.2, words.line_caption(run, run.line), words.title(run))
        loss, error = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        draw_profile(loss, error, run.line, COLOURS[0])
        _finish_profile(loss, error, [run.line], [run.guessing_loss])
        return png(figure)


def comparison(runs: Sequence[RunSummary]) -> bytes:
    """Surfaces in perspective, and below each its map, for several runs on one scale."""
    if not runs:
        raise LossmapError("no run to compare, expected at least one; name the runs")
    limits = frame([run.plane for run in runs])
    columns = min(COLUMNS, len(runs))
    rows = -(-len(runs) // columns)
    with styled():
        figure = captioned(3.6 * columns + 1.2, 6.6 * rows, _comparison_caption(runs), None)
        maps = [axes for index, run in enumerate(runs) for axes in _draw_pair(figure, (2 * rows, columns), index, run, limits)]
        _colour_bar(figure, maps, shrink=0.5)
        return png(figure)


def _draw_pair(figure: Figure, shape: tuple[int, int], index: int, run: RunSummary, limits: Frame) -> list[Axes]:
    rows, columns = shape
    place = 2 * (index // columns) * columns + index % columns + 1
    above = figure.add_subplot(rows, columns, place, projection="3d")
    below = figure.add_subplot(rows, columns, place + columns)
    draw_surface(above, run, limits)
    draw_map(below, run, limits)
    above.set_title(textwrap.fill(words.title(run), 32), pad=16)
    above.text2D(0.5, 1.01, textwrap.shorten(run.run, 48), transform=above.transAxes, ha="center", fontsize=8, color="#555555")
    return [above, below]


def _comparison_caption(runs: Sequence[RunSummary]) -> str:
    """What all runs share is said once, what differs for each run by its name."""
    evaluations = {words.evaluation(run) for run in runs}
    shared = evaluations.pop() if len(evaluations) == 1 else ""
    each = [f"{run.run}: {'' if shared else words.evaluation(run) + ' '}{words.grid(run.plane)}; {words.tally(run.plane)}" for run in runs]
    return "\n".join([f"{shared} {words.SCALE} {words.FACETS} {words.MAP}".strip(), *each])


def _finish_profile(loss: Axes, error: Axes, lines: Sequence[Surface], guesses: Sequence[float | None]) -> None:
    use_log_scale(loss, *(line.loss for line in lines))
    for guess in {guess for guess in guesses if guess is not None}:
        loss.axhline(guess, color="#555555", linestyle="--", linewidth=1)
    for axes in (loss, error):
        axes.axvline(0, color="#555555", linestyle=":", linewidth=1)
    low, high = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    loss.set(ylabel="loss", xlim=(low, high))
    error.set(xlabel="first direction", ylabel="error, percent")
    error.set_ylim(bottom=0)


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user's own settings are. A letter that the font lacks is a box, not a warning."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def captioned(width: float, height: float, caption: str, title: str | None) -> Figure:
    """A figure of `height` inches above its caption."""
    text = "\n".join(textwrap.fill(line, int(width * 17)) for line in caption.split("\n"))
    foot = 0.165 * (text.count("\n") + 1) + 0.15
    figure = Figure(figsize=(width, height + foot), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    share = foot / (height + foot)
    figure.set_layout_engine("constrained", rect=(0.01, share, 0.98, 1 - share - 0.01))
    figure.text(0.12 / width, share - 0.05 / (height + foot), text, va="top", fontsize=7.5, color="#333333", linespacing=1.3, in_layout=False)
    if title:
        figure.suptitle(title, fontweight="bold", fontsize=12)
    return figure


def _colour_bar(figure: Figure, axes: Sequence[Axes], shrink: float = 0.72) -> None:
    bar = figure.colorbar(mappable(), ax=list(axes), extend="both", shrink=shrink, aspect=28, pad=0.04)
    bar.set_ticks(TICKS, labels=[f"{tick:g}" for tick in TICKS])
    bar.set_label("loss")
    bar.outline.set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
