"""The extreme eigenvalues of the Hessian at points of a plane: is the loss convex there, and if not, by
how much?
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lossmap.components.landscape.evaluator import Directions
from lossmap.components.landscape.fold import differentiable_fold
from lossmap.components.landscape.hessian.lanczos import NotFinite, eigenpairs
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.objective import Problem


@dataclass(frozen=True)
class ConvexityResult:
    """The Hessian's extreme eigenvalues at a point; NaN where the loss has no finite second derivatives.

    Attributes:
        smallest: the least eigenvalue; the loss is not convex around the point where it is negative.
        largest: the greatest eigenvalue.
        smallest_residual: |H v - smallest v|: an eigenvalue is no further away.
        largest_residual: |H v - largest v| of the greatest.
    """

    smallest: float
    largest: float
    smallest_residual: float
    largest_residual: float


class ConvexityEvaluator:
    """The Hessian's extreme eigenvalues at w + x d1 + y d2, with BatchNorm's statistics frozen, or moving
    where they have directions.

    The Hessian is that of all trainable parameters, also of those that the directions leave alone. The same
    point gives the same bits in every process, in any order: the start vector is always the same, and the
    network itself stays where it is.

    Args:
        problem: network, loss and samples.
        directions: as in evaluator.Evaluator.
        tolerance: as in lanczos.eigenpairs.
    """

    def __init__(self, problem: Problem, directions: Directions, tolerance: float):
        self._problem, self._tolerance = differentiable_fold(problem), tolerance
        own = {**dict(problem.network.named_parameters()), **dict(problem.network.named_buffers())}
        self._weights = {name: own[name].detach().clone() for name in directions[0]}
        x, y = directions
        self._x = {name: x[name].to(weight) for name, weight in self._weights.items()}
        self._y = {name: y[name].to(weight) for name, weight in self._weights.items()}

    def __call__(self, x: float, y: float) -> ConvexityResult:
        """Evaluate the point (x, y)."""
        moved = {
            name: torch.add(weight, self._x[name], alpha=x).add_(self._y[name], alpha=y)
            for name, weight in self._weights.items()
        }
        return convexity_at(self._problem, self._tolerance, moved)


def convexity_at(
    problem: Problem, tolerance: float, weights: Mapping[str, Tensor] | None = None
) -> ConvexityResult:
    """The Hessian's extreme eigenvalues where the network is, or with other weights in its place.

    Args:
        problem: network, loss and samples.
        tolerance: as in lanczos.eigenpairs, which also says what may be missed.
        weights: as in parameters.Parameters.
    """
    try:
        pairs = eigenpairs(Hessian(problem, weights=weights), 1, 1, tolerance, seed=0)
    except NotFinite:
        return ConvexityResult(math.nan, math.nan, math.nan, math.nan)
    largest, smallest = pairs.values.tolist()
    largest_residual, smallest_residual = pairs.residuals.tolist()
    return ConvexityResult(smallest, largest, smallest_residual, largest_residual)
