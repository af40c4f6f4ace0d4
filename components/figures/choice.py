"""Which scale losses need."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.scale import STEPS, USUAL, Array, Kind, Scale

_MOST = float(np.finfo(float).max)
_EQUAL = 1e-12  # times a loss: what is closer is equal, to rounding
_NEAR = 1e-8  # times a loss: what is closer has no logarithms to tell it apart
_SHORT = 1.2  # times the least loss: up to there an axis is linear
_FARTHEST = 1e307  # of a loss from 0, on a linear scale


def scale_of(surfaces: Sequence[Array], pictures: Pictures | None = None) -> Scale:
    """The one scale of the finite losses of several surfaces: as set, or as they need it.

    The usual one, logarithmic from 0.01 to 100, where all surfaces lie there: at least half of the points of
    each, no more than a tenth below, none negative, and not so close together that they would all have one
    colour. Else by the losses: logarithmic where they are not negative and differ by more than a factor of
    ten, linear where they do not or have both signs, symmetric logarithmic where a linear scale would give
    half of them less than a twentieth of its length. Limits hold all points but stragglers (`_span`).
    """
    asked = pictures or Pictures()
    losses = [values for values in surfaces if values.size]
    if asked.limits:
        losses = [np.clip(values, *asked.limits) for values in losses] or [np.array(asked.limits)]
    if not losses or (asked.are_usual and all(_is_usual(values) for values in losses)):
        return USUAL
    scale = _chosen(losses, asked)
    below = any((values < scale.low).any() for values in surfaces)
    above = any((values > scale.high).any() for values in surfaces)
    return replace(scale, beyond=(below, above))


def curve_scale(curves: Sequence[ArrayLike], pictures: Pictures | None = None, wide: bool = True) -> Scale:
    """The scale of an axis of losses along lines. `wide` asks for a logarithmic one wherever it is possible
    and losses differ by more than a fifth; else it is linear as long as a linear one shows more than
    the greatest values.
    """
    asked = pictures or Pictures()
    arrays = [np.asarray(curve, dtype=float).ravel() for curve in curves]
    losses = [values[np.isfinite(values)] for values in arrays if np.isfinite(values).any()]
    if not losses:
        return USUAL
    every = np.concatenate(losses)
    if asked.scale == "auto" and not _is_signed(every) and (every > 0).any():
        logarithmic = _is_skewed(every) or (wide and bool(every.max() > _SHORT * every.min()))
        asked = asked.model_copy(update={"scale": "log" if logarithmic else "linear"})
    return _chosen(losses, asked)


def _chosen(losses: Sequence[Array], asked: Pictures) -> Scale:
    every = np.concatenate(losses)
    kind, note = _kind(losses, asked)
    width = _width(every) if kind == "symlog" else 1.0
    low, high = asked.limits or _limits(losses, kind, width)
    origin = "as set" if asked.limits else f"by the losses shown{note}"
    return Scale(kind, low, high, width, origin)


def _kind(losses: Sequence[Array], asked: Pictures) -> tuple[Kind, str]:
    """The kind, and what has to be said where it is not the one that was asked for."""
    every = np.concatenate(losses)
    if asked.scale == "log" and not (every > 0).any():
        return _signed_kind(every), "; none is positive, so that it is not logarithmic as set"
    if asked.scale != "auto":
        return asked.scale, ""
    if _is_signed(every):
        return _signed_kind(every), ""
    positive = [values[values > 0] for values in losses if (values > 0).any()]
    if not positive or (asked.limits and asked.limits[0] <= 0):
        return "linear", ""
    least, length = every.min(), every.max() - every.min()
    if not asked.limits and _EQUAL * least < length < _NEAR * least:
        return "linear", ""
    low, high = asked.limits or _limits(positive, "log", 1.0)
    return ("log" if high >= 10 * low else "linear"), ""


def _signed_kind(losses: Array) -> Kind:
    return "symlog" if _is_skewed(losses) else "linear"


def _is_signed(losses: Array) -> bool:
    return bool((losses < 0).any())


def _is_skewed(losses: Array) -> bool:
    """Whether a linear scale would give half of the losses less than a twentieth of its length."""
    (low, high), middle = _span(losses, "linear"), float(np.median(losses))
    return min(middle - low, high - middle) < 0.05 * (high - low) and high > low


def _is_usual(losses: Array) -> bool:
    """Whether losses lie on the usual scale, and are told apart there."""
    below, above = float((losses < USUAL.low).mean()), float((losses > USUAL.high).mean())
    if _is_signed(losses) or below > 0.1 or below + above > 0.5:
        return False
    low, high = np.quantile(USUAL.heights(USUAL.clip(losses)), (0.02, 0.98))
    return bool(high - low >= 0.2 or losses.min() == losses.max())


def _width(losses: Array) -> float:
    """The power of ten at or below a quarter of the magnitudes: the others are told apart by their logarithm,
    and these by their difference.
    """
    magnitudes = np.abs(losses[losses != 0])
    return float(10.0 ** math.floor(math.log10(np.quantile(magnitudes, 0.25)))) if len(magnitudes) else 1.0


def _limits(losses: Sequence[Array], kind: Kind, width: float) -> tuple[float, float]:
    """Round numbers that hold every surface but for its stragglers."""
    scale = Scale(kind, 1.0, 2.0, width)
    if kind == "log":
        losses = [values[values > 0] for values in losses if (values > 0).any()]
        scale = Scale(kind, min(float(values.min()) for values in losses), math.inf)
    spans = [_usual_or(values, scale) for values in losses]
    low = float(scale.losses(min(span[0] for span in spans)))
    high = float(scale.losses(max(span[1] for span in spans)))
    return _rounded(low, high, kind)


def _usual_or(losses: Array, scale: Scale) -> tuple[float, float]:
    if scale.kind == "log" and _is_usual(losses) and losses.min() != losses.max():
        return scale.height(USUAL.low), scale.height(USUAL.high)
    return _span(scale.heights(losses), scale.kind)


def _span(heights: Array, kind: Kind) -> tuple[float, float]:
    """The least and the greatest height without stragglers.

    Where 2 % of the points lie below and 5 % above is the span that counts; each end goes on to the outermost
    point with which it is not more than three times as long, nor, on a logarithmic scale, more than six
    decades. A logarithm spans twenty decades at most, the lower ones.
    """
    heights = np.sort(heights)
    count = len(heights)
    low, high = heights[math.ceil(0.02 * (count - 1))], heights[math.floor(0.95 * (count - 1))]
    if high <= low or count < 5:
        low, high = heights[0], heights[-1]
    allowed = max(3 * (high - low), 6.0 if kind == "log" else 0.0)
    low = heights[heights >= high - allowed][0]
    high = heights[heights <= low + allowed][-1] if high - low <= allowed else high
    return float(low), float(min(high, low + 20) if kind == "log" else high)


def _rounded(low: float, high: float, kind: Kind) -> tuple[float, float]:
    if kind == "log":
        if high <= low * (1 + _EQUAL):
            low, high = low / 3, min(high, _FARTHEST) * 3
        return _step_below(low), -_step_below(-high)
    if high - low <= _EQUAL * max(abs(low), abs(high)):
        half = abs(low) / 10 or 1.0
        low, high = low - half, high + half
    low, high = max(low, -_FARTHEST), min(high, _FARTHEST)  # their difference is finite
    low = min(low, high / 2) if high == _FARTHEST else low
    if kind == "symlog":
        return _step_below(low), -_step_below(-high)
    step = _step_below((high - low) / 10)
    return _decimal(step * math.floor(low / step)), _decimal(step * math.ceil(high / step))


def _decimal(value: float) -> float:
    """Without the error of a multiplication: a limit is the number that it looks like."""
    return float(f"{value:.15g}")


def _step_below(value: float) -> float:
    """The greatest of 0 and ± 1, 2, 5 times powers of ten that is not above the value."""
    if value == 0:
        return 0.0
    power = math.floor(math.log10(min(abs(value), _MOST)))
    steps = [float(f"{step}e{power + shift}") for shift in (-1, 0, 1) for step in STEPS]
    if value > 0:
        return max(step for step in steps if step <= value)
    return -min([_MOST, *(step for step in steps if step >= min(-value, _MOST))])
