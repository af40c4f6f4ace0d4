"""The page of a run, as one HTML file that needs no network. Whatever comes from a run is escaped."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from plotly import graph_objects as go

from lossmap.components.config.pictures import Pictures
from lossmap.components.core.serialization import as_csv
from lossmap.components.figures import numbers, themes
from lossmap.components.figures.frame import FEWEST_FOR_LINES, Frame, frame
from lossmap.components.figures.pages import SharedScript, render
from lossmap.components.figures.run import captions, details, sentences
from lossmap.components.figures.run.interactive import height_axis, map_figure, surface_figure
from lossmap.components.figures.run.interactive_curves import (
    cut_heights,
    epochs_figure,
    profile_figure,
    slices_figure,
)
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.scale import COLOURS, trail_colour

_QUANTITIES = ("loss", "error")


def run_page(run: RunSummary, shared: SharedScript | None = None) -> str:
    """Everything about one run.

    Args:
        run: which.
        shared: where plotly is, if not in the page.
    """
    limits = frame([run.plane], run.pictures)
    figures = {"surface-0": surface_figure(run, limits), "map-0": map_figure(run, limits)}
    if has_slices(run):
        figures["slices"] = slices_figure(run)
    figures |= _curves([run], run.pictures) | _details(run)
    names = [name for name in run.scalars if not themes.is_bound(name)]
    return _render(
        "run.html",
        [run],
        limits,
        figures,
        shared,
        run=run,
        cuts=cut_heights(run) if has_slices(run) else [],
        has_slices=has_slices(run),
        centre=[int(np.abs(axis).argmin()) for axis in (run.plane.x, run.plane.y)],
        layers_height=details.layers_height(run.result.curvature) if run.result.curvature else 0,
        themes={"First of all": themes.ten(names)} | themes.by_theme(names),
        csv=f"data:text/csv;charset=utf-8,{quote(_csv(run))}",
        yaml=run.experiment.to_yaml(),
    )


def render_runs(
    template: str,
    runs: Sequence[RunSummary],
    pictures: Pictures | None,
    shared: SharedScript | None = None,
    **values: Any,
) -> str:
    """A page of several runs on one scale."""
    limits = frame([run.plane for run in runs], pictures)
    figures = {f"surface-{index}": surface_figure(run, limits) for index, run in enumerate(runs)}
    figures |= {f"map-{index}": map_figure(run, limits) for index, run in enumerate(runs)}
    figures |= _curves(runs, pictures)
    every = dict.fromkeys(name for run in runs for name in run.scalars)
    return _render(
        template,
        runs,
        limits,
        figures,
        shared,
        ten=_rows(runs, themes.ten(every)),
        themes={theme: _rows(runs, names) for theme, names in themes.by_theme(every).items()},
        **values,
    )


def has_slices(run: RunSummary) -> bool:
    """Whether the plane can be cut."""
    return bool(min(run.plane.loss.shape) >= FEWEST_FOR_LINES)


def has_line_errors(runs: Sequence[RunSummary]) -> bool:
    """Whether some run has errors along its line."""
    return any(run.line is not None and run.line.has_errors for run in runs)


def _render(
    template: str,
    runs: Sequence[RunSummary],
    limits: Frame,
    figures: dict[str, go.Figure],
    shared: SharedScript | None,
    **values: Any,
) -> str:
    return render(
        template,
        figures,
        height_axis(limits),
        shared,
        scale=limits.scale,
        guesses=any(run.guessing_loss is not None for run in runs),
        runs=runs,
        captions=captions,
        numbers=numbers,
        sentences=sentences,
        colours=COLOURS,
        trail_colour=trail_colour,
        has_line=any(run.line is not None for run in runs),
        has_line_errors=has_line_errors(runs),
        has_epochs=any(run.epochs for run in runs),
        **values,
    )


def _rows(runs: Sequence[RunSummary], names: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [(name, [captions.value_and_interval(run, name) for run in runs]) for name in names]


def _csv(run: RunSummary) -> str:
    """Every number, with all its digits."""
    return as_csv([{"quantity": name, "value": value} for name, value in run.scalars.items()])


def _curves(runs: Sequence[RunSummary], pictures: Pictures | None) -> dict[str, go.Figure]:
    """Curves along lines and over epochs, by the id of the element that they are drawn into."""
    figures: dict[str, go.Figure] = {}
    if any(run.line is not None for run in runs):
        figures["profile-loss"] = profile_figure(runs, "loss", pictures)
    if has_line_errors(runs):
        figures["profile-error"] = profile_figure(runs, "error", pictures)
    if any(run.epochs for run in runs):
        figures |= {f"epochs-{quantity}": epochs_figure(runs, quantity) for quantity in _QUANTITIES}
    return figures


def _details(run: RunSummary) -> dict[str, go.Figure]:
    """What only the page of a single run shows."""
    result = run.result
    figures: dict[str, go.Figure] = {}
    if result.trajectory:
        figures["trajectory-loss"] = details.trajectory_figure(result)
        figures["trajectory-distance"] = details.distance_figure(result)
    if result.convexity:
        figures["convexity"] = details.convexity_figure(result.convexity)
    if result.curvature and result.curvature.density:
        figures["spectrum"] = details.spectrum_figure(result.curvature.density)
    if result.curvature:
        figures["layers"] = details.layers_figure(result.curvature)
    return figures
