import copy
import math

import numpy as np
import pytest
import torch
from reference.curvature import dense_gauss_newton, dense_hessian, matrix_with, quadratic, small_problem
from scipy.sparse.linalg import LinearOperator, aslinearoperator, eigsh
from scipy.stats import norm
from torch import nn

from lossmap.components.config.landscape import Curvature
from lossmap.components.landscape.hessian.convexity import ConvexityEvaluator, convexity_at
from lossmap.components.landscape.hessian.curvature import CurvatureResult, measure
from lossmap.components.landscape.hessian.lanczos import (
    Density,
    Krylov,
    NotFinite,
    eigenpairs,
    least_steps,
    smoothed_density,
    spectral_density,
)
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.hessian.traces import layer_traces, trace
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy

BULK = np.concatenate([np.linspace(-1, 1, 195), [3.0, 5.0, 9.0, -2.0, -4.0]])


def operator(eigenvalues, seed=0):
    return aslinearoperator(matrix_with(eigenvalues, seed))


def counting(matrix):
    counts = []

    def product(vectors):
        counts.append(vectors.reshape(len(matrix), -1).shape[1])
        return matrix @ vectors

    return LinearOperator(matrix.shape, matvec=product, matmat=product, dtype=float), counts


def traced(matrix, probes, seed=0):
    """The trace, with what a search for both ends to a tenth of the spectrum's width knows of it."""
    return trace(matrix, eigenpairs(matrix, 1, 1, 0.1, 0).space, probes, seed)


def covered(intervals, truth):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def binomial(repeats, rate=0.95):
    return 3 * math.sqrt(rate * (1 - rate) / repeats)


# eigenpairs


def test_eigenpairs_are_the_known_ones_at_both_ends():
    found = eigenpairs(operator(BULK), 3, 2, 1e-8, seed=1)
    # the error of an eigenvalue is at most residual^2 / gap
    np.testing.assert_allclose(found.values, [9, 5, 3, -4, -2], atol=1e-12)
    assert found.top == 3
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(5), atol=1e-8)
    assert found.residuals.max() < 1e-8 * 9 * 10


@pytest.mark.parametrize("tolerance", [0.3, 0.05, 1e-3])
def test_residuals_are_what_they_say_and_an_eigenvalue_is_within_them(tolerance):
    matrix = matrix_with(BULK, 2)
    found = eigenpairs(aslinearoperator(matrix), 2, 2, tolerance, seed=0)
    np.testing.assert_allclose(
        found.residuals,
        np.linalg.norm(matrix @ found.vectors - found.vectors * found.values, axis=0),
        rtol=1e-6,
        atol=1e-13,
    )
    for value, residual in zip(found.values, found.residuals, strict=True):
        assert np.abs(BULK - value).min() <= residual + 1e-13
    assert found.residuals.max() <= tolerance * 9


def test_scipy_finds_the_same():
    matrix = matrix_with(np.random.default_rng(0).standard_normal(150) ** 3, 1)
    found = eigenpairs(aslinearoperator(matrix), 3, 3, 1e-9, seed=0)
    np.testing.assert_allclose(
        found.values[:3], eigsh(matrix, 3, which="LA", return_eigenvectors=False)[::-1], atol=1e-10
    )
    np.testing.assert_allclose(
        found.values[3:], eigsh(matrix, 3, which="SA", return_eigenvectors=False)[::-1], atol=1e-10
    )


def test_a_least_eigenvalue_of_zero_costs_no_more_than_others():
    matrix = matrix_with([*np.linspace(0.5, 4, 30), *[0.0] * 270], 3)
    measured, counts = counting(matrix)
    found = eigenpairs(measured, 1, 1, 0.01, seed=0)
    assert abs(found.values[1]) < 0.01 * 4
    assert sum(counts) <= least_steps(0.01, 300) + 2


def test_it_ends_when_what_it_has_found_shows_that_it_has_missed_nothing():
    # as the Hessian of a trained network: few that stand out from many near 0
    matrix, random = matrix_with([*np.linspace(-0.05, 0.1, 490), *np.linspace(0.5, 9, 10)], 3), 0
    measured, counts = counting(matrix)
    found = eigenpairs(measured, 1, 1, 0.01, seed=random)
    np.testing.assert_allclose(found.values, [9, -0.05], atol=0.01 * 9.05)
    assert sum(counts) <= least_steps(0.01, 500) / 2


