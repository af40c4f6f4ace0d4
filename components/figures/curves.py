"""The axis of losses along lines: its scale, and what of it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.choice import curve_scale
from lossmap.components.figures.scale import Array, Scale, label

ROOM = 0.05  # of the axis, at both ends
_DEEPEST_BAND = 3.0  # times below the least loss that a band is followed on a logarithmic axis
_BELOW = 1e-6  # of the least loss that is shown: outside of any picture


@dataclass(frozen=True)
class CurveAxis:
    """An axis of losses.

    Attributes:
        scale: its kind; its limits where losses lie beyond them, which are stragglers.
        low: the least loss that is shown.
        high: the greatest one.
        beyond: how many losses are not shown.
        open_below: whether something goes on below a logarithmic axis: a band, or a loss, that is not
            positive.
    """

    scale: Scale
    low: float
    high: float
    beyond: int
    open_below: bool

    @classmethod
    def of(
        cls,
        curves: Sequence[Array],
        halves: Sequence[Array] = (),
        marks: Sequence[float] = (),
        pictures: Pictures | None = None,
        wide: bool = True,
    ) -> "CurveAxis":
        """The axis of curves with bands of these half widths, and of single losses that are marked.

        Args:
            curves: losses; what is not finite has no place.
            halves: of the bands, one for each curve, or none.
            marks: losses at which there is a line across.
            pictures: settings of the scale.
            wide: as in `curve_scale`.
        """
        scale = curve_scale(curves, pictures, wide)
        losses = _finite(curves)
        if not losses.size:
            return cls(scale, scale.low, scale.high, 0, False)
        limits = (scale.low, scale.high)
        kept = losses[(losses >= limits[0]) & (losses <= limits[1])]
        fixed = bool(pictures and pictures.limits)
        bands = [curve - half for curve, half in zip(curves, halves, strict=False)]
        bands += [curve + half for curve, half in zip(curves, halves, strict=False)]
        shown = np.concatenate([kept, _finite(bands), np.asarray(marks, dtype=float)])
        is_open = scale.kind == "log" and bool((losses <= 0).any() or (shown <= 0).any())
        if scale.kind == "log":
            shown = np.maximum(shown, kept.min() / _DEEPEST_BAND if kept.size else limits[0])
        if fixed or not kept.size:
            shown = np.array(limits)
        elif kept.size < losses.size:
            shown = np.clip(shown, *limits)
        low, high = float(shown.min()), float(shown.max())
        return cls(scale, low, high, losses.size - kept.size, is_open)

    def ends(self) -> tuple[float, float]:
        """The heights of the axis' ends, with some room beyond what is shown, but none below 0."""
        low, high = self.scale.height(self.low), self.scale.height(self.high)
        room = ROOM * (high - low) or ROOM * (abs(high) or 1.0)
        is_zero = self.scale.kind == "linear" and low == 0
        return (0.0 if is_zero else low - room), high + room

    def place(self, losses: Array) -> Array:
        """Where plotly draws losses: on a symmetric logarithm at their heights; on a logarithmic axis what is
        not positive far below it, where plotly would leave a gap.
        """
        if self.scale.kind == "log":
            return np.where(losses <= 0, _BELOW * self.low, losses)
        return self.scale.heights(losses) if self.scale.kind == "symlog" else np.asarray(losses)

    def layout(self) -> dict[str, Any]:
        """The axis, as plotly describes it."""
        if self.scale.kind == "symlog":
            ticks = self.scale.ticks()
            places = {"tickvals": self.scale.heights(ticks).tolist(), "ticktext": [label(t) for t in ticks]}
            return {"type": "linear", "tickmode": "array", "range": self.ends(), **places}
        kind: dict[str, Any] = {"type": self.scale.kind, "exponentformat": "none"}
        if not 1e-4 <= abs(self.low) <= self.high < 1e6:
            kind["exponentformat"] = "e"
        if self.scale.kind == "log" and self.high < 1e6 * self.low:
            kind["dtick"] = "D2"
        if self.open_below or self.beyond:
            kind["range"] = self.ends()
        return kind


def _finite(arrays: Sequence[Array]) -> Array:
    values = np.concatenate([np.asarray(array, dtype=float).ravel() for array in (*arrays, np.array([]))])
    finite: Array = values[np.isfinite(values)]
    return finite
