"""The axis of losses along lines, in pictures."""

import numpy as np
from matplotlib.axes import Axes

from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.scale import label


def use_axis(axes: Axes, axis: CurveAxis) -> None:
    """Draw losses on an axis of this kind, with these ends."""
    scale = axis.scale
    if scale.kind == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: label(value))
        axes.yaxis.set_minor_formatter(lambda value, _: _minor_label(axes, value))
    elif scale.kind == "symlog":
        axes.set_yscale("function", functions=(scale.heights, scale.losses))
        axes.set_yticks(scale.ticks(), [label(tick) for tick in scale.ticks()])
    axes.set_ylim(*scale.losses(axis.ends()))


def _minor_label(axes: Axes, value: float) -> str:
    """Label of a tick that is no power of ten: all on a short axis, 2 and 5 on a longer one, none where
    there are decades enough.
    """
    low, high = axes.get_ylim()
    digit = round(value / 10 ** np.floor(np.log10(value)), 6)
    is_labelled = high < 4 * low or (high < 20 * low and digit in (2, 5))
    return label(value) if is_labelled else ""
