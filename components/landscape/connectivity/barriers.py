"""Loss and error along a path between two networks, and the barrier that separates its ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from lossmap.components.core.estimates import Estimate
from lossmap.components.core.randomness import stream

Array = NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True)
class Profile:
    """Loss and error along a path, on one set of samples.

    Attributes:
        t: (T,) from 0 to 1, both included.
        loss: (T,) float64, over the samples; NaN and infinity stay what they are.
        error: (T,) share of wrong answers; NaN where there are no classes or labels.
        loss_standard_error: (T,) over the samples (objective.SampleMean).
        error_standard_error: (T,) of the error.
        group_losses: (T, G) mean over each group of samples of what they add to the loss, the same groups at
            all points (Samples.groups).
        group_errors: (T, G) the same of the error.
        loss_weights: (G,) how much each group counts in the loss, on average 1.
        error_weights: (G,) the same of the error.
    """

    t: Array
    loss: Array
    error: Array
    loss_standard_error: Array
    error_standard_error: Array
    group_losses: Array
    group_errors: Array
    loss_weights: Array
    error_weights: Array


class PathMaximum(Estimate):
    """The maximum of a function along a path, which may be infinite, with its 95 % interval over other
    samples of the same kind.

    Attributes:
        low: lower end of the interval.
        high: its upper end.
        t: where on the path the maximum is.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    low: float
    high: float
    t: float


def barrier(profile: Profile, quantity: Literal["loss", "error"] = "loss") -> PathMaximum | None:
    """max over t of f(t) - ((1-t) f(0) + t f(1)) (Entezari et al. 2022, section 2), at least 0 since t = 0
    and 1 take part.

    Infinite where f is NaN or infinite anywhere on the path; None for the error where there are no classes.
    The interval holds 95 % of what resampled groups of samples give, the maximum taken again in each; the
    value lies in it.
    """
    return _maximum(profile, quantity, _over_the_chord)


def largest_rise(profile: Profile, quantity: Literal["loss", "error"] = "loss") -> PathMaximum | None:
    """max over s <= t of f(t) - f(s): how far f is from falling all the way at t (Lucas et al. 2021,
    Delta-monotonicity).
    """
    return _maximum(profile, quantity, _rise)


def _maximum(
    profile: Profile, quantity: str, function: Callable[[Array, Array], Array]
) -> PathMaximum | None:
    """The maximum over the path of a function of (t, values), for all samples and for 1000 resamples of
    their groups, with one seed for all paths.
    """
    values, groups, weights = profile.loss, profile.group_losses, profile.loss_weights
    if quantity == "error":
        values, groups, weights = profile.error, profile.group_errors, profile.error_weights
    if quantity == "error" and np.isnan(values).all():
        return None
    heights = _heights(function, profile.t, values[:, None])[:, 0]
    count = groups.shape[1]
    shares = stream("path resamples", count).multinomial(count, np.full(count, 1 / count), _RESAMPLES) / count
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = _heights(function, profile.t, groups @ shares.T / (shares @ weights)).max(axis=0)
    low, high = np.quantile(resampled, (0.025, 0.975), method="inverted_cdf")
    value, place = float(heights.max()), int(heights.argmax())
    return PathMaximum(
        value=value, low=min(value, float(low)), high=max(value, float(high)), t=float(profile.t[place])
    )


def _heights(function: Callable[[Array, Array], Array], t: Array, values: Array) -> Array:
    """The function of values (T, B), infinite from where on they are NaN or infinite."""
    with np.errstate(invalid="ignore"):
        heights = function(t, values)
    finite: Array = np.where(np.isfinite(heights), heights, np.inf)
    return finite


def _over_the_chord(t: Array, values: Array) -> Array:
    chord: Array = np.outer(1 - t, values[0]) + np.outer(t, values[-1])
    return values - chord


def _rise(t: Array, values: Array) -> Array:
    return values - np.minimum.accumulate(values, axis=0)
