"""Eigenpairs and spectral densities of symmetric operators by the Lanczos process with full
reorthogonalisation.

Why not scipy.sparse.linalg.eigsh: ARPACK stops when a residual is small against its own eigenvalue. The least
eigenvalue of a convex loss is exactly 0, so that with products in float32 it never stops (softmax regression:
not after 1,000 products); here residuals are measured against the greatest eigenvalue. One Krylov space
serves both ends, and its tridiagonal matrix is what a spectral density needs, too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator
from scipy.special import stdtrit

from lossmap.components.core.errors import TrainingError
from lossmap.components.core.estimates import Estimate, Support, mean_estimate
from lossmap.components.core.frozen import Frozen
from lossmap.components.core.randomness import stream

Array = NDArray[np.float64]

_DENSE = 32  # up to this size, a matrix is made of products with unit vectors
_MOST_STEPS = 400
_RISK = 0.05


class NotFinite(TrainingError):
    """A product has NaN or infinity in it: the loss is not finite where the network is."""

    def __init__(self) -> None:
        super().__init__(
            "the second derivatives of the loss are not finite at these weights, expected a network whose"
            " loss is; train it with a lower rate"
        )


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs of A: first the greatest, falling, then the least, rising.

    Attributes:
        values: (K,) v' A v of each vector.
        vectors: (n, K), of length 1.
        residuals: (K,) |A v - value v|, computed and not estimated. A symmetric A has an eigenvalue within
            the residual of the value (Parlett, The Symmetric Eigenvalue Problem, theorem 4.5.1).
        top: how many of them are greatest ones.
    """

    values: Array
    vectors: Array
    residuals: Array
    top: int