@pytest.mark.parametrize("width", [0.3, 0.03])
def test_what_a_space_excludes_is_there_no_more_often_than_stated(width):
    # at the end of each bulk one eigenvalue stands out
    eigenvalues = np.concatenate([np.linspace(-width, 0, 398), [1.0, -width - 0.02]])
    diagonal, wrong = aslinearoperator(np.diag(eigenvalues)), 0
    for seed in range(100):
        space = Krylov.started(np.random.default_rng(seed).standard_normal(400))
        for _ in range(60):
            space.extend(diagonal.matvec(space.basis[-1]))
            if space.excludes(space.eigen()[0][0] - 0.01):
                break
            space.advance()
        wrong += bool(space.eigen()[0][0] - 0.01 > eigenvalues.min())
    assert wrong <= 100 * 0.025 + 3 * math.sqrt(100 * 0.025)


@pytest.mark.parametrize("eigenvalues", [[2.0], [1.0, -1.0], [3.0, 1.0, 0.0, -2.0]])
def test_tiny_matrices_are_solved_whole(eigenvalues):
    found = eigenpairs(operator(eigenvalues), 3, 3, 0.1, seed=0)
    expected = sorted(eigenvalues)
    np.testing.assert_allclose(found.values, [*expected[::-1][:3], *expected[:3]], atol=1e-14)


def test_no_end_need_be_asked_for():
    found = eigenpairs(operator(BULK), 1, 0, 1e-6, seed=0)
    assert found.values == pytest.approx([9])


def test_several_equal_eigenvalues_are_all_found():
    found = eigenpairs(operator([7.0, 7.0, 7.0, *np.zeros(60), -5.0, -5.0]), 3, 2, 1e-6, seed=0)
    np.testing.assert_allclose(found.values, [7, 7, 7, -5, -5], atol=1e-10)


def test_the_zero_matrix_has_eigenvalues_of_zero():
    assert not eigenpairs(aslinearoperator(np.zeros((50, 50))), 2, 1, 0.01, seed=0).values.any()


def test_an_eigenvalue_outside_is_missed_no_more_often_than_stated():
    # one eigenvalue stands out by just the tolerance from a bulk in which the process sees no gap
    tolerance, size, missed = 0.05, 400, 0
    eigenvalues = np.append(np.linspace(0, 0.949, size - 1), 1.0)
    diagonal = aslinearoperator(np.diag(eigenvalues))
    for seed in range(100):
        missed += eigenpairs(diagonal, 1, 0, tolerance, seed).values[0] < 1 - tolerance
    assert missed <= 5


