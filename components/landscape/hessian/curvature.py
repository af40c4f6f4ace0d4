"""Everything about the loss's second derivatives at a trained network, each number with what is known of
its error.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lossmap.components.config.landscape import Curvature
from lossmap.components.config.scalars import support_of
from lossmap.components.core.estimates import (
    Estimate,
    Support,
    scalars_of,
    student_estimate,
    with_further_error,
)
from lossmap.components.core.frozen import Frozen
from lossmap.components.core.progress import Progress, silent
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.fold import differentiable_fold
from lossmap.components.landscape.hessian.fisher import EmpiricalFisher, has_labels
from lossmap.components.landscape.hessian.lanczos import (
    Density,
    Eigenpairs,
    eigenpairs,
    spectral_density,
)
from lossmap.components.landscape.hessian.operators import CurvatureMatrix, GaussNewton, Hessian
from lossmap.components.landscape.hessian.sharpness import Sharpness, average_case, keskar_box, worst_case
from lossmap.components.landscape.hessian.traces import layer_traces, trace
from lossmap.components.landscape.moving import layer_parameters, matching_parameters
from lossmap.components.landscape.objective import Problem

_SIGN_PROBES = 4
_ALPHA = 0.01
_USUAL_STEPS = 25  # of a search for eigenvalues to the usual tolerance
CHOSEN = "chosen parameters"


class Eigenvalue(Frozen):
    """An eigenvalue.

    Attributes:
        estimate: v' A v; the 95 % interval is over draws of the samples for a fixed vector v, as in
            CurvatureMatrix.sampling_covariance.
        residual: |A v - value v|: an eigenvalue of the matrix on these samples is no further away.
    """

    estimate: Estimate
    residual: float


class Matrix(Frozen):
    """Of a positive semidefinite matrix.

    Attributes:
        largest: its greatest eigenvalue.
        trace: with the interval over probes and samples.
    """

    largest: Eigenvalue
    trace: Estimate


class Block(Frozen):
    """The block of the Hessian that belongs to some of the parameters: the Hessian of the loss where only
    these move.

    Attributes:
        name: of the layer; CHOSEN of the parameters that were asked for.
        parameters: how many numbers they are.
        names: of the parameters.
        largest: its greatest eigenvalues, falling.
        smallest: its least ones, rising.
        trace: with the interval over probes and samples.
    """

    name: str
    parameters: int
    names: tuple[str, ...]
    largest: tuple[Eigenvalue, ...]
    smallest: tuple[Eigenvalue, ...]
    trace: Estimate

    def estimates(self) -> dict[str, Estimate | None]:
        """The numbers by which blocks are compared."""
        return {
            f"hessian_largest.{self.name}": self.largest[0].estimate,
            f"hessian_smallest.{self.name}": self.smallest[0].estimate,
            f"hessian_trace.{self.name}": self.trace,
        }


class CurvatureResult(Frozen):
    """Second derivatives of the mean loss over some samples.

    Attributes:
        samples: how many.
        parameters: of the network, n.
        largest: the Hessian's greatest eigenvalues, falling.
        smallest: its least ones, rising.
        negative_to_positive: minus the least over the greatest eigenvalue: below 0 where the Hessian is
            positive definite, 1 where curvature is as negative as positive. Interval over samples, by the
            delta method. None where the greatest is not positive.
        trace: of the Hessian, with the interval over probes and samples.
        trace_probe_error: what of its standard error comes from the random probes.
        trace_sample_error: what comes from the samples; rather too large, since it is from few probes' v' H
            v. None with one sample.
        layer_traces: of each parameter tensor's block on the diagonal, with intervals over the probes only;
            they add up to the trace.
        density: of the Hessian's eigenvalues; None where none was asked for.
        effective_dimension: sum of lambda / (lambda + alpha) over the positive eigenvalues of the Hessian
            (MacKay 1992; Maddox et al. 2020), from the density, with the interval over its probes. None
            without a density.
        alpha: of the effective dimension, in units of eigenvalues.
        gauss_newton: the generalised Gauss-Newton matrix; None where it was not asked for.
        fisher: the Fisher matrix. For cross-entropy and squared errors it is the Gauss-Newton matrix (see
            `fisher.has_labels`) and not measured again; None for other losses, which have no labels of their
            own.
        empirical_fisher: the mean of the samples' g g'.
        sharpness: for every radius that was asked for, one of each kind.
        blocks: of the parameters that were asked for, then of each layer, where asked for.
    """

    samples: int
    parameters: int
    largest: tuple[Eigenvalue, ...]
    smallest: tuple[Eigenvalue, ...]
    negative_to_positive: Estimate | None
    trace: Estimate
    trace_probe_error: float | None
    trace_sample_error: float | None
    layer_traces: dict[str, Estimate]
    density: Density | None = None
    effective_dimension: Estimate | None = None
    alpha: float | None = None
    gauss_newton: Matrix | None = None
    fisher: Matrix | None = None
    empirical_fisher: Matrix | None = None
    sharpness: tuple[Sharpness, ...] = ()
    blocks: tuple[Block, ...] = ()

    def scalars(self) -> dict[str, float | None]:
        """The numbers by which networks are compared, with the ends of their 95 % intervals as `_low` and
        `_high` where these are known.
        """
        estimates: dict[str, Estimate | None] = {
            "hessian_largest": self.largest[0].estimate,
            "hessian_smallest": self.smallest[0].estimate,
            "hessian_negative_to_positive": self.negative_to_positive,
            "hessian_trace": self.trace,
            "effective_dimension": self.effective_dimension,
            **{f"{rise.kind}_sharpness_{rise.radius:g}": rise.rise for rise in self.sharpness},
        }
        for name in ("gauss_newton", "fisher", "empirical_fisher"):
            if matrix := getattr(self, name):
                estimates |= {f"{name}_largest": matrix.largest.estimate, f"{name}_trace": matrix.trace}
        for block in self.blocks:
            estimates |= block.estimates()
        return scalars_of({name: estimate for name, estimate in estimates.items() if estimate is not None})


def measure(
    problem: Problem,
    settings: Curvature,
    seed: int,
    alpha: float | None = None,
    progress: Progress = silent,
) -> CurvatureResult:
    """Everything that the settings ask for, at the network's own weights, with BatchNorm's statistics frozen.

    Args:
        problem: network, loss and samples, all of which are used.
        settings: of the experiment.
        seed: of the experiment's landscape.
        alpha: of the effective dimension; without it 1 % of the Hessian's greatest eigenvalue, which few
            Lanczos steps resolve.
        progress: is told after every product.

    Raises:
        NotFinite: the loss has no finite second derivatives there.
        ExperimentError: a pattern of parameters matches none that moves.
    """
    problem = differentiable_fold(problem)
    blocks = block_names(problem.network, settings)
    step = _Steps(_expected_products(problem, settings), progress)
    hessian = Hessian(problem, watch=step)
    step.text = "eigenvalues of the Hessian"
    pairs = eigenpairs(hessian, settings.top, settings.bottom, settings.tolerance, seed)
    step.text = "trace of the Hessian"
    sizes = hessian.parameters.sizes
    traces = layer_traces(hessian, sizes, pairs.space, settings.trace_products, seed)
    covariance, groups = hessian.sampling_covariance(np.hstack([pairs.vectors, _sign_probes(hessian, seed)]))
    values = _eigenvalues(pairs, covariance, groups)
    whole, sample_error = traces.pop(""), _probe_error(covariance, len(values))
    density, effective, alpha = _density(
        hessian, settings, seed, alpha or _ALPHA * abs(pairs.values[0]), step
    )
    gauss_newton, empirical = _other_matrices(problem, settings, seed, step)
    return CurvatureResult(
        samples=len(problem.samples),
        parameters=hessian.parameters.size,
        largest=tuple(values[: pairs.top]),
        smallest=tuple(values[pairs.top :]),
        negative_to_positive=_ratio(pairs, covariance, groups),
        trace=with_further_error(whole, sample_error),
        trace_probe_error=whole.standard_error,
        trace_sample_error=sample_error,
        layer_traces=traces,
        density=density,
        effective_dimension=effective,
        alpha=alpha,
        gauss_newton=gauss_newton,
        fisher=gauss_newton if has_labels(problem) else None,
        empirical_fisher=empirical,
        sharpness=_sharpness(problem, settings, seed, step),
        blocks=tuple(_block(problem, block, settings, seed, step) for block in blocks.items()),
    )


def block_names(network: nn.Module, settings: Curvature) -> dict[str, list[str]]:
    """The parameters of every block that the settings ask for, by the block's name.

    Raises:
        ExperimentError: a pattern matches no parameter that moves.
    """
    chosen = {CHOSEN: matching_parameters(network, settings.parameters)} if settings.parameters else {}
    return chosen | (layer_parameters(network) if settings.layers else {})


def _block(
    problem: Problem, block: tuple[str, list[str]], settings: Curvature, seed: int, step: "_Steps"
) -> Block:
    name, names = block
    step.text = f"block of {name}"
    hessian = Hessian(problem, names, watch=step)
    pairs, values, whole = _ends_and_trace(hessian, (settings.top, settings.bottom), settings, seed)
    return Block(
        name=name,
        parameters=hessian.parameters.size,
        names=tuple(names),
        largest=tuple(values[: pairs.top]),
        smallest=tuple(values[pairs.top :]),
        trace=whole,
    )


class _Steps:
    """Counts products, and tells of them."""

    def __init__(self, total: int, progress: Progress):
        self.text = ""
        self._done, self._total, self._progress = 0, total, progress

    def __call__(self, count: int) -> None:
        self._done += count
        self._progress(min(self._done, self._total), self._total, self.text)


def _expected_products(problem: Problem, settings: Curvature) -> int:
    """About how many products will be needed, and one for each sharpness."""
    size = Hessian(problem).parameters.size
    blocks = block_names(problem.network, settings).values()
    sizes = [Hessian(problem, names).parameters.size for names in blocks]
    ends = settings.top + settings.bottom
    pair = min(_USUAL_STEPS, size) + 1
    of_blocks = sum(min(_USUAL_STEPS, block) + ends + min(settings.trace_products, block) for block in sizes)
    density = settings.density_probes * min(settings.density_steps, size)
    others = 2 * (pair + settings.trace_products) if settings.gauss_newton else 0
    return (
        pair
        + ends
        - 1
        + settings.trace_products
        + density
        + others
        + of_blocks
        + len(_KINDS) * len(settings.sharpness_radii)
    )


def _sign_probes(matrix: CurvatureMatrix, seed: int) -> NDArray[np.float64]:
    return stream("samples", seed).choice([-1.0, 1.0], (matrix.shape[0], _SIGN_PROBES))


def _probe_error(covariance: NDArray[np.float64], before: int) -> float | None:
    """Standard error over samples of the mean of the sign probes' v' A v, whose mean over v is the trace."""
    error = math.sqrt(covariance[before:, before:].mean())
    return error if math.isfinite(error) else None


def _eigenvalues(pairs: Eigenpairs, covariance: NDArray[np.float64], groups: int) -> list[Eigenvalue]:
    # the sign probes' variances follow
    rows = zip(
        pairs.values.tolist(), np.diagonal(covariance).tolist(), pairs.residuals.tolist(), strict=False
    )
    values = []
    for place, (value, variance, residual) in enumerate(rows):
        support = support_of("hessian_largest" if place < pairs.top else "hessian_smallest")
        estimate = student_estimate(value, math.sqrt(variance), groups - 1, support)
        values.append(Eigenvalue(estimate=estimate, residual=residual))
    return values


def _ratio(pairs: Eigenpairs, covariance: NDArray[np.float64], groups: int) -> Estimate | None:
    """r = -a / b of the least eigenvalue a and the greatest b; dr = -(da + r db) / b."""
    b, a = float(pairs.values[0]), float(pairs.values[pairs.top])
    if b <= 0:
        return None
    slope = np.zeros(len(covariance))
    slope[0], slope[pairs.top] = a / b**2, -1 / b
    return student_estimate(-a / b, math.sqrt(slope @ covariance @ slope), groups - 1)


def _density(
    hessian: Hessian, settings: Curvature, seed: int, alpha: float, step: _Steps
) -> tuple[Density | None, Estimate | None, float | None]:
    if not settings.density_probes:
        return None, None, None
    step.text = "density of the Hessian's eigenvalues"
    density = spectral_density(hessian, settings.density_probes, settings.density_steps, seed)
    return (
        density,
        density.average(
            lambda nodes: density.size * np.maximum(nodes, 0) / (np.maximum(nodes, 0) + alpha),
            support_of("effective_dimension"),
        ),
        alpha,
    )


def _other_matrices(
    problem: Problem, settings: Curvature, seed: int, step: _Steps
) -> tuple[Matrix | None, Matrix | None]:
    if not settings.gauss_newton:
        return None, None
    step.text = "Gauss-Newton matrix"
    gauss_newton = _matrix(GaussNewton(problem, watch=step), settings, seed)
    step.text = "empirical Fisher matrix"
    return gauss_newton, _matrix(EmpiricalFisher(problem, watch=step), settings, seed)


def _matrix(matrix: CurvatureMatrix, settings: Curvature, seed: int) -> Matrix:
    _, values, whole = _ends_and_trace(matrix, (1, 0), settings, seed, Support.POSITIVE)
    return Matrix(largest=values[0], trace=whole)


def _ends_and_trace(
    matrix: CurvatureMatrix,
    ends: tuple[int, int],
    settings: Curvature,
    seed: int,
    support: Support = Support.REAL,
) -> tuple[Eigenpairs, list[Eigenvalue], Estimate]:
    """So many greatest and least eigenvalues, and the trace, with its support."""
    pairs = eigenpairs(matrix, *ends, settings.tolerance, seed)
    covariance, groups = matrix.sampling_covariance(np.hstack([pairs.vectors, _sign_probes(matrix, seed)]))
    values = _eigenvalues(pairs, covariance, groups)
    probed = trace(matrix, pairs.space, settings.trace_products, seed, support)
    return pairs, values, with_further_error(probed, _probe_error(covariance, len(values)), support)


_KINDS: tuple[Callable[[Problem, float, int], Sharpness], ...] = (
    lambda problem, radius, seed: worst_case(problem, radius, False, seed),
    lambda problem, radius, seed: worst_case(problem, radius, True, seed),
    lambda problem, radius, seed: average_case(problem, radius, False, seed),
    lambda problem, radius, seed: average_case(problem, radius, True, seed),
    keskar_box,
)


def _sharpness(problem: Problem, settings: Curvature, seed: int, step: _Steps) -> tuple[Sharpness, ...]:
    sharpness = []
    for radius in settings.sharpness_radii:
        for rise in _KINDS:
            step.text = f"sharpness within {radius:g}"
            sharpness.append(rise(problem, radius, seed))
            step(1)
    return tuple(sharpness)
