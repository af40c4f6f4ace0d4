"""The page of a study: one HTML file that needs no network."""

from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lossmap.components.figures.pages import TEMPLATES, as_json, script_json
from lossmap.components.figures.study import tables
from lossmap.components.figures.study.figures import distribution_figure, dots_figure, height, is_logarithmic
from lossmap.components.studies.samples import BARRIER, Sample
from lossmap.components.studies.summary import StudySummary

FEWEST_FOR_DISTRIBUTION = 5


def study_page(summary: StudySummary) -> str:
    """Verdicts, every run of every measure, comparisons, connections, what is missing, and how to redo it."""
    measures = {
        measure: [sample for sample in summary.found.samples(measure) if sample.values]
        for measure in summary.study.measures
    }
    paths = {
        name: [sample for sample in summary.found.samples(BARRIER + name) if sample.values]
        for name in tables.paths(summary.found)
    }
    losses = final_losses(summary)
    return TEMPLATES.get_template("study.html").render(
        summary=summary,
        study=summary.study,
        tables=tables,
        measures=measures,
        paths=paths,
        losses=losses,
        height=height,
        is_logarithmic=is_logarithmic,
        figures=script_json(
            {
                "figures": {
                    name: as_json(figure)
                    for name, figure in _figures(summary, measures, paths, losses).items()
                },
                "heights": {},
            }
        ),
        plotly=Markup(get_plotlyjs()),
    )


def final_losses(summary: StudySummary) -> list[Sample]:
    """The training loss at the end of training, where there are enough seeds to speak of a distribution."""
    return [
        sample
        for sample in summary.found.samples(tables.FINAL_LOSS)
        if len(sample.values) >= FEWEST_FOR_DISTRIBUTION
    ]


def _figures(
    summary: StudySummary,
    measures: dict[str, list[Sample]],
    paths: dict[str, list[Sample]],
    losses: list[Sample],
) -> dict[str, Any]:
    figures = {
        f"measure-{index}": dots_figure(samples) for index, samples in enumerate(measures.values()) if samples
    }
    figures |= {
        f"path-{index}": dots_figure(samples, tables.threshold(summary.found))
        for index, samples in enumerate(paths.values())
        if samples
    }
    return figures | ({"distribution": distribution_figure(losses)} if losses else {})