class Density(Frozen):
    """A density of eigenvalues: for each random probe a measure of mass one, which are all drawn around the
    true one.

    Attributes:
        nodes: of each probe, rising.
        weights: of each node; those of a probe sum to one.
        size: number of eigenvalues.
    """

    nodes: tuple[tuple[float, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    size: int

    def average(self, function: Callable[[Array], Array], support: Support = Support.REAL) -> Estimate:
        """(1/n) sum of function(eigenvalue) over all n eigenvalues, with the interval over the probes."""
        averages = [
            np.asarray(weights) @ function(np.asarray(nodes))
            for nodes, weights in zip(self.nodes, self.weights, strict=True)
        ]
        return mean_estimate(averages, support)


@dataclass(frozen=True)
class SmoothedDensity:
    """A density of eigenvalues at some points, with a 95 % interval over the probes at each point on its own;
    NaN with one probe.

    Attributes:
        eigenvalues: (P,) the points.
        density: (P,) the mean over the probes, per unit of eigenvalue; integrates to one.
        low: (P,) lower end.
        high: (P,) upper end.
        width: standard deviation of the Gaussian as which each node is drawn.
    """

    eigenvalues: Array
    density: Array
    low: Array
    high: Array
    width: float


@dataclass
class _Krylov:
    """An orthonormal basis q_1 … q_m of span(q, A q, …), and A within it: the tridiagonal matrix of alphas
    and betas.
    """

    basis: list[Array]
    alphas: list[float] = field(default_factory=list)
    betas: list[float] = field(default_factory=list)

    @classmethod
    def started(cls, vector: Array) -> "_Krylov":
        return cls([vector / np.linalg.norm(vector)])

    def extend(self, product: Array) -> Array:
        """What is left of A q_m without the basis; its length is the next beta."""
        if not np.isfinite(product).all():
            raise NotFinite
        self.alphas.append(float(self.basis[-1] @ product))
        rest = _orthogonal(product, self.basis)
        self.betas.append(float(np.linalg.norm(rest)))
        return rest

    @property
    def exhausted(self) -> bool:
        """Whether A q_m adds nothing but rounding errors to the basis."""
        return self.betas[-1] <= 1e-12 * max(*map(abs, self.alphas), *self.betas[:-1], np.finfo(float).tiny)

    def eigen(self) -> tuple[Array, Array]:
        """Ritz values, rising, and the coordinates of Ritz vectors in the basis."""
        values, coordinates = eigh_tridiagonal(self.alphas, self.betas[: len(self.alphas) - 1])
        return values, coordinates

    def vectors(self, chosen: list[int]) -> Array:
        """The chosen Ritz vectors (n, K)."""
        columns = self.eigen()[1][:, chosen].T
        return np.stack(
            [
                np.asarray(sum(weight * q for weight, q in zip(column, self.basis, strict=True)))
                for column in columns
            ],
            axis=1,
        )


def eigenpairs(operator: LinearOperator, top: int, bottom: int, tolerance: float, seed: int) -> Eigenpairs:
    """The greatest and the least eigenvalues of a symmetric operator, with vectors.

    The process stops when both hold:
    - the residuals of all wanted pairs are at most `tolerance` times the greatest magnitude of an eigenvalue;
    - with probability 95 % over the start vector, no eigenvalue lies further outside than `tolerance` times
      the width of the spectrum: m steps miss more with a probability of at most
      1.648 sqrt(n) exp(-sqrt(tolerance) (2m - 1)) (Kuczynski & Wozniakowski 1992, theorem 4.2).
    After 400 steps it stops in any case; residuals tell how far it got. Keeps a vector of n float64 for each
    step.

    Args:
        operator: symmetric, n x n.
        top: how many greatest eigenvalues; at most n are returned.
        bottom: how many least ones; at most n are returned.
        tolerance: relative, as said.
        seed: of the start vector.

    Raises:
        NotFinite: a product is.
    """
    size = operator.shape[0]
    top, bottom = min(top, size), min(bottom, size)
    if size <= max(_DENSE, top + bottom):
        return _checked(operator, np.linalg.eigh(_dense(operator))[1][:, _ends(size, top, bottom)], top)
    random = stream("eigenpairs", seed)
    krylov = _Krylov.started(random.standard_normal(size))
    least, most = max(least_steps(tolerance, size), top + bottom), min(_MOST_STEPS + top + bottom, size)
    while True:
        rest = krylov.extend(operator.matvec(krylov.basis[-1]))
        steps = len(krylov.alphas)
        if steps >= most or (steps >= least and _converged(krylov, top, bottom, tolerance)):
            break
        if krylov.exhausted:  # an invariant space: what lies outside is found from a new direction
            rest, krylov.betas[-1] = _orthogonal(random.standard_normal(size), krylov.basis), 0.0
        krylov.basis.append(rest / np.linalg.norm(rest))
    return _checked(operator, krylov.vectors(_ends(steps, top, bottom)), top)


def spectral_density(operator: LinearOperator, probes: int, steps: int, seed: int) -> Density:
    """The density of a symmetric operator's eigenvalues by stochastic Lanczos quadrature (Ghorbani et al.
    2019, algorithm 1).

    Each probe is a Gaussian vector of length 1. Its Ritz values are nodes, and the squares of the FIRST
    coordinates of the Ritz vectors weights, which sum to one; they integrate polynomials up to degree 2 steps
    - 1 exactly against the probe's own measure v' p(A) v. Keeps `steps` vectors.

    Args:
        operator: symmetric, n x n.
        probes: how many vectors.
        steps: Lanczos steps, and nodes, of each; fewer where the Krylov space ends before.
        seed: of the vectors.

    Raises:
        NotFinite: a product is.
    """
    rules = [
        _quadrature(operator, stream("density", seed, probe).standard_normal(operator.shape[0]), steps)
        for probe in range(probes)
    ]
    return Density(
        nodes=tuple(nodes for nodes, _ in rules),
        weights=tuple(weights for _, weights in rules),
        size=operator.shape[0],
    )


def smoothed_density(density: Density, width: float | None = None, points: int = 500) -> SmoothedDensity:
    """The sum over nodes of weight times a Gaussian around the node, averaged over the probes.

    Args:
        density: of which.
        width: the Gaussian's standard deviation, in units of eigenvalues; without it 1 % of the range of the
            nodes.
        points: equally spaced from five widths below the least node to five above the greatest.
    """
    least, greatest = min(nodes[0] for nodes in density.nodes), max(nodes[-1] for nodes in density.nodes)
    width = width or 0.01 * (greatest - least) or 0.01 * abs(greatest) or 1.0
    at = np.linspace(least - 5 * width, greatest + 5 * width, points)
    curves = np.stack(
        [
            _kernels(at, np.asarray(nodes), width) @ weights
            for nodes, weights in zip(density.nodes, density.weights, strict=True)
        ]
    )
    mean, count = curves.mean(axis=0), len(curves)
    spread = curves.std(axis=0, ddof=1) if count > 1 else np.full(points, np.nan)
    margin = float(stdtrit(max(count - 1, 1), 0.975)) * spread / math.sqrt(count)
    return SmoothedDensity(at, mean, mean - margin, mean + margin, width)


def _kernels(points: Array, nodes: Array, width: float) -> Array:
    return np.asarray(
        np.exp(-(((points[:, None] - nodes) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
    )


def _quadrature(
    operator: LinearOperator, start: Array, steps: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    krylov = _Krylov.started(start)
    for _ in range(min(steps, len(start))):
        rest = krylov.extend(operator.matvec(krylov.basis[-1]))
        if krylov.exhausted:
            break
        krylov.basis.append(rest / krylov.betas[-1])
    nodes, coordinates = krylov.eigen()
    return tuple(nodes.tolist()), tuple((coordinates[0] ** 2).tolist())


def least_steps(tolerance: float, size: int) -> int:
    """Steps after which `eigenpairs` has not missed more than `tolerance` of the spectrum's width with
    probability 95 %.
    """
    return math.ceil((math.log(1.648 * math.sqrt(size) / _RISK) / math.sqrt(tolerance) + 1) / 2)


def _converged(krylov: _Krylov, top: int, bottom: int, tolerance: float) -> bool:
    values, coordinates = krylov.eigen()
    residuals = abs(krylov.betas[-1] * coordinates[-1, _ends(len(values), top, bottom)])
    return bool((residuals <= tolerance * abs(values).max()).all())


def _ends(count: int, top: int, bottom: int) -> list[int]:
    """Indices of rising values: the greatest, falling, then the least, rising."""
    return [*range(count - 1, count - 1 - top, -1), *range(bottom)]


def _checked(operator: LinearOperator, vectors: Array, top: int) -> Eigenpairs:
    vectors = np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=0))
    products = operator.matmat(vectors)
    values = np.einsum("nk,nk->k", vectors, products)
    return Eigenpairs(values, vectors, np.linalg.norm(products - vectors * values, axis=0), top)


def _dense(operator: LinearOperator) -> Array:
    matrix = np.asarray(operator.matmat(np.eye(operator.shape[0])))
    if not np.isfinite(matrix).all():
        raise NotFinite
    return np.asarray((matrix + matrix.T) / 2)


def _orthogonal(vector: Array, basis: list[Array]) -> Array:
    """The vector without its components along the basis: Gram-Schmidt, twice, which is enough (Parlett,
    section 6.9).
    """
    rest = vector.copy()
    for q in [*basis, *basis]:
        rest -= (q @ rest) * q
    return rest
