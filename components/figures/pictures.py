"""What every picture has in common: style, caption, PNG bytes."""

import io
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DOTS_PER_INCH = 160
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


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user's own settings are. A letter that the font lacks
    is a box, not a warning.
    """
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def figure_with_caption(width: float, height: float, caption: str, title: str | None) -> Figure:
    """A figure of `height` inches above its caption."""
    text = "\n".join(textwrap.fill(line, int(width * 17)) for line in caption.split("\n"))
    foot = 0.165 * (text.count("\n") + 1) + 0.15
    figure = Figure(figsize=(width, height + foot), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    share = foot / (height + foot)
    figure.set_layout_engine("constrained", rect=(0.01, share, 0.98, 1 - share - 0.01))
    figure.text(
        0.12 / width,
        share - 0.05 / (height + foot),
        text,
        va="top",
        fontsize=7.5,
        color="#333333",
        linespacing=1.3,
        in_layout=False,
    )
    if title:
        figure.suptitle(title, fontweight="bold", fontsize=12)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
