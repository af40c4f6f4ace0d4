"""How much the loss rises close to the weights. There are many such numbers; each has a name of its own, and
none is the one.

f is the mean loss over the samples, w the n trainable parameters, d a displacement. None of these numbers is
known to tell how well a network generalises (Andriushchenko et al. 2023).
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from lossmap.components.config.scalars import support_of
from lossmap.components.core.estimates import Estimate, mean_estimate, student_estimate, with_further_error
from lossmap.components.core.frozen import Frozen
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.objective import Problem
from lossmap.components.landscape.parameters import Parameters, sample_losses, value_and_gradient

Array = NDArray[np.float64]
Kind = Literal["worst_case", "adaptive_worst_case", "average_case", "adaptive_average_case", "keskar_box"]

_STEP = 2.0  # in radii
_KESKAR_ITERATIONS = 10  # as in the paper


class Sharpness(Frozen):
    """A rise of the loss within a radius.

    Attributes:
        kind: which of this module's functions.
        radius: its radius.
        rise: with its 95 % interval: over the samples for fixed displacements, and, for averages, over the
            drawn displacements, too. None where the loss is not finite somewhere within.
        found: the rise that each start of a search led to, or each pair of draws; the greatest of a search is
            the rise.
    """

    kind: Kind
    radius: float
    rise: Estimate | None
    found: tuple[float, ...]


def worst_case(
    problem: Problem, radius: float, adaptive: bool = False, seed: int = 0, starts: int = 3, steps: int = 20
) -> Sharpness:
    """max f(w + d) - f(w) over |d| <= radius (Foret et al. 2021, equation 1); adaptive: over |d / |w|| <=
    radius (Kwon et al. 2021, equation 3).

    |.| is Euclidean, d / |w| element by element, so that parameters that are 0 stay. By projected gradient
    ascent: u <- projection of u + 2 radius g / |g| onto the ball, d = u or |w| u, g the derivative to u. The
    first start is at the centre, whose first step leads to SAM's own point radius g / |g|, the others are
    random on the sphere. What is found is a LOWER bound of the maximum: the best point visited.
    """
    parameters = Parameters(problem)
    centre = parameters.flat()
    scale = np.abs(centre) if adaptive else np.ones_like(centre)
    beginnings = _starts(len(centre), starts, "worst", seed)
    beginnings = [radius * u / max(float(np.linalg.norm(u)), 1.0) for u in beginnings]
    reached = [_ascent(parameters, centre, scale, radius, u, steps) for u in beginnings]
    return _of_search(
        "adaptive_worst_case" if adaptive else "worst_case", radius, parameters, centre, reached
    )


def average_case(
    problem: Problem, radius: float, adaptive: bool = False, seed: int = 0, draws: int = 10
) -> Sharpness:
    """E f(w + d) - f(w) over d ~ N(0, radius^2 I / n), so that E |d|^2 = radius^2; adaptive: d ~ N(0,
    radius^2 diag(w^2) / n).

    For a small radius it is radius^2 tr(H) / 2n. (Andriushchenko et al. 2023, equation 1, whose d has the
    variance rho^2 in each element: rho = radius / sqrt(n).) Draws are pairs of d and -d, in which the slope
    cancels; the standard error over pairs and that over samples add in squares.
    """
    parameters = Parameters(problem)
    centre = parameters.flat()
    scale = radius / math.sqrt(len(centre)) * (np.abs(centre) if adaptive else 1.0)
    base, weights = sample_losses(parameters), _weights(problem)
    rises = []
    for draw in range(draws):
        displacement = scale * stream("sharpness", "average", seed, draw).standard_normal(len(centre))
        ahead = sample_losses(parameters, centre + displacement)
        behind = sample_losses(parameters, centre - displacement)
        rises.append((ahead + behind) / 2 - base)
    means = [_mean(rise, weights)[0] for rise in rises]
    over_samples = _mean(np.mean(rises, axis=0), weights)[1]
    kind: Kind = "adaptive_average_case" if adaptive else "average_case"
    if not np.isfinite(means).all():
        return Sharpness(kind=kind, radius=radius, rise=None, found=())
    known = over_samples if math.isfinite(over_samples) else None  # of a single sample
    rise = with_further_error(mean_estimate(means), known)
    return Sharpness(kind=kind, radius=radius, rise=rise, found=tuple(means))


def keskar_box(problem: Problem, radius: float, seed: int = 0, starts: int = 3) -> Sharpness:
    """100 (max f(w + d) - f(w)) / (1 + f(w)) over the box |d_i| <= radius (|w_i| + 1), in percent (Keskar et
    al. 2017, metric 2.1, A = I).

    As in the paper, the maximum is that of 10 iterations of L-BFGS-B, a LOWER bound; here the greatest of
    several starts, the first at w, as in the paper, the others at random corners of a box half as large. The
    interval takes f(w) in the denominator as known.
    """
    parameters = Parameters(problem)
    centre = parameters.flat()
    box = radius * (np.abs(centre) + 1)
    reached = [
        _in_box(parameters, centre, box, np.sign(start) * box / 2)
        for start in _starts(len(centre), starts, "box", seed)
    ]
    return _of_search("keskar_box", radius, parameters, centre, reached, lambda loss: 100 / (1 + loss))


def _starts(size: int, count: int, purpose: str, seed: int) -> list[Array]:
    return [
        np.zeros(size),
        *(stream("sharpness", purpose, seed, start).standard_normal(size) for start in range(1, count)),
    ]


def _ascent(
    parameters: Parameters, centre: Array, scale: Array, radius: float, start: Array, steps: int
) -> tuple[float, Array]:
    """The greatest loss on the way of projected gradient ascent, and the displacement there."""
    u, best = start, (-math.inf, np.zeros_like(centre))
    for step in range(steps + 1):
        loss, slope = value_and_gradient(parameters, centre + scale * u)
        if not loss <= best[0]:
            best = (loss, scale * u)
        length = float(np.linalg.norm(scale * slope))
        if step == steps or length == 0 or not math.isfinite(loss + length):
            break
        u = u + _STEP * radius * scale * slope / length
        u = u * min(1.0, radius / float(np.linalg.norm(u)))
    return best


def _in_box(parameters: Parameters, centre: Array, box: Array, start: Array) -> tuple[float, Array]:
    def downhill(displacement: Array) -> tuple[float, Array]:
        loss, slope = value_and_gradient(parameters, centre + displacement)
        return -loss, -slope

    result = minimize(
        downhill,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-box, box),
        options={"maxiter": _KESKAR_ITERATIONS},
    )
    return -float(result.fun), np.asarray(result.x)


def _of_search(
    kind: Kind,
    radius: float,
    parameters: Parameters,
    centre: Array,
    reached: list[tuple[float, Array]],
    factor: Callable[[float], float] = lambda loss: 1.0,
) -> Sharpness:
    if not all(math.isfinite(loss) for loss, _ in reached):
        return Sharpness(kind=kind, radius=radius, rise=None, found=())
    base, weights = sample_losses(parameters), _weights(parameters.problem)
    level = _mean(base, weights)[0]
    times = factor(level)
    displacement = max(reached, key=lambda pair: pair[0])[1]
    rise, error, count = _mean(times * (sample_losses(parameters, centre + displacement) - base), weights)
    maxima = tuple(times * (loss - level) for loss, _ in reached)
    estimate = student_estimate(rise, error, count - 1, support_of(f"{kind}_sharpness"))
    return Sharpness(kind=kind, radius=radius, rise=estimate, found=maxima)


def _weights(problem: Problem) -> Array:
    return np.asarray(problem.weights.cpu().numpy())


def _mean(values: Array, weights: Array) -> tuple[float, float, int]:
    """Mean over the samples, its standard error s / sqrt(N), s the standard deviation of values - mean *
    weights, NaN of a single one, and N.
    """
    count = len(values)
    mean = float(values.sum() / count)
    squares = float(((values - mean * weights) ** 2).sum())
    error = math.sqrt(squares / (count - 1) / count) if count > 1 else math.nan
    return mean, error, count
