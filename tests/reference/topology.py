"""The merge tree straight from its definition: label every sublevel set."""

import numpy as np
from scipy import ndimage


def persistences(heights):
    """(row, column) to persistence: the lowest level at which a point's component of {height <= level} holds
    a lower point, minus its height.

    Of equal heights the one that is read first is the lower. Zero persistence (every point that is no
    minimum) is left out.
    """
    points = [tuple(point) for point in np.argwhere(np.isfinite(heights)).tolist()]
    points.sort(key=lambda point: (heights[point], point))
    result = dict.fromkeys(points, np.inf)
    for level in sorted({heights[point] for point in points}, reverse=True):
        labels, _ = ndimage.label(np.isfinite(heights) & (heights <= level), structure=np.ones((3, 3)))
        for place, point in enumerate(points):
            if labels[point] and any(labels[lower] == labels[point] for lower in points[:place]):
                result[point] = level - heights[point]
    return {point: value for point, value in result.items() if value > 0}


def centre_component(inside, row, column):
    """The points inside that are reached from one point by steps to four neighbours, by a stack."""
    reached, stack = np.zeros_like(inside), [(row, column)]
    while stack:
        i, j = stack.pop()
        if 0 <= i < inside.shape[0] and 0 <= j < inside.shape[1] and inside[i, j] and not reached[i, j]:
            reached[i, j] = True
            stack += [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    return reached
