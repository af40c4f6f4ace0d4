"""The lesson: the slides' storyline with this study's surfaces and numbers, as one HTML file that needs no
network.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from plotly import graph_objects as go

from lossmap.components.figures.frame import Frame, frame
from lossmap.components.figures.pages import render
from lossmap.components.figures.run import captions
from lossmap.components.figures.run.interactive import height_axis, surface_figure
from lossmap.components.figures.run.summary import RunSummary, common_pictures
from lossmap.components.figures.study import tables
from lossmap.components.figures.study.figures import distribution_figure, dots_figure, height, mean_caption
from lossmap.components.figures.study.lesson import CHAPTERS, LAST_CHAPTER, OPEN_QUESTIONS, Chapter, shows
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


def lesson_cells(summary: StudySummary) -> list[Cell]:
    """Those whose surfaces the lesson shows: of the first seed, at the factors' first levels, in the order
    of the networks.
    """
    networks = list(summary.study.networks)
    cells = summary.measurements.first_cells(summary.measurements.levels[0])
    return sorted(cells, key=lambda cell: networks.index(cell.network))


def lesson_page(summary: StudySummary, runs: Mapping[str, RunSummary]) -> str:
    """The lesson.

    Args:
        summary: of the study.
        runs: the finished runs of `lesson_cells`, by network.
    """
    sections = [_section(summary, chapter, runs) for chapter in CHAPTERS]
    losses = [sample for sample in _first_level_samples(summary, tables.FINAL_LOSS) if sample.values]
    limits = _limits(list(runs.values())) if runs else None
    figures = _figures(summary, runs, limits, losses)
    return render(
        "lesson.html",
        figures,
        height_axis(limits) if limits else None,
        summary=summary,
        study=summary.study,
        tables=tables,
        captions=captions,
        sections=[section for section in sections if section.runs],
        absent=[section.chapter.title for section in sections if not section.runs],
        last_chapter=LAST_CHAPTER,
        open_questions=OPEN_QUESTIONS,
        losses=losses,
        height=height,
        mean_caption=mean_caption,
        scale=limits.scale if limits else None,
        has_distribution="distribution" in figures,
    )


def _limits(runs: list[RunSummary]) -> Frame:
    """On one scale: the one that is set, where it is the same in all runs."""
    return frame([run.plane for run in runs], common_pictures(runs))


def _figures(
    summary: StudySummary, runs: Mapping[str, RunSummary], limits: Frame | None, losses: list[Sample]
) -> dict[str, go.Figure]:
    figures = {}
    if limits:
        figures = {f"surface-{network}": surface_figure(run, limits) for network, run in runs.items()}
    if losses:
        figures["losses"] = dots_figure(losses)
    if samples := final_losses(summary):
        figures["distribution"] = distribution_figure(samples)
    return figures


def _section(summary: StudySummary, chapter: Chapter, runs: Mapping[str, RunSummary]) -> Section:
    shown = {network: run for network, run in runs.items() if shows(chapter, run.experiment)}
    table = {}
    for measure in ("parameters", *summary.study.measures):
        samples = [sample for sample in _first_level_samples(summary, measure) if sample.network in shown]
        if any(sample.values for sample in samples):
            table[measure] = samples
    verdicts = [verdict for verdict in summary.verdicts if verdict.statement.network in shown]
    return Section(chapter, shown, table, verdicts, _commands(summary, shown))


def _commands(summary: StudySummary, shown: Mapping[str, RunSummary]) -> list[str]:
    study, levels = summary.study, summary.measurements.levels[0]
    commands = [tables.run_command(study, network, levels, study.first_seed) for network in shown]
    if len(shown) > 1:
        commands.append(tables.compare_command(run.run for run in shown.values()))
    return commands


def _first_level_samples(summary: StudySummary, measure: str) -> list[Sample]:
    levels = summary.measurements.levels[0]
    return [summary.measurements.sample(network, levels, measure) for network in summary.study.networks]
