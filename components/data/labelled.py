"""Labelled images in memory, or in a temporary file where they are many."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.manifest import Split


@dataclass(frozen=True)
class Labelled:
    """Images of one split: `pixels` uint8 N x C x H x W, `labels` int64 N."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Both splits, and the names of the classes that the labels count. What else is known of a folder is as
    in the manifest.
    """

    classes: tuple[str, ...]
    splits: dict[Split, Labelled]
    class_order: str | None = None
    passed_over: dict[str, int] | None = None
    notes: tuple[str, ...] = ()
