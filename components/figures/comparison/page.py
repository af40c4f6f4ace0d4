"""The page of several runs side by side, as one HTML file that needs no network."""

from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.comparison import sentences
from lossmap.components.figures.comparison.chart import chart_axes, chart_rows
from lossmap.components.figures.comparison.contrasts import Comparison
from lossmap.components.figures.comparison.settings import DATA_DIGEST, differing_fields
from lossmap.components.figures.pages import SharedScript
from lossmap.components.figures.run.page import render_runs

_SURVEYED_ALIKE = (
    "landscape.split",
    "landscape.samples",
    "landscape.normalization",
    "landscape.ignore_bias_and_norm",
    "landscape.batch_norm",
    DATA_DIGEST,
)


def comparison_page(
    comparison: Comparison,
    pictures: Pictures | None = None,
    shared: SharedScript | None = None,
    links: bool = False,
) -> str:
    """What runs differ in, and all of them side by side on one scale, with cameras that turn together.

    Args:
        comparison: of the runs.
        pictures: how the loss is drawn.
        shared: where plotly is, if not in the page.
        links: whether the page lies among the comparisons of the store that has the runs' reports, too.
    """
    differences = differing_fields(comparison.runs)
    return render_runs(
        "comparison.html",
        comparison.runs,
        pictures,
        shared,
        names=comparison.names,
        answer=sentences.answer(comparison),
        caveats=sentences.caveats(comparison),
        rows=chart_rows(comparison),
        axes=chart_axes(comparison),
        differences=differences,
        unlike=[name for name in _SURVEYED_ALIKE if name in differences],
        links=links,
    )
