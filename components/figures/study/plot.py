"""The picture of a measure in all runs of a study, for papers."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from lossmap.components.figures import numbers
from lossmap.components.figures.pictures import figure_with_caption, house_style, png
from lossmap.components.figures.study.figures import (
    colours,
    drawn_interval,
    is_logarithmic,
    mean_caption,
    offsets,
)
from lossmap.components.studies.samples import Sample


def measure_dots(samples: Sequence[Sample], title: str) -> bytes:
    """A row for each sample: a dot for each run, a diamond for their mean with its 95 % interval, as a PNG
    file.
    """
    measure, logarithmic = samples[0].measure, is_logarithmic(samples)
    percent = numbers.is_share(measure) and not logarithmic
    with house_style():
        figure = figure_with_caption(7.2, 1.3 + 0.3 * len(samples), _caption(samples), title)
        axes = figure.add_subplot()
        _draw_rows(axes, samples, factor=100 if percent else 1)
        axes.set(yticks=range(len(samples)), xscale="log" if logarithmic else "linear")
        axes.set_xlabel(f"{numbers.label(measure)}, percent" if percent else numbers.label(measure))
        axes.set_yticklabels([sample.label for sample in samples])
        axes.set_ylim(len(samples) - 0.4, -0.6)
        return png(figure)


def _draw_rows(axes: Axes, samples: Sequence[Sample], factor: int) -> None:
    palette = colours(samples)
    for row, sample in enumerate(samples):
        axes.scatter(
            [factor * value for value in sample.values],
            [row + offset for offset in offsets(len(sample.values))],
            s=16,
            color=palette[sample.network],
            alpha=0.75,
            linewidths=0,
        )
        if bounds := drawn_interval(sample, samples):
            drawn = [factor * end for end in bounds]
            axes.plot(drawn, [row, row], color="#888888", linewidth=1.2, zorder=1)
        mean = factor * (sample.mean or 0.0)
        axes.plot([mean], [row], "D", color="white", markeredgecolor="#555555", markersize=5)


def _caption(samples: Sequence[Sample]) -> str:
    sizes = sorted({len(sample.values) for sample in samples})
    runs = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"Dots: runs that differ in nothing but the seed, {runs} in each row. {mean_caption(samples)}"
