"""What a survey in Python found: numbers, arrays, pictures."""

import atexit
import base64
import functools
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from lossmap.components.core.errors import LossmapError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mpl_toolkits.mplot3d.axes3d import Axes3D

    from lossmap.components.figures.run.summary import RunSummary
    from lossmap.components.landscape.grid import Surface

_SHOWN = {
    "train_loss": "loss of the training samples",
    "test_loss": "loss of the test samples",
    "train_error": "wrong answers, training",
    "test_error": "wrong answers, test",
    "floor": "least loss on the plane",
    "ceiling": "greatest loss on the plane",
    "basin_fraction": "share of the plane with less loss than by guessing",
    "line_convex_fraction": "share of the line where it is convex",
    "parameters": "weights",
}
_SHARES = ("train_error", "test_error", "basin_fraction", "line_convex_fraction")


@dataclass(frozen=True)
class Survey:
    """A finished survey. In a notebook it shows itself.

    Attributes:
        run: its name, for `lossmap compare` and the other commands where the store is kept.
        scalars: the numbers that runs are compared by; None where one does not exist.
        page: the report: one HTML file, its path or its URI.
        store: where everything is; a temporary folder until Python ends where none was named.
    """

    run: str
    scalars: Mapping[str, float | None]
    page: str
    store: str

    @property
    def plane(self) -> "Surface":
        """x (X,), y (Y,), and loss, error, loss_standard_error (Y, X): one row for each y."""
        return self.planes[0]

    @property
    def planes(self) -> "tuple[Surface, ...]":
        """Of every pair of directions; the first is drawn."""
        return self._summary.result.planes

    @property
    def line(self) -> "Surface":
        """x (X,), and loss, error, loss_standard_error (1, X), along the first direction.

        Raises:
            LossmapError: none was surveyed.
        """
        if not self.lines:
            raise LossmapError(
                f"{self.run} has no line, expected landscape.line to be an axis; survey it with one"
            )
        return self.lines[0]

    @property
    def lines(self) -> "tuple[Surface, ...]":
        """Of every pair of directions; empty where landscape.line is None."""
        return self._summary.result.lines

    def plot(self, ax: "Axes | None" = None, *, colorbar: bool = True) -> "Axes":
        """Draw the plane from above, on matplotlib axes, else on the current ones; returns them."""
        from matplotlib import pyplot

        from lossmap.components.figures.frame import frame
        from lossmap.components.figures.run.panels import draw_map
        from lossmap.components.figures.run.plots import colour_bar

        axes = pyplot.gca() if ax is None else ax
        limits = frame([self.plane], self._summary.pictures)
        draw_map(axes, self._summary, limits)
        figure = axes.get_figure(root=True)
        if colorbar and figure:
            colour_bar(figure, [axes], limits.scale)
        return axes

    def plot_surface(self, ax: "Axes3D | None" = None) -> "Axes3D":
        """Draw the plane in perspective, on axes with projection="3d", else on new ones; returns them."""
        from matplotlib import pyplot

        from lossmap.components.figures.frame import frame
        from lossmap.components.figures.run.panels import draw_surface

        axes = pyplot.figure().add_subplot(projection="3d") if ax is None else ax
        draw_surface(axes, self._summary, frame([self.plane], self._summary.pictures))
        return axes

    def plot_line(
        self, ax: "Axes | None" = None, *, color: str | None = None, label: str | None = None
    ) -> "Axes":
        """Draw the loss along the first direction with its 95 % band, on axes, else on the current ones;
        returns them.
        """
        from matplotlib import pyplot

        from lossmap.components.figures.axis import use_axis
        from lossmap.components.figures.run.panels import draw_profile
        from lossmap.components.figures.run.summary import profile_axis
        from lossmap.components.figures.scale import COLOURS

        axes = pyplot.gca() if ax is None else ax
        draw_profile(axes, None, self.line, color or COLOURS[0], label)
        use_axis(axes, profile_axis([self._summary], self._summary.pictures))
        axes.set(xlabel="first direction", ylabel="loss")
        return axes

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._run.store.read(layout.report(self.run, "contour.png"))).decode()
        known = ((text, name, self.scalars.get(name)) for name, text in _SHOWN.items())
        rows = "".join(
            f"<tr><th style='text-align:left'>{text}</th><td>{_text(name, value)}</td></tr>"
            for text, name, value in known
            if value is not None
        )
        return (
            f"<div><b>{escape(self.run)}</b><br><img alt='loss on the plane' style='max-width:560px'"
            f" src='data:image/png;base64,{picture}'><table>{rows}</table>"
            f"<code>{escape(self.page)}</code></div>"
        )

    @property
    def _run(self) -> Run:
        return Run(open_store(self.store), self.run)

    @cached_property
    def _summary(self) -> "RunSummary":
        from lossmap.components.figures.run.report import summarize_run

        return summarize_run(self._run)


def _text(name: str, value: float) -> str:
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:,.0f}" if name == "parameters" else f"{value:.3g}"


@functools.cache
def temporary_store() -> str:
    """A folder that all surveys of this process share, so that they find what others evaluated; it is removed
    when the process ends.
    """
    folder = tempfile.mkdtemp(prefix="lossmap-")
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # not where the process was forked
        shutil.rmtree(folder, ignore_errors=True)
