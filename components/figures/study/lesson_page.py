"""The lesson: the slides' storyline with this study's surfaces and numbers, as one HTML file that needs no
network.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lossmap.components.figures.pages import TEMPLATES, as_json, script_json
from lossmap.components.figures.run import captions
from lossmap.components.figures.run.interactive import height_axis, surface_figure
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.scale import frame
from lossmap.components.figures.study import tables
from lossmap.components.figures.study.figures import distribution_figure, dots_figure, height, is_logarithmic
from lossmap.components.figures.study.lesson import CHAPTERS, LAST, OPEN, Chapter, is_of
from lossmap.components.figures.study.page import final_losses
from lossmap.components.studies.cells import Cell
from lossmap.components.studies.samples import Sample
from lossmap.components.studies.summary import StudySummary
from lossmap.components.studies.verdicts import Verdict


@dataclass(frozen=True)
class Section:
    """A chapter with what the study found for it.

    Attributes:
        chapter: what is said.
        runs: by network, the run whose surface is shown.
        table: by measure, one sample for each of these networks.
        verdicts: on statements about these networks.
        commands: for each network, what makes its surface anew; then what shows them side by side.
    """

    chapter: Chapter
    runs: Mapping[str, RunSummary]
    table: Mapping[str, list[Sample]]
    verdicts: list[Verdict]
    commands: list[str]


def shown_cells(summary: StudySummary) -> list[Cell]:
    """Those whose surfaces the lesson shows: of the first seed, at the factors' first levels, in the order
    of the networks.
    """
    networks = list(summary.study.networks)
    return sorted(
        summary.found.first_cells(summary.found.levels[0]), key=lambda cell: networks.index(cell.network)
    )


def lesson_page(summary: StudySummary, runs: Mapping[str, RunSummary]) -> str:
    """The lesson.

    Args:
        summary: of the study.
        runs: the finished runs of `shown_cells`, by network.
    """
    sections = [_section(summary, chapter, runs) for chapter in CHAPTERS]
    kept = [section for section in sections if section.runs]
    limits = frame([run.plane for run in runs.values()]) if runs else None
    losses = [sample for sample in _of_first_levels(summary, tables.FINAL_LOSS) if sample.values]
    figures: dict[str, Any] = (
        {f"surface-{network}": surface_figure(run, limits) for network, run in runs.items()} if limits else {}
    )
    figures |= ({"losses": dots_figure(losses)} if losses else {}) | (
        {"distribution": distribution_figure(found)} if (found := final_losses(summary)) else {}
    )
    return TEMPLATES.get_template("lesson.html").render(
        summary=summary,
        study=summary.study,
        tables=tables,
        captions=captions,
        sections=kept,
        absent=[section.chapter.title for section in sections if not section.runs],
        last=LAST,
        open=OPEN,
        losses=losses,
        height=height,
        is_logarithmic=is_logarithmic,
        has_distribution="distribution" in figures,
        figures=script_json(
            {
                "figures": {name: as_json(figure) for name, figure in figures.items()},
                "heights": height_axis(limits) if limits else {},
            }
        ),
        plotly=Markup(get_plotlyjs()),
    )


def _section(summary: StudySummary, chapter: Chapter, runs: Mapping[str, RunSummary]) -> Section:
    ours = {network: run for network, run in runs.items() if is_of(chapter, run.experiment)}
    commands = [
        tables.redo_run(summary.found, network, summary.found.levels[0], summary.study.first_seed)
        for network in ours
    ]
    commands += (
        [shlex.join(["lossmap", "compare", *(run.run for run in ours.values())])] if len(ours) > 1 else []
    )
    table = {
        measure: [sample for sample in _of_first_levels(summary, measure) if sample.network in ours]
        for measure in ("parameters", *summary.study.measures)
    }
    known = {
        measure: samples for measure, samples in table.items() if any(sample.values for sample in samples)
    }
    return Section(
        chapter, ours, known, [each for each in summary.verdicts if each.statement.network in ours], commands
    )


def _of_first_levels(summary: StudySummary, measure: str) -> list[Sample]:
    return [
        summary.found.sample(network, summary.found.levels[0], measure) for network in summary.study.networks
    ]
