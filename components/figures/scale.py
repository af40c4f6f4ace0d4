"""The scale of heights and colours of losses, and the colours of curves."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Kind = Literal["log", "linear", "symlog"]

COLOUR_MAP = "viridis"  # rises evenly in lightness: readable in grey and with every common colour blindness
CONFIDENCE = 1.96  # standard errors on each side of a mean that hold 95 % of normal errors
# Tol's bright scheme and two more
COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee7733",
    "#999999",
)
# of paths, apart from each other on a map and on white
_TRAILS = ("#ee6677", "#ff9933", "#cc77ee", "#55bbee", "#b8860b", "#999999")
READABLE_IN_WHITE = math.log10(500) / 4  # of the scale, above which the colours are too light for white lines
_APART = 0.06  # of a scale: its labels do not lie on each other
_DEEPEST = 1e-10  # of the least loss on a logarithmic scale: how far below it a loss can be told
STEPS = (1.0, 2.0, 5.0)
_NAMES = {"log": "Logarithmic", "linear": "Linear", "symlog": "Symmetric logarithmic"}


@dataclass(frozen=True)
class Scale:
    """Heights and colours of losses from `low` to `high`. A loss beyond them takes an end's.

    Attributes:
        kind: log: log10(loss). linear: the loss. symlog: asinh(loss / width) / ln 10, which is about linear
            within ± width and logarithmic on either side.
        low: loss at the lower end.
        high: at the upper end.
        width: of the linear part of a symmetric logarithm.
        origin: where the scale comes from, in words.
        beyond: whether losses of the surfaces lie below, and above it.
    """

    kind: Kind
    low: float
    high: float
    width: float = 1.0
    origin: str = field(default="the same for all runs", compare=False)
    beyond: tuple[bool, bool] = field(default=(True, True), compare=False)

    def heights(self, loss: ArrayLike) -> Array:
        """Losses as they are, in units of the scale. On a logarithmic one all losses that are not positive
        lie equally deep below its lower end.
        """
        values = np.asarray(loss, dtype=float)
        if self.kind == "log":
            return np.asarray(np.log10(np.maximum(values, max(_DEEPEST * self.low, sys.float_info.min))))
        if self.kind == "symlog":
            return np.asarray(np.arcsinh(values / self.width) / math.log(10))
        return values

    def losses(self, heights: ArrayLike) -> Array:
        """The inverse of `heights`."""
        values = np.asarray(heights, dtype=float)
        if self.kind == "log":
            return np.asarray(10.0**values)
        if self.kind == "symlog":
            return np.asarray(np.sinh(values * math.log(10)) * self.width)
        return values

    def height(self, loss: float) -> float:
        """Of one loss."""
        return float(self.heights(loss))

    @property
    def ends(self) -> tuple[float, float]:
        """The heights of both ends."""
        return self.height(self.low), self.height(self.high)

    def clip(self, loss: ArrayLike) -> Array:
        """Losses moved onto the scale."""
        return np.asarray(np.clip(np.asarray(loss, dtype=float), self.low, self.high))

    def position(self, heights: ArrayLike) -> Array:
        """Heights as shares of the way from the lower to the upper end."""
        low, high = self.ends
        return (np.asarray(heights, dtype=float) - low) / (high - low)

    @property
    def text(self) -> str:
        """Kind, limits and origin in a sentence."""
        kind = _NAMES[self.kind]
        part = f" (about linear within ±{label(self.width)})" if self.kind == "symlog" else ""
        return f"{kind} scale{part} from {label(self.low)} to {label(self.high)}, {self.origin}."

    @property
    def name(self) -> str:
        """Of what lines between points interpolate linearly."""
        return {"log": "log loss", "linear": "loss", "symlog": "height on the scale"}[self.kind]

    def ticks(self) -> list[float]:
        """Losses that are labelled: powers of ten, or steps of 1, 2 and 5 where the scale is short."""
        if self.kind == "linear":
            return self._even(6)
        if self.kind == "log" and self.high < 100 * self.low:
            return self._factors(STEPS)
        powers = self._factors((1.0,))
        skip, apart = -(-len(powers) // 8), _APART * (self.ends[1] - self.ends[0])
        return [
            power
            for power in powers
            if power == 0 or (round(math.log10(abs(power))) % skip == 0 and self._is_apart(power, apart))
        ]

    def _is_apart(self, loss: float, distance: float) -> bool:
        """Whether a tick is legible beside that of 0."""
        return self.kind == "log" or abs(self.height(loss)) >= distance

    def levels(self) -> list[list[float]]:
        """Losses at which there are lines, in groups of evenly spaced heights: 1, 2 and 5 times powers of ten
        of a logarithm of up to six decades, else powers of ten; even steps of a linear scale.
        """
        if self.kind == "linear":
            return [self._even(12)]
        if self.kind == "symlog":
            return [[level] for level in self._factors((1.0,))]
        steps = STEPS if self.high <= 1.001e6 * self.low else (1.0,)
        groups = [self._factors((step,)) for step in steps]
        return [group for group in groups if group]

    @property
    def step(self) -> float:
        """Between the lines of a linear scale."""
        lines = self._even(12)
        return float(f"{lines[1] - lines[0]:.6g}") if len(lines) > 1 else 0.0

    def _even(self, most: int) -> list[float]:
        found = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(tick) for tick in found if self.low - slack <= tick <= self.high + slack]

    def _factors(self, factors: Sequence[float]) -> list[float]:
        """Multiples of powers of ten on the scale, and of a symmetric one their opposites, and 0."""
        largest = max(abs(self.low), abs(self.high))
        least = self.low if self.kind == "log" else self.width
        powers = range(math.floor(math.log10(least)), math.floor(math.log10(largest)) + 1)
        found = sorted(factor * 10.0**power for power in powers for factor in factors)
        if self.kind == "symlog":
            found = [*(-level for level in reversed(found)), 0.0, *found]
        return [level for level in found if self._holds(level)]

    def _holds(self, loss: float) -> bool:
        slack = 1e-9 * max(abs(self.low), abs(self.high)) if self.kind == "linear" else 1e-3 * abs(loss)
        return self.low - slack <= loss <= self.high + slack


USUAL = Scale("log", 0.01, 100.0)  # of cross-entropies, and of all that lies where they do


def label(loss: float) -> str:
    """A loss as it stands at a tick."""
    short = f"{loss:g}"
    text = short if math.isclose(float(short), loss, rel_tol=1e-14) else f"{loss:.15g}"
    text = text.replace("-", "\N{MINUS SIGN}", int(loss < 0))
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}e{int(power)}" if exponent else text


def trail_colour(number: int) -> str:
    """Of one of the paths on a plane."""
    return _TRAILS[number % len(_TRAILS)]
