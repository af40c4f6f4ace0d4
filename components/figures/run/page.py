"""Offline HTML: one page for a run, one for several runs side by side. Whatever comes from a run is
escaped.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plotly import graph_objects as go

from lossmap.components.config.pictures import Pictures
from lossmap.components.core.errors import LossmapError
from lossmap.components.core.estimates import ENDS
from lossmap.components.figures import numbers
from lossmap.components.figures.frame import Frame, frame
from lossmap.components.figures.pages import render
from lossmap.components.figures.run import captions, details, sentences
from lossmap.components.figures.run.interactive import height_axis, map_figure, surface_figure
from lossmap.components.figures.run.interactive_curves import epochs_figure, profile_figure
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.scale import COLOURS, trail_colour

_QUANTITIES = ("loss", "error")
_SURVEYED_ALIKE = (
    "landscape.split",
    "landscape.samples",
    "landscape.normalization",
    "landscape.ignore_bias_and_norm",
    "landscape.batch_norm",
    "data set digest",
)


def run_page(run: RunSummary) -> str:
    """Everything about one run as one HTML file that needs no network."""
    cards = [
        (numbers.label(name), numbers.scalar(name, run.scalars[name]), captions.interval(run, name))
        for name in captions.CARDS
        if run.scalars.get(name) is not None
    ]
    return _render(
        "run.html",
        [run],
        run.pictures,
        run=run,
        cards=cards,
        sentence=captions.sentence(run),
        yaml=run.experiment.to_yaml(),
    )


def comparison_page(runs: Sequence[RunSummary], pictures: Pictures | None = None) -> str:
    """Several runs side by side on one scale, with cameras that turn together, as one HTML file that needs
    no network.
    """
    if not runs:
        raise LossmapError("no run to compare, expected at least one; name the runs")
    differences = differing_fields(runs)
    unlike = [name for name in _SURVEYED_ALIKE if name in differences]
    return _render("comparison.html", runs, pictures, differences=differences, unlike=unlike)


def differing_fields(runs: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Fields of the experiments that are not the same in all runs: dotted name to one text for each run."""
    flat = [_run_fields(run) for run in runs]
    names = dict.fromkeys(name for fields in flat for name in fields)
    table = {}
    for name in names:
        values = [fields.get(name, numbers.ABSENT) for fields in flat]
        if len(set(values)) > 1:
            table[name] = values
    return table


def _run_fields(run: RunSummary) -> dict[str, str]:
    settings = dict(_fields(run.experiment.model_dump(mode="json")))
    return settings | {"data set digest": run.manifest.digest[:12]}


def _fields(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _text(inner)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return json.dumps(value) if isinstance(value, list) else str(value)


def _render(template: str, runs: Sequence[RunSummary], pictures: Pictures | None, **values: Any) -> str:
    limits = frame([run.plane for run in runs], pictures)
    every = dict.fromkeys(name for run in runs for name in run.scalars)
    names = [name for name in every if not name.endswith(tuple(f"_{end}" for end in ENDS))]
    scalars = [(name, _row(runs, name)) for name in names]
    return render(
        template,
        _figures(runs, limits, pictures),
        height_axis(limits),
        scale=limits.scale,
        guesses=any(run.guessing_loss is not None for run in runs),
        runs=runs,
        scalars=scalars,
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


def has_line_errors(runs: Sequence[RunSummary]) -> bool:
    """Whether some run has errors along its line."""
    return any(run.line is not None and run.line.has_errors for run in runs)


def _row(runs: Sequence[RunSummary], name: str) -> list[str]:
    return [captions.value_and_interval(run, name) for run in runs]


def _figures(runs: Sequence[RunSummary], limits: Frame, pictures: Pictures | None) -> dict[str, go.Figure]:
    """Every figure by the id of the element that it is drawn into."""
    figures = _details(runs[0]) if len(runs) == 1 else {}
    for index, run in enumerate(runs):
        figures[f"surface-{index}"] = surface_figure(run, limits)
    for index, run in enumerate(runs):
        figures[f"map-{index}"] = map_figure(run, limits)
    if any(run.epochs for run in runs):
        figures |= {f"epochs-{quantity}": epochs_figure(runs, quantity) for quantity in _QUANTITIES}
    if any(run.line is not None for run in runs):
        figures["profile-loss"] = profile_figure(runs, "loss", pictures)
    if has_line_errors(runs):
        figures["profile-error"] = profile_figure(runs, "error", pictures)
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