def test_the_seed_decides_every_bit():
    first, second, other = (eigenpairs(operator(BULK), 1, 1, 0.05, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.vectors, second.vectors)
    assert not np.array_equal(first.vectors, other.vectors)


@pytest.mark.parametrize("size", [5, 60])
def test_what_is_not_finite_is_refused(size):
    broken = aslinearoperator(np.full((size, size), np.nan))
    for attempt in (
        lambda: eigenpairs(broken, 1, 1, 0.1, 0),
        lambda: trace(broken, None, 6, 0),
        lambda: spectral_density(broken, 1, 3, 0),
    ):
        with pytest.raises(NotFinite, match="not finite at these weights, expected a network whose loss is"):
            attempt()


@pytest.mark.parametrize("greatest", [0.8, 30.0])
def test_gradient_descent_on_a_quadratic_diverges_just_above_two_over_the_greatest_eigenvalue(greatest):
    matrix = matrix_with([*np.linspace(0.01, 0.5, 60), greatest], 0)
    found = eigenpairs(aslinearoperator(matrix), 1, 0, 1e-6, seed=0).values[0]
    for factor, grows in ((0.999, False), (1.001, True)):
        weights = np.ones(61)
        start = np.linalg.norm(weights)
        for _ in range(10000):
            weights = weights - factor * 2 / found * matrix @ weights
        # the factor of the steepest direction is 1 - 2 * 0.999 or 1 - 2 * 1.001 for each step
        assert (np.linalg.norm(weights) > start) == grows


# traces


def test_the_trace_is_exact_with_as_many_products_as_rows():
    for eigenvalues, probes in (([1.0, 2.0, -5.0], 2), (BULK, 200)):
        found = traced(operator(eigenvalues), probes)
        assert found.value == pytest.approx(sum(eigenvalues))
        assert found.standard_error == 0


@pytest.mark.parametrize("eigenvalues", [BULK, np.arange(1, 101) ** -1.0], ids=["indefinite", "decaying"])
@pytest.mark.parametrize("probes", [6, 30])
def test_the_trace_is_unbiased_and_its_interval_covers_as_stated(eigenvalues, probes):
    matrix = operator(eigenvalues)
    repeats = 300
    found = [traced(matrix, probes, seed) for seed in range(repeats)]
    values = [estimate.value for estimate in found]
    assert np.mean(values) == pytest.approx(sum(eigenvalues), abs=4 * np.std(values) / math.sqrt(repeats))
    assert covered(found, sum(eigenvalues)) == pytest.approx(0.95, abs=binomial(repeats))


def test_the_traces_error_falls_as_the_root_of_the_probes():
    matrix, exact = matrix_with(np.tile([1.0, -1.0, 0.3], 50), 1), 15

    def error(probes):
        found = [traced(aslinearoperator(matrix), probes, seed).value for seed in range(60)]
        return np.sqrt(np.mean((np.array(found) - exact) ** 2))

    # root mean square of 60: 9 % each, 13 % of the ratio
    assert error(12) / error(48) == pytest.approx(2, rel=0.39)


def test_what_the_search_for_eigenvalues_knows_of_a_trace_needs_no_probes():
    matrix = matrix_with(np.arange(1, 151) ** -2.0, 0)
    plain = math.sqrt(2 * (np.sum(matrix**2) - np.sum(np.diagonal(matrix) ** 2)) / 6)  # Hutchinson's error
    found = [traced(aslinearoperator(matrix), 6, seed).value for seed in range(60)]
    assert np.sqrt(np.mean((np.array(found) - np.trace(matrix)) ** 2)) < plain / 10


def test_layers_traces_add_up_and_are_those_of_the_blocks():
    matrix, sizes = matrix_with(BULK, 4), {"a": 20, "b": 100, "c": 80}
    space = eigenpairs(aslinearoperator(matrix), 1, 1, 0.1, 0).space
    found = [layer_traces(aslinearoperator(matrix), sizes, space, 30, seed) for seed in range(200)]
    assert found[0][""].value == pytest.approx(sum(found[0][name].value for name in sizes), rel=1e-12)
    assert found[0][""] == trace(aslinearoperator(matrix), space, 30, 0)
    for name, block in (("a", slice(0, 20)), ("b", slice(20, 120)), ("c", slice(120, 200))):
        truth = np.trace(matrix[block, block])
        values = [estimate[name].value for estimate in found]
        assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / math.sqrt(200))
        assert covered([estimate[name] for estimate in found], truth) == pytest.approx(
            0.95, abs=binomial(200)
        )


