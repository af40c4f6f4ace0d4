"""Mean and deviation of pixels."""

import numpy as np
from numpy.typing import NDArray

_PART = 2**23  # pixels of a channel that are counted at once
# of a channel that is the same everywhere: one grey level, so that it can be divided by
_LEAST_DEVIATION = 1 / 255
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def channel_statistics(pixels: NDArray[np.uint8]) -> Statistics:
    """Mean and deviation by channel of pixels / 255, exactly, from the counts of the 256 levels."""
    # bincount makes eight bytes of each pixel
    size = max(1, _PART // max(1, pixels[0, 0].size))
    parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
    counts = np.stack(
        [
            sum(np.bincount(part[:, channel].ravel(), minlength=256) for part in parts)
            for channel in range(pixels.shape[1])
        ]
    )
    levels = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    deviation = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total)
    return tuple(mean.tolist()), tuple(np.maximum(deviation, _LEAST_DEVIATION).tolist())
