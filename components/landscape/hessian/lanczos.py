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
from scipy.special import betaincinv, stdtrit

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
        space: in which they were found; None where A was small, and made as a matrix.
    """

    values: Array
    vectors: Array
    residuals: Array
    top: int
    space: "Krylov | None"


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
class Krylov:
    """An orthonormal basis q_1 … q_m of span(q, A q, …), and A within it: the tridiagonal matrix of alphas
    and betas. A q_j = beta_{j-1} q_{j-1} + alpha_j q_j + beta_j q_{j+1}.

    Attributes:
        basis: the q_j.
        alphas: of each q_j whose product is known.
        betas: as many; what the last one belongs to is not in the basis yet.
        rest: beta_m q_{m+1}.
    """

    basis: list[Array]
    alphas: list[float] = field(default_factory=list)
    betas: list[float] = field(default_factory=list)
    rest: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def started(cls, vector: Array) -> "Krylov":
        """The space of one vector, whose length does not matter."""
        return cls([vector / np.linalg.norm(vector)])

    def extend(self, product: Array) -> None:
        """Take A q_m into account."""
        if not np.isfinite(product).all():
            raise NotFinite
        self.alphas.append(float(self.basis[-1] @ product))
        self.rest = _orthogonal(product, self.basis)
        self.betas.append(float(np.linalg.norm(self.rest)))

    def advance(self) -> None:
        """Make q_{m+1} a part of the basis."""
        self.basis.append(self.rest / self.betas[-1])

    def restart(self, vector: Array) -> None:
        """Go on in a new direction, from an invariant space."""
        rest = _orthogonal(vector, self.basis)
        self.basis.append(rest / np.linalg.norm(rest))
        self.betas[-1] = 0.0

    @property
    def exhausted(self) -> bool:
        """Whether A q_m adds nothing but rounding errors to the basis."""
        return self.betas[-1] <= 1e-12 * max(*map(abs, self.alphas), *self.betas[:-1], np.finfo(float).tiny)

    def excludes(self, value: float) -> bool:
        """Whether no eigenvalue lies at `value`, which is outside of all Ritz values, or further outside;
        with a probability of 97.5 % over a random q_1.

        An eigenvector v of lambda has q_{j+1}' v = phi_j(lambda) q_1' v, where phi_0 = 1 and
        beta_j phi_j = (lambda - alpha_j) phi_{j-1} - beta_{j-1} phi_{j-2}. The squares of the q_j' v add up
        to 1 at most, and the phi_j rise outwards. So (q_1' v)^2 is at most 1 / sum of phi_j(value)^2, and it
        is that small rarely: its distribution is Beta(1/2, (n-1)/2). (van Dorsselaer et al. 2000.)
        """
        rare = float(betaincinv(0.5, (len(self.rest) - 1) / 2, _RISK / 2))
        before, phi, beta_before, total = 0.0, 1.0, 0.0, 1.0
        for alpha, beta in zip(self.alphas, self.betas, strict=True):
            before, phi = phi, ((value - alpha) * phi - beta_before * before) / beta
            beta_before, total = beta, total + phi**2
            if total * rare > 1:
                return True
        return False

    def diagonal(self) -> Array:
        """The diagonal of A - P A P, P = 1 - Q Q': sum of alpha_j q_j^2 + 2 beta_j q_j q_{j+1}, by element:
        (n,).
        """
        following = [*self.basis[1:], None]
        total = np.zeros_like(self.rest)
        for q, after, alpha, beta in zip(self.basis, following, self.alphas, self.betas, strict=True):
            total += q * (alpha * q + 2 * (self.rest if after is None else beta * after))
        return total

    def complement(self, vectors: Array) -> Array:
        """P times each of the vectors (n, K)."""
        rest = vectors.copy()
        for q in self.basis:
            rest -= np.outer(q, q @ rest)
        return rest

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
      the width of the spectrum. What the process has found tells that (`Krylov.excludes`); for any spectrum
      m steps miss more with a probability of at most 1.648 sqrt(n) exp(-sqrt(tolerance) (2m - 1))
      (Kuczynski & Wozniakowski 1992, theorem 4.2), which is why it ends in most cases much earlier.
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
        return _checked(operator, np.linalg.eigh(_dense(operator))[1][:, _ends(size, top, bottom)], top, None)
    random = stream("eigenpairs", seed)
    krylov = Krylov.started(random.standard_normal(size))
    least, most = max(least_steps(tolerance, size), top + bottom), min(_MOST_STEPS + top + bottom, size)
    while True:
        krylov.extend(operator.matvec(krylov.basis[-1]))
        steps = len(krylov.alphas)
        complete = steps >= least or (steps >= top + bottom and _misses_nothing(krylov, tolerance))
        if steps >= most or (complete and _converged(krylov, top, bottom, tolerance)):
            break
        if krylov.exhausted:  # an invariant space: what lies outside is found from a new direction
            krylov.restart(random.standard_normal(size))
        else:
            krylov.advance()
    return _checked(operator, krylov.vectors(_ends(steps, top, bottom)), top, krylov)


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
    krylov = Krylov.started(start)
    for _ in range(min(steps, len(start))):
        krylov.extend(operator.matvec(krylov.basis[-1]))
        if krylov.exhausted:
            break
        krylov.advance()
    nodes, coordinates = krylov.eigen()
    return tuple(nodes.tolist()), tuple((coordinates[0] ** 2).tolist())


def least_steps(tolerance: float, size: int) -> int:
    """Steps after which `eigenpairs` has not missed more than `tolerance` of the width of any spectrum with
    probability 95 %.
    """
    return math.ceil((math.log(1.648 * math.sqrt(size) / _RISK) / math.sqrt(tolerance) + 1) / 2)


def _misses_nothing(krylov: Krylov, tolerance: float) -> bool:
    """Not told of an invariant space, where an eigenvalue may have several eigenvectors."""
    if krylov.exhausted or 0.0 in krylov.betas:
        return False
    values, _ = krylov.eigen()
    margin = tolerance * (values[-1] - values[0])
    return margin > 0 and krylov.excludes(values[-1] + margin) and krylov.excludes(values[0] - margin)


def _converged(krylov: Krylov, top: int, bottom: int, tolerance: float) -> bool:
    values, coordinates = krylov.eigen()
    residuals = abs(krylov.betas[-1] * coordinates[-1, _ends(len(values), top, bottom)])
    return bool((residuals <= tolerance * abs(values).max()).all())


def _ends(count: int, top: int, bottom: int) -> list[int]:
    """Indices of rising values: the greatest, falling, then the least, rising."""
    return [*range(count - 1, count - 1 - top, -1), *range(bottom)]


def _checked(operator: LinearOperator, vectors: Array, top: int, space: Krylov | None) -> Eigenpairs:
    vectors = np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=0))
    products = operator.matmat(vectors)
    values = np.einsum("nk,nk->k", vectors, products)
    return Eigenpairs(values, vectors, np.linalg.norm(products - vectors * values, axis=0), top, space)


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