def test_the_trace_is_the_mean_second_difference_over_gaussian_directions():
    # Bottcher & Wheeler 2022: E d'Hd = tr H; the loss itself is differenced, by the network, with steps whose
    # fourth-order error is negligible
    problem = small_problem("tanh")
    exact = np.trace(dense_hessian(problem))
    weights = torch.nn.utils.parameters_to_vector(problem.network.parameters()).detach()

    def loss(vector):
        torch.nn.utils.vector_to_parameters(vector, problem.network.parameters())
        with torch.no_grad():
            return (
                problem.loss(problem.network(problem.samples.inputs), problem.samples.targets).mean().item()
            )

    centre, step = loss(weights), 1e-3
    draws = torch.randn(144, len(weights), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    second = [(loss(weights + step * d) - 2 * centre + loss(weights - step * d)) / step**2 for d in draws]
    loss(weights)
    error = np.std(second, ddof=1) / 12
    assert np.mean(second) == pytest.approx(exact, abs=3 * error)
    assert traced(Hessian(problem), 18).value == pytest.approx(np.mean(second), abs=5 * error)


# density


def test_a_probes_weights_sum_to_one_and_its_moments_are_exact():
    matrix = matrix_with(BULK, 5)
    density = spectral_density(aslinearoperator(matrix), 4, 12, seed=0)
    assert density.size == 200
    for nodes, weights in zip(density.nodes, density.weights, strict=True):
        assert len(nodes) == 12
        assert sum(weights) == pytest.approx(1, rel=1e-13)
    powers = [density.average(lambda nodes, power=power: nodes**power) for power in (1, 2)]
    assert powers[0].value == pytest.approx(BULK.mean(), abs=4 * powers[0].standard_error)
    assert powers[1].value == pytest.approx((BULK**2).mean(), abs=4 * powers[1].standard_error)


def test_the_rule_is_that_of_the_probes_own_measure():
    # Gauss quadrature of 4 nodes is exact up to degree 7: v' A^k v, with the probe's vector found from its
    # own first moments
    eigenvalues = np.array([*np.linspace(-1, 1, 39), 3.0])
    density = spectral_density(aslinearoperator(np.diag(eigenvalues)), 1, 4, seed=0)
    # all steps: the measure itself
    whole = spectral_density(aslinearoperator(np.diag(eigenvalues)), 1, 40, seed=0)
    np.testing.assert_allclose(whole.nodes[0], eigenvalues, atol=1e-10)
    for degree in range(8):
        expected = np.dot(whole.weights[0], np.array(whole.nodes[0]) ** degree)
        assert np.dot(density.weights[0], np.array(density.nodes[0]) ** degree) == pytest.approx(
            expected, rel=1e-10, abs=1e-12
        )


def test_the_mean_of_moments_covers_trace_over_n_as_stated():
    matrix = operator(BULK)
    found = [spectral_density(matrix, 5, 5, seed).average(lambda nodes: nodes) for seed in range(200)]
    assert covered(found, BULK.mean()) == pytest.approx(0.95, abs=binomial(200))


def test_few_distinct_eigenvalues_end_the_process_early():
    density = spectral_density(operator([*np.ones(50), *np.full(50, 4.0)]), 2, 30, seed=0)
    assert [len(nodes) for nodes in density.nodes] == [2, 2]
    np.testing.assert_allclose(density.nodes[0], [1, 4], atol=1e-10)


def test_the_smoothed_density_is_that_of_all_eigenvalues_and_its_interval_covers_it():
    width, matrix, repeats = 0.3, operator(BULK), 80
    found = [smoothed_density(spectral_density(matrix, 5, 25, seed), width) for seed in range(repeats)]
    at = found[0].eigenvalues
    exact = norm.pdf(at[:, None], BULK, width).mean(axis=1)
    assert np.trapezoid(found[0].density, at) == pytest.approx(1, abs=1e-4)
    place = 200
    inside = [
        curve.low[place] <= np.interp(curve.eigenvalues[place], at, exact) <= curve.high[place]
        for curve in found
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=binomial(repeats))
    mean = np.mean([np.interp(at, curve.eigenvalues, curve.density) for curve in found], axis=0)
    # the average of 400 probes of 200 numbers: a percent of the highest value
    np.testing.assert_allclose(mean, exact, atol=0.02 * exact.max())


def test_one_probe_has_a_density_and_no_interval():
    density = Density(nodes=((1.0, 2.0),), weights=((0.5, 0.5),), size=2)
    curve = smoothed_density(density)
    assert curve.width == pytest.approx(0.01)
    assert np.isnan(curve.low).all()
    assert density.average(lambda nodes: nodes).low is None
    assert np.trapezoid(curve.density, curve.eigenvalues) == pytest.approx(1, abs=1e-3)


def test_a_density_of_one_point_is_drawn():
    assert np.isfinite(smoothed_density(Density(nodes=((0.0,),), weights=((1.0,),), size=3)).density).all()


# what the samples leave open


def drawn(mean, spread, samples, seed):
    """Symmetric matrices around a mean, one for each sample."""
    random = np.random.default_rng(seed).standard_normal((samples, *mean.shape))
    return mean + spread * (random + random.transpose(0, 2, 1)) / math.sqrt(2)


def test_intervals_over_samples_cover_the_populations_numbers_as_stated():
    # the population's Hessian is diag(4, 1, 0.5, -2) with gaps large against its samples' noise
    mean, settings, repeats = np.diag([4.0, 1.0, 0.5, -2.0]), Curvature(trace_products=4), 100
    found = [
        measure(quadratic(drawn(mean, 0.6, 16, seed), np.zeros(4), 16), settings, seed)
        for seed in range(repeats)
    ]
    margin = binomial(repeats)
    assert covered([result.largest[0].estimate for result in found], 4) == pytest.approx(0.95, abs=margin)
    assert covered([result.smallest[0].estimate for result in found], -2) == pytest.approx(0.95, abs=margin)
    assert covered([result.negative_to_positive for result in found], 0.5) == pytest.approx(0.95, abs=margin)
    # of the trace the interval is rather too wide: sign probes add their own noise
    assert covered([result.trace for result in found], 3.5) >= 0.95 - margin


def test_the_traces_interval_holds_both_the_probes_and_the_samples_errors():
    mean, repeats = matrix_with(np.linspace(-1, 3, 40), 0), 40
    settings = Curvature(trace_products=12)
    found = [
        measure(quadratic(drawn(mean, 0.5, 12, seed), np.zeros(40), 12), settings, seed)
        for seed in range(repeats)
    ]
    assert covered([result.trace for result in found], 40) >= 0.95 - binomial(repeats)
    first = found[0]
    assert first.trace.standard_error == pytest.approx(
        math.hypot(first.trace_probe_error, first.trace_sample_error)
    )


# measure


ALL = Curvature(
    top=2,
    bottom=2,
    tolerance=1e-8,
    trace_products=100,
    density_probes=12,
    density_steps=20,
    gauss_newton=True,
    sharpness_radii=(0.1, 0.5),
)


@pytest.fixture(scope="module")
def measured():
    problem, told = small_problem("tanh"), []
    return problem, measure(problem, ALL, 0, progress=lambda *args: told.append(args)), told


def test_everything_measured_is_that_of_the_dense_matrices(measured):
    problem, found, _ = measured
    hessian, gauss_newton = dense_hessian(problem), dense_gauss_newton(problem)
    values = np.linalg.eigvalsh(hessian)
    assert [value.estimate.value for value in found.largest] == pytest.approx(values[:-3:-1], rel=1e-9)
    assert [value.estimate.value for value in found.smallest] == pytest.approx(values[:2], rel=1e-9)
    assert found.negative_to_positive.value == pytest.approx(-values[0] / values[-1])
    assert found.trace.value == pytest.approx(values.sum())
    assert found.trace_probe_error == 0
    assert found.trace_sample_error > 0
    assert list(found.layer_traces) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert found.layer_traces["0.weight"].value == pytest.approx(np.trace(hessian[:20, :20]))
    assert found.gauss_newton.largest.estimate.value == pytest.approx(np.linalg.eigvalsh(gauss_newton)[-1])
    assert found.fisher == found.gauss_newton
    assert found.gauss_newton.trace.value == pytest.approx(np.trace(gauss_newton))
    assert found.samples == 23
    assert found.parameters == 39


def test_the_effective_dimension_is_the_sum_over_positive_eigenvalues(measured):
    problem, found, _ = measured
    values = np.linalg.eigvalsh(dense_hessian(problem))
    assert found.alpha == pytest.approx(0.01 * values[-1])
    expected = sum(value / (value + found.alpha) for value in values if value > 0)
    estimate = found.effective_dimension
    assert estimate.value == pytest.approx(expected, abs=4 * estimate.standard_error)
    assert measure(problem, Curvature(density_probes=1), 0, alpha=3.0).alpha == 3.0


def test_a_result_survives_json(measured):
    _, found, _ = measured
    assert CurvatureResult.model_validate_json(found.model_dump_json()) == found


def test_progress_rises_to_its_total(measured):
    _, _, told = measured
    assert {total for _, total, _ in told} == {told[0][1]}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] <= told[-1][1]
    assert {text for _, _, text in told} >= {
        "eigenvalues of the Hessian",
        "trace of the Hessian",
        "Gauss-Newton matrix",
        "sharpness within 0.5",
    }


