"""Offline HTML: one page for a run, one for several runs side by side. Whatever comes from a run is
escaped.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lossmap.components.core.errors import LossmapError
from lossmap.components.figures import numbers
from lossmap.components.figures.pages import TEMPLATES, as_json, script_json
from lossmap.components.figures.run import captions, details
from lossmap.components.figures.run import sentences as findings
from lossmap.components.figures.run.interactive import (
    epochs_figure,
    height_axis,
    map_figure,
    profile_figure,
    surface_figure,
)
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.scale import COLOURS, Frame, frame

TEMPLATES.filters["label"] = numbers.label
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
        run=run,
        cards=cards,
        sentence=captions.sentence(run),
        yaml=run.experiment.to_yaml(),
    )


def comparison_page(runs: Sequence[RunSummary]) -> str:
    """Several runs side by side on one scale, with cameras that turn together, as one HTML file that needs
    no network.
    """
    if not runs:
        raise LossmapError("no run to compare, expected at least one; name the runs")
    differences = differing_fields(runs)
    unlike = [name for name in _SURVEYED_ALIKE if name in differences]
    return _render("comparison.html", runs, differences=differences, unlike=unlike)


def differing_fields(runs: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Fields of the experiments that are not the same in all runs: dotted name to one text for each run."""
    flat = [
        dict(_fields(run.experiment.model_dump(mode="json"))) | {"data set digest": run.manifest.digest[:12]}
        for run in runs
    ]
    names = dict.fromkeys(name for fields in flat for name in fields)
    table = {name: [fields.get(name, numbers.ABSENT) for fields in flat] for name in names}
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def _fields(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                "none" if inner is None else json.dumps(inner) if isinstance(inner, list) else str(inner),
            )


def _render(template: str, runs: Sequence[RunSummary], **values: Any) -> str:
    limits = frame([run.plane for run in runs])
    names = dict.fromkeys(
        name for run in runs for name in run.scalars if not name.endswith(("_low", "_high"))
    )
    scalars = [(name, [captions.with_interval(run, name) for run in runs]) for name in names]
    return TEMPLATES.get_template(template).render(
        runs=runs,
        scalars=scalars,
        captions=captions,
        numbers=numbers,
        findings=findings,
        colours=COLOURS,
        has_line=any(run.line is not None for run in runs),
        has_epochs=any(run.epochs for run in runs),
        figures=script_json({"figures": _figures(runs, limits), "heights": height_axis(limits)}),
        plotly=Markup(get_plotlyjs()),
        **values,
    )


def _figures(runs: Sequence[RunSummary], limits: Frame) -> dict[str, Any]:
    """Every figure by the id of the element that it is drawn into."""
    found = _details(runs[0]) if len(runs) == 1 else {}
    found |= {f"surface-{index}": surface_figure(run, limits) for index, run in enumerate(runs)}
    found |= {f"map-{index}": map_figure(run, limits) for index, run in enumerate(runs)}
    if any(run.epochs for run in runs):
        found |= {f"epochs-{quantity}": epochs_figure(runs, quantity) for quantity in ("loss", "error")}
    if any(run.line is not None for run in runs):
        found |= {f"profile-{quantity}": profile_figure(runs, quantity) for quantity in ("loss", "error")}
    return {name: as_json(figure) for name, figure in found.items()}


def _details(run: RunSummary) -> dict[str, Any]:
    """What only the page of a single run shows."""
    survey = run.found
    figures: dict[str, Any] = {}
    if survey.trajectory:
        figures |= {
            "trajectory-loss": details.trajectory_figure(survey.trajectory),
            "trajectory-distance": details.distance_figure(survey.trajectory),
        }
    if survey.convexity:
        figures["convexity"] = details.convexity_figure(survey.convexity)
    if survey.curvature and survey.curvature.density:
        figures["spectrum"] = details.spectrum_figure(survey.curvature.density)
    if survey.curvature:
        figures["layers"] = details.layers_figure(survey.curvature)
    return figures
