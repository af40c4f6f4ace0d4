"""The whole of a still: networks side by side on one scale, above a caption that says how they were made."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lossmap.components.config.pictures import Pictures
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.figures.export.stored import StoredSurface
from lossmap.components.figures.frame import FEWEST_FOR_LINES, Frame, frame
from lossmap.components.figures.pictures import house_style
from lossmap.components.figures.still.caption import brief, caption, titles
from lossmap.components.figures.still.panel import HEIGHT, Panel, draw, extent
from lossmap.components.figures.still.relief import FACETS, FRONT, Box, Relief, View
from lossmap.components.figures.still.style import Size, Style

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)

_COLUMNS = 4
_FINER = 2  # times as many dots are drawn as are kept: edges of the sheet are smooth
_VECTOR: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "lossmap", "pdf.fonttype": 42}
_DATES: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_LABELS, _EDGE = 5.2, 1.2  # letters to the left of a strip with and without losses
_AFTER = 2.8  # letters to the right of what is drawn
_BELOW, _ABOVE = 4.4, 0.6  # letters below and above what is drawn
_TITLE = 1.5  # height of a line of a title, in its letters
_LINE = 1.36  # of the caption


@dataclass(frozen=True)
class Still:
    """A picture of one or several surfaces.

    Attributes:
        drawn: the surfaces, in order.
        style: colours and letters.
        size: of the picture.
        pictures: how the loss is drawn; without it as in the experiments, where these agree.
        facets: along the longer side of a sheet, about.
    """

    drawn: Sequence[StoredSurface]
    style: Style
    size: Size
    pictures: Pictures | None = None
    facets: int = FACETS

    def __post_init__(self) -> None:
        for each in self.drawn:
            if min(each.surface.loss.shape) < FEWEST_FOR_LINES or not each.surface.finite.any():
                raise LossmapError(
                    f"{each.about.run} has no surface to draw: {each.surface.loss.shape[1]} x"
                    f" {each.surface.loss.shape[0]} points, {int(each.surface.finite.sum())} of them finite;"
                    " expected a plane"
                )

    @cached_property
    def frame(self) -> Frame:
        """What the surfaces share."""
        settings = {each.about.pictures for each in self.drawn}
        agreed = settings.pop() if len(settings) == 1 else None
        return frame([each.surface for each in self.drawn], self.pictures or agreed)

    @cached_property
    def box(self) -> Box:
        """Where they are drawn."""
        return Box(self.frame, HEIGHT)

    @cached_property
    def reliefs(self) -> list[Relief]:
        """The surfaces as sheets."""
        return [Relief.of(each.surface, self.box, self.facets) for each in self.drawn]

    @property
    def caption(self) -> str:
        """How the picture was made."""
        return caption(self.drawn, self.frame.scale)

    @property
    def legend(self) -> str:
        """What of that stands in the picture."""
        return brief(self.drawn, self.frame.scale) if self.style.brief else self.caption

    def file(self, form: Format) -> bytes:
        """The picture as a file: PNG by the style's dots, or SVG or PDF, in which letters are letters, lines
        are lines and only the lit sheet is made of dots.
        """
        with house_style(), matplotlib.rc_context(_VECTOR):
            figure = self.figure()
            buffer, dots = io.BytesIO(), _FINER * self.style.dots
            about = {"Title": "; ".join(titles(self.drawn))}
            if form != "png":
                key = {"svg": "Description", "pdf": "Subject"}[form]
                metadata = {**about, key: self.caption, **_DATES[form]}
                figure.savefig(buffer, format=form, dpi=dots, metadata=metadata)
                return buffer.getvalue()
            information = PngInfo()
            for name, text in {**about, "Description": self.caption}.items():
                information.add_itxt(name, text)
            self.pixels(figure, self.style.dots).save(
                buffer, format="png", dpi=(self.style.dots, self.style.dots), pnginfo=information
            )
            return buffer.getvalue()

    @staticmethod
    def pixels(figure: Figure, dots: int) -> Image.Image:
        """A figure as pixels, with smooth edges."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_FINER * dots)
        image = Image.open(buffer).convert("RGB")
        return image.resize((image.width // _FINER, image.height // _FINER), Image.Resampling.LANCZOS)

    def figure(self, view: View = FRONT, turning: bool = False) -> Figure:
        """The picture, to be drawn in the house's style.

        Args:
            view: from where.
            turning: whether it is one of several from all around, which have one layout.
        """
        layout = _Layout(self, view, turning)
        figure = Figure(figsize=(layout.width, layout.height), facecolor=self.style.paper)
        FigureCanvasAgg(figure)
        for index, (each, title) in enumerate(zip(self.drawn, titles(self.drawn), strict=True)):
            left, bottom, width, height = layout.place(index)
            axes = figure.add_axes(
                (
                    left / layout.width,
                    bottom / layout.height,
                    width / layout.width,
                    height / layout.height,
                )
            )
            panel = Panel(axes, self.box, view, self.style, layout.letter, index % layout.columns == 0)
            draw(panel, each, self.reliefs[index])
            (low, foot), (high, head) = layout.least, layout.greatest
            axes.set(
                xlim=(low - layout.beside(index), high + layout.after),
                ylim=(foot - layout.below, head + layout.above),
            )
            figure.text(
                (left + width - (high - low + 2 * layout.after) * layout.unit / 2) / layout.width,
                (bottom + height) / layout.height,
                layout.wrapped(title),
                color=self.style.ink,
                fontsize=self.style.letters,
                fontweight="bold",
                ha="center",
                va="bottom",
                linespacing=1.15,
            )
        figure.text(
            layout.margin / layout.width,
            (layout.foot - 0.5 * layout.margin) / layout.height,
            layout.caption,
            color=self.style.faint,
            fontsize=self.style.small,
            va="top",
            linespacing=1.25,
        )
        return figure


class _Layout:
    """Where everything is, in inches; and how long they are in the box's units."""

    def __init__(self, still: Still, view: View, turning: bool):
        style, count = still.style, len(still.drawn)
        self.columns = min(_COLUMNS, count)
        self.rows = -(-count // self.columns)
        self.width = still.size.width
        self.margin = 0.9 * style.small / 72
        letters = int((self.width - 2 * self.margin) * 72 / (0.545 * style.small))
        self.caption = "\n".join(textwrap.fill(line, letters) for line in still.legend.split("\n"))
        lines = self.caption.count("\n") + 1
        self.foot = lines * _LINE * style.small / 72 + 1.4 * self.margin
        self._titles, self._style = titles(still.drawn), style
        self.least, self.greatest = extent(still.box, view, None if turning else still.reliefs)
        self._across, self._upright = map(float, self.greatest - self.least)
        self.unit = self._fitting(still.size.height)
        self.height = still.size.height or self.foot + self.rows * self._row + self.margin
        if self.unit <= 0:
            raise ExperimentError(
                f"--size leaves no room for {count} networks above {lines} lines of caption, expected a"
                " greater height"
            )
        self._left = (self.width - self._columns_width) / 2

    @property
    def letter(self) -> float:
        """Height of small letters, in the box's units."""
        return self._style.small / 72 / self.unit

    @property
    def below(self) -> float:
        """Room for ticks and names below what is drawn."""
        return _BELOW * self.letter

    @property
    def above(self) -> float:
        """Room for the name of the strip above what is drawn."""
        return _ABOVE * self.letter

    @property
    def after(self) -> float:
        """Room for the name of an axis to the right of what is drawn."""
        return _AFTER * self.letter

    def beside(self, index: int) -> float:
        """Room to the left of what is drawn of a panel: for the strip, and for losses beside the first of a
        row.
        """
        return 0.11 + self.letter * (_LABELS if index % self.columns == 0 else _EDGE)

    def place(self, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of a panel's axes."""
        row, column = divmod(index, self.columns)
        left = self._left + sum(self._panel_width(before) for before in range(column))
        bottom = self.height - self.margin - (row + 1) * self._row
        return left, bottom, self._panel_width(column), self._panel_height

    def wrapped(self, title: str) -> str:
        """A title in as many lines as it needs."""
        letters = int(self._panel_width(1 if self.columns > 1 else 0) * 72 / (0.62 * self._style.letters))
        return textwrap.fill(title, max(letters, 12))

    def _panel_width(self, column: int) -> float:
        return (self.beside(column) + self._across + self.after) * self.unit

    @property
    def _columns_width(self) -> float:
        return sum(self._panel_width(column) for column in range(self.columns))

    @property
    def _panel_height(self) -> float:
        return (self.below + self._upright + self.above) * self.unit

    @property
    def _row(self) -> float:
        """Height of a panel with its title."""
        lines = max(self.wrapped(title).count("\n") + 1 for title in self._titles)
        return self._panel_height + lines * _TITLE * self._style.letters / 72

    def _fitting(self, height: float | None) -> float:
        """Inches of a unit of the box."""
        small = self._style.small / 72
        letters = self.columns * _AFTER + _LABELS + (self.columns - 1) * _EDGE
        wide = (self.width - 2 * self.margin - letters * small) / (self.columns * (self._across + 0.11))
        if height is None:
            return wide
        self.unit = wide
        lines = max(self.wrapped(title).count("\n") + 1 for title in self._titles)
        fixed = (_BELOW + _ABOVE) * small + lines * _TITLE * self._style.letters / 72
        tall = ((height - self.foot - self.margin) / self.rows - fixed) / self._upright
        return min(wide, tall)