def test_scalars_have_names_values_and_the_ends_of_their_intervals(measured):
    _, found, _ = measured
    scalars = found.scalars()
    assert scalars["hessian_largest"] == found.largest[0].estimate.value
    assert scalars["hessian_trace_low"] < scalars["hessian_trace"] < scalars["hessian_trace_high"]
    assert scalars["keskar_box_sharpness_0.1"] == found.sharpness[4].rise.value
    assert {
        "gauss_newton_largest",
        "fisher_trace",
        "empirical_fisher_largest",
        "effective_dimension",
        "hessian_smallest",
    } < set(scalars)


def test_nothing_is_measured_that_was_not_asked_for():
    found = measure(small_problem("tanh"), Curvature(), 0)
    assert (
        found.density,
        found.effective_dimension,
        found.alpha,
        found.gauss_newton,
        found.fisher,
        found.sharpness,
    ) == (None,) * 5 + ((),)


def test_a_loss_without_labels_has_no_fisher_numbers():
    found = measure(quadratic(np.stack([np.eye(3)] * 4), np.ones(3)), Curvature(gauss_newton=True), 0)
    assert found.fisher is None
    assert found.gauss_newton.largest.estimate.value == pytest.approx(1)


def test_one_sample_leaves_the_intervals_open():
    found = measure(quadratic(np.diag([1.0, -1.0])[None], np.ones(2)), Curvature(), 0)
    assert found.largest[0].estimate.low is None
    assert found.trace_sample_error is None


