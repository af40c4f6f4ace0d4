"""The page of a study: one HTML file that needs no network."""

from plotly import graph_objects as go

from lossmap.components.figures.pages import render
from lossmap.components.figures.study import tables
from lossmap.components.figures.study.figures import distribution_figure, dots_figure, height, mean_caption
from lossmap.components.studies.samples import BARRIER, Sample
from lossmap.components.studies.summary import StudySummary

FEWEST_FOR_DISTRIBUTION = 5


def study_page(summary: StudySummary) -> str:
    """Verdicts, every run of every measure, comparisons, connections, what is missing, and how to redo it."""
    measures = measure_samples(summary)
    names = tables.paths(summary.measurements)
    paths = {name: samples_with_values(summary, BARRIER + name) for name in names}
    losses = final_losses(summary)
    return render(
        "study.html",
        _figures(summary, measures, paths, losses),
        summary=summary,
        study=summary.study,
        tables=tables,
        measures=measures,
        paths=paths,
        losses=losses,
        height=height,
        mean_caption=mean_caption,
    )


def measure_samples(summary: StudySummary) -> dict[str, list[Sample]]:
    """By measure of the study, the samples that have values."""
    return {measure: samples_with_values(summary, measure) for measure in summary.study.measures}


def samples_with_values(summary: StudySummary, measure: str) -> list[Sample]:
    """Of every network at all levels, as far as there are values."""
    return [sample for sample in summary.measurements.samples(measure) if sample.values]


def final_losses(summary: StudySummary) -> list[Sample]:
    """The training loss at the end of training, where there are enough seeds to speak of a distribution."""
    samples = summary.measurements.samples(tables.FINAL_LOSS)
    return [sample for sample in samples if len(sample.values) >= FEWEST_FOR_DISTRIBUTION]


def _figures(
    summary: StudySummary,
    measures: dict[str, list[Sample]],
    paths: dict[str, list[Sample]],
    losses: list[Sample],
) -> dict[str, go.Figure]:
    figures = {}
    for index, samples in enumerate(measures.values()):
        if samples:
            figures[f"measure-{index}"] = dots_figure(samples)
    for index, samples in enumerate(paths.values()):
        if samples:
            figures[f"path-{index}"] = dots_figure(samples, tables.threshold(summary.measurements))
    if losses:
        figures["distribution"] = distribution_figure(losses)
    return figures
