"""Traces of symmetric operators, of the whole and by layer."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from lossmap.components.core.estimates import Estimate, Support, student_estimate
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.hessian.lanczos import Krylov, NotFinite

Array = NDArray[np.float64]

_LEAST_PROBES = 4


def trace(
    operator: LinearOperator,
    space: Krylov | None,
    probes: int,
    seed: int,
    support: Support = Support.REAL,
) -> Estimate:
    """tr A with a 95 % interval over the probes.

    A is known on the basis Q of a Krylov space, which holds the eigenvectors that matter most. With P = 1 - Q
    Q' what is left is tr(P A P), the mean of (P g)' A (P g) over random signs g (Hutchinson 1990), which also
    tell the error. Unbiased for a given space. (Gambhir et al. 2017; Chen & Hallman 2023.)

    Args:
        operator: symmetric, n x n.
        space: that the search for its eigenvalues made; None of a small operator, whose trace is exact, as it
            is where n products are not more than `probes`.
        probes: how many, 4 at least.
        seed: of the random signs.
        support: what the trace can be: positive of a positive semidefinite operator.

    Raises:
        NotFinite: a product is.
    """
    return layer_traces(operator, {"": operator.shape[0]}, space, probes, seed, support)[""]


def layer_traces(
    operator: LinearOperator,
    sizes: Mapping[str, int],
    space: Krylov | None,
    probes: int,
    seed: int,
    support: Support = Support.REAL,
) -> dict[str, Estimate]:
    """Sums of the diagonal of A over consecutive parts, each with a 95 % interval over the probes, and "" for
    the sum of all: tr A.

    Every probe serves all parts at once. As in `trace`, but split by element: the diagonal of A is that of
    A - P A P, which the space knows, plus that of P A P, estimated by (P g) * (A P g). The parts add up to
    the trace.

    Args:
        operator: as in `trace`.
        sizes: lengths of the parts, in order, by name.
        space: as in `trace`; so are the other arguments.
        probes: how many.
        seed: of the random signs.
        support: what each part can be.
    """
    size = operator.shape[0]
    if space is None or probes >= size:
        diagonal = np.diagonal(_products(operator, np.eye(size)))
        return {
            name: Estimate(value=value, standard_error=0.0, low=value, high=value)
            for name, value in _by_part(diagonal, sizes).items()
        }
    left = space.complement(_signs(size, max(probes, _LEAST_PROBES), seed))
    rest = left * _products(operator, left)
    exact, estimates = _by_part(space.diagonal(), sizes), [_by_part(column, sizes) for column in rest.T]
    return {
        name: _shifted_mean(exact[name], [estimate[name] for estimate in estimates], support)
        for name in exact
    }


def _signs(size: int, count: int, seed: int) -> Array:
    return np.stack(
        [stream("trace", seed, probe).choice([-1.0, 1.0], size) for probe in range(count)], axis=1
    )


def _products(operator: LinearOperator, vectors: Array) -> Array:
    products = np.asarray(operator.matmat(vectors))
    if not np.isfinite(products).all():
        raise NotFinite
    return products


def _by_part(diagonal: Array, sizes: Mapping[str, int]) -> dict[str, float]:
    ends = np.cumsum(list(sizes.values()))
    parts = {
        name: float(diagonal[end - length : end].sum())
        for (name, length), end in zip(sizes.items(), ends, strict=True)
    }
    return {"": float(diagonal.sum()), **parts}


def _shifted_mean(exact: float, estimates: list[float], support: Support) -> Estimate:
    count = len(estimates)
    value = exact + float(np.mean(estimates))
    error = float(np.std(estimates, ddof=1)) / math.sqrt(count)
    return student_estimate(value, error, count - 1, support)
