"""What is told about a point when a reader points at it."""

from typing import Any

import numpy as np

from lossmap.components.figures.scale import CONFIDENCE
from lossmap.components.landscape.grid import Surface

_LOSS = "loss %{customdata[0]:.4g} ± %{customdata[1]:.2g}"
_ERROR = "<br>error %{customdata[2]:.2%}"
_LEAST_FLOAT32, _GREATEST_FLOAT32 = 1e-37, 1e38


def point_details(surface: Surface) -> Any:
    """What is told about a point, (Y, X, 3): loss, half the width of its 95 % interval, error. As float32,
    where that holds all losses.
    """
    layers = np.stack([surface.loss, CONFIDENCE * surface.loss_standard_error, surface.error], axis=-1)
    known = np.where(surface.finite[..., None], layers, np.nan)
    sizes = np.abs(known[np.isfinite(known) & (known != 0)])
    fits = not sizes.size or (sizes.min() > _LEAST_FLOAT32 and sizes.max() < _GREATEST_FLOAT32)
    return known.astype(np.float32 if fits else np.float64)


def point_text(surface: Surface) -> str:
    """What of a point's details is told: no error where there are no classes."""
    return _LOSS if not surface.has_errors else f"{_LOSS}{_ERROR}"
