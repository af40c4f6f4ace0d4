"""The picture of a measure in all runs of a study, for papers."""

from collections.abc import Sequence

from lossmap.components.figures import numbers
from lossmap.components.figures.pictures import captioned, png, styled
from lossmap.components.figures.study.figures import colours, is_logarithmic, lifts, mean_interval, reach
from lossmap.components.studies.samples import Sample


def measure_dots(samples: Sequence[Sample], title: str) -> bytes:
    """A row for each sample: a dot for each run, a diamond for their mean with its 95 % interval, as a PNG
    file.
    """
    chosen, limits, measure = colours(samples), reach(samples), samples[0].measure
    factor = 100 if numbers.is_share(measure) and not is_logarithmic(samples) else 1
    with styled():
        figure = captioned(7.2, 1.3 + 0.3 * len(samples), _caption(samples), title)
        axes = figure.add_subplot()
        for row, sample in enumerate(samples):
            scaled = [factor * value for value in sample.values]
            axes.scatter(
                scaled,
                [row + lift for lift in lifts(len(scaled))],
                s=16,
                color=chosen[sample.network],
                alpha=0.75,
                linewidths=0,
            )
            if ends := mean_interval(sample):
                axes.plot(
                    [factor * min(max(end, limits[0]), limits[1]) for end in ends],
                    [row, row],
                    color="#888888",
                    linewidth=1.2,
                    zorder=1,
                )
            axes.plot(
                [factor * (sample.mean or 0.0)],
                [row],
                "D",
                color="white",
                markeredgecolor="#555555",
                markersize=5,
            )
        axes.set(
            yticks=range(len(samples)),
            xscale="log" if is_logarithmic(samples) else "linear",
            xlabel=numbers.label(measure) + (", percent" if factor > 1 else ""),
        )
        axes.set_yticklabels([sample.label for sample in samples])
        axes.set_ylim(len(samples) - 0.4, -0.6)
        return png(figure)


def _caption(samples: Sequence[Sample]) -> str:
    counts = sorted({len(sample.values) for sample in samples})
    runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    cut = (
        " Logarithmic axis; intervals are cut at half the least and twice the greatest value."
        if is_logarithmic(samples)
        else ""
    )
    return (
        f"Dots: runs that differ in nothing but the seed, {runs} in each row. Diamonds: their means; bars: 95"
        f" % intervals of the means (Student's t).{cut}"
    )