def test_a_concave_loss_has_no_ratio():
    assert measure(quadratic(-np.eye(3)[None], np.ones(3)), Curvature(), 0).negative_to_positive is None


# convexity


def test_a_known_saddle_is_one():
    found = convexity_at(quadratic(np.diag([2.0, -2.0])[None], np.zeros(2)), 0.01)
    assert (found.smallest, found.largest) == (-2, 2)
    assert max(found.smallest_residual, found.largest_residual) == 0


def directions(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    return tuple(
        {
            name: torch.randn(p.shape, generator=random, dtype=torch.float64)
            for name, p in network.named_parameters()
        }
        for _ in "xy"
    )


def test_a_points_extreme_eigenvalues_are_those_of_the_network_moved_there():
    problem = small_problem("convolution")
    dx, dy = directions(problem.network)
    found = ConvexityEvaluator(problem, (dx, dy), 1e-8)(0.5, -0.25)
    moved = copy.deepcopy(problem.network)
    for name, parameter in moved.named_parameters():
        parameter.data.add_(0.5 * dx[name] - 0.25 * dy[name])
    values = np.linalg.eigvalsh(dense_hessian(Problem(moved, problem.loss, problem.samples)))
    assert (found.smallest, found.largest) == pytest.approx((values[0], values[-1]), rel=1e-9)
    assert max(found.smallest_residual, found.largest_residual) <= 1e-8 * values[-1]


def test_points_do_not_depend_on_those_before_nor_move_the_network():
    problem = small_problem("tanh")
    before = copy.deepcopy(problem.network.state_dict())
    evaluate = ConvexityEvaluator(problem, directions(problem.network), 0.05)
    points = [(0.0, 0.0), (0.5, 1.0), (-1.0, 0.2)]
    forwards = [evaluate(*point) for point in points]
    assert [evaluate(*point) for point in reversed(points)] == forwards[::-1]
    assert all(torch.equal(before[name], value) for name, value in problem.network.state_dict().items())
    assert evaluate(0.0, 0.0) == convexity_at(problem, 0.05)


def test_statistics_move_where_they_have_directions():
    problem = small_problem("convolution")
    dx, dy = directions(problem.network)
    still = ConvexityEvaluator(problem, (dx, dy), 0.05)(0.3, 0.0)
    dx["1.running_mean"], dy["1.running_mean"] = torch.ones(3).double(), torch.zeros(3).double()
    assert ConvexityEvaluator(problem, (dx, dy), 0.05)(0.3, 0.0) != still


def test_softmax_regression_is_convex_at_every_point_of_a_grid_in_float32():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    problem = Problem(network, cross_entropy, Samples(torch.randn(40, 1, 8, 8), torch.randint(4, (40,)), 16))
    evaluate = ConvexityEvaluator(problem, directions(network), 0.05)
    for x, y in [(0.0, 0.0), (1.0, 0.0), (-1.0, 1.0), (0.3, -2.0), (3.0, 3.0)]:
        found = evaluate(x, y)
        # products in float32: noise of 1e-6 of the greatest
        assert found.smallest >= -1e-6 * found.largest
        assert abs(found.smallest) <= 0.01 * found.largest


def test_a_point_where_the_loss_is_not_finite_is_not_a_number():
    problem = small_problem("tanh")
    found = ConvexityEvaluator(problem, directions(problem.network), 0.05)(1.7e308, 1.7e308)
    assert all(math.isnan(value) for value in vars(found).values())
    assert math.isfinite(convexity_at(problem, 0.05).smallest)
