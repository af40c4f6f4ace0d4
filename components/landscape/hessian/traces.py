"""Traces of symmetric operators, of the whole and by layer."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from lossmap.components.core.estimates import Estimate, Support, student_estimate
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.hessian.lanczos import NotFinite

Array = NDArray[np.float64]

_LEAST_PRODUCTS = 4


def trace(operator: LinearOperator, products: int, seed: int, support: Support = Support.REAL) -> Estimate:
    """tr A with a 95 % interval over the probes, by Hutch++ (Meyer et al. 2021, algorithm 1).

    A third of the products finds an orthonormal Q near the greatest eigenvectors, a third gives tr(Q' A Q)
    exactly, and the rest estimates the remainder tr(P A P), P = 1 - Q Q', as the mean of (P g)' A (P g) over
    random signs g (Hutchinson), which also tell the error. Unbiased; the error falls at least as 1 /
    sqrt(products), and for positive semidefinite matrices as tr(A) / products.

    Args:
        operator: symmetric, n x n; where n products suffice for its diagonal, the trace is exact.
        products: to spend, 4 at least.
        seed: of the random signs.
        support: what the trace can be: positive of a positive semidefinite operator.

    Raises:
        NotFinite: a product is.
    """
    return layer_traces(operator, {"": operator.shape[0]}, products, seed, support)[""]


def layer_traces(
    operator: LinearOperator,
    sizes: Mapping[str, int],
    products: int,
    seed: int,
    support: Support = Support.REAL,
) -> dict[str, Estimate]:
    """Sums of the diagonal of A over consecutive parts, each with a 95 % interval over the probes, and "" for
    the sum of all: tr A.

    Every probe serves all parts at once. As in `trace`, but split by element: with R = P A P and B = Q' A Q,
    the diagonal of A is that of A - R, known exactly: 2 q_i * A q_i - q_i * (Q B)_i summed over i; plus that
    of R, estimated by (P g) * (A P g). The parts add up to the trace.

    Args:
        operator: as in `trace`; so are products and seed.
        sizes: lengths of the parts, in order, by name.
        products: as in `trace`.
        seed: as in `trace`.
        support: what each part can be.
    """
    size = operator.shape[0]
    if products >= size:
        diagonal = np.diagonal(_products(operator, np.eye(size)))
        return {
            name: Estimate(value=value, standard_error=0.0, low=value, high=value)
            for name, value in _by_part(diagonal, sizes).items()
        }
    products = max(products, _LEAST_PRODUCTS)
    sketch = products // 3
    known, basis = _deflated(operator, _signs(size, sketch, seed, "sketch"))
    probes = _signs(size, products - 2 * sketch, seed, "remainder")
    probes -= basis @ (basis.T @ probes)
    rest = probes * _products(operator, probes)
    exact, estimates = _by_part(known, sizes), [_by_part(column, sizes) for column in rest.T]
    return {
        name: _shifted_mean(exact[name], [estimate[name] for estimate in estimates], support)
        for name in exact
    }


def _deflated(operator: LinearOperator, sketch: Array) -> tuple[Array, Array]:
    """The diagonal of A - P A P (n,), and the basis Q that P leaves out (n, K)."""
    basis = np.linalg.qr(_products(operator, sketch))[0]
    images = _products(operator, basis)
    return (2 * basis * images - basis * (basis @ (basis.T @ images))).sum(axis=1), basis


def _signs(size: int, count: int, seed: int, purpose: str) -> Array:
    return np.stack(
        [stream("trace", purpose, seed, probe).choice([-1.0, 1.0], size) for probe in range(count)], axis=1
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
