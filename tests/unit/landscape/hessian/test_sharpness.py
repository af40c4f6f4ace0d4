import copy
import math

import numpy as np
import pytest
import torch
from reference.curvature import Weights, matrix_with, quadratic, small_problem
from scipy.optimize import brentq

from lossmap.components.landscape.hessian.sharpness import average_case, keskar_box, worst_case
from lossmap.components.landscape.objective import Problem, Samples

EIGENVALUES = np.array([3.0, 1.5, 1.0, 0.5, 0.2, -0.5, 0.8, 0.1])
MATRIX = matrix_with(EIGENVALUES, 0)


def known(weights, matrix=MATRIX):
    return quadratic(np.stack([matrix, matrix]), weights)


def greatest_rise(matrix, slope, radius):
    """max slope' d + d' A d / 2 over |d| <= radius: d = (t - A)^-1 slope with the t above the greatest
    eigenvalue where |d| = radius.
    """
    values, vectors = np.linalg.eigh(matrix)
    along = vectors.T @ slope

    def length(t):
        return np.linalg.norm(along / (t - values)) - radius

    t = brentq(length, values[-1] + 1e-9, values[-1] + 1e6, xtol=1e-14)
    displacement = vectors @ (along / (t - values))
    return slope @ displacement + displacement @ matrix @ displacement / 2


def test_the_worst_case_at_a_minimum_is_half_the_greatest_eigenvalue_times_the_squared_radius():
    found = worst_case(known(np.zeros(8)), 0.3)
    # the search stops after 20 steps, each of which shrinks what is not along the top vector to (1 + 2 * 1.5
    # / 3) / 3
    assert found.rise.value == pytest.approx(3 * 0.3**2 / 2, rel=1e-4)
    assert found.kind == "worst_case"
    assert found.radius == 0.3


@pytest.mark.parametrize("radius", [0.01, 0.5, 3.0])
def test_the_worst_case_is_that_of_the_trust_region_problem(radius):
    weights = np.linspace(-1, 1, 8)
    expected = greatest_rise(MATRIX, MATRIX @ weights, radius)
    found = worst_case(known(weights), radius)
    assert found.rise.value <= expected * (1 + 1e-12)
    assert found.rise.value == pytest.approx(expected, rel=1e-3)
    assert max(found.found) == pytest.approx(found.rise.value)


@pytest.mark.parametrize("radius", [0.01, 0.5])
def test_the_adaptive_worst_case_is_the_plain_one_of_the_scaled_problem(radius):
    weights = np.linspace(-1, 1.2, 8)
    scale = np.diag(np.abs(weights))
    expected = greatest_rise(scale @ MATRIX @ scale, scale @ MATRIX @ weights, radius)
    found = worst_case(known(weights), radius, adaptive=True)
    assert found.rise.value == pytest.approx(expected, rel=1e-3)
    assert found.kind == "adaptive_worst_case"


def test_the_average_case_of_a_quadratic_is_its_trace():
    found = [average_case(known(np.ones(8)), 0.4, seed=seed, draws=20) for seed in range(40)]
    exact = 0.4**2 * EIGENVALUES.sum() / 16
    values = [sharpness.rise.value for sharpness in found]
    assert np.mean(values) == pytest.approx(exact, abs=4 * np.std(values) / math.sqrt(40))
    covered = np.mean([sharpness.rise.low <= exact <= sharpness.rise.high for sharpness in found])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 40)
    assert len(found[0].found) == 20


def test_the_adaptive_average_case_of_a_quadratic_is_the_trace_with_squared_weights():
    weights = np.linspace(-1, 2, 8)
    found = average_case(known(weights), 0.4, adaptive=True, draws=400)
    assert found.rise.value == pytest.approx(
        0.4**2 * (np.diag(MATRIX) * weights**2).sum() / 16, abs=4 * found.rise.standard_error
    )
    assert found.kind == "adaptive_average_case"


@pytest.mark.parametrize("measure", [worst_case, average_case])
def test_adaptive_numbers_do_not_change_with_the_scale_of_a_weight(measure):
    # the same function with other weights
    scale = 10.0 ** np.linspace(-1, 1, 8)
    weights = np.linspace(0.5, 1.2, 8)
    first = measure(known(weights), 0.3, True)
    second = measure(known(weights * scale, MATRIX / np.outer(scale, scale)), 0.3, True)
    assert second.rise.value == pytest.approx(first.rise.value, rel=1e-9)
    plain = measure(known(weights * scale, MATRIX / np.outer(scale, scale)), 0.3)
    assert abs(plain.rise.value / measure(known(weights), 0.3).rise.value - 1) > 0.05


def test_keskars_box_of_a_separable_quadratic_is_at_its_corner():
    weights = np.linspace(-1, 1, 8)
    curvature = np.arange(1.0, 9.0)
    problem = known(weights, np.diag(curvature))
    loss = (curvature * weights**2).sum() / 2
    reach = np.abs(weights) + 0.1 * (np.abs(weights) + 1)
    expected = 100 * ((curvature * reach**2).sum() / 2 - loss) / (1 + loss)
    found = keskar_box(problem, 0.1)
    assert found.rise.value == pytest.approx(expected, rel=1e-9)
    assert found.kind == "keskar_box"


def test_keskars_box_does_not_stop_at_a_minimum():
    found = keskar_box(known(np.zeros(8), np.diag(np.ones(8))), 0.1)
    assert found.rise.value == pytest.approx(100 * 8 * 0.1**2 / 2, rel=1e-9)
    assert found.found[0] == 0  # where the paper starts, the slope is zero


def test_the_interval_of_a_search_is_over_the_samples_at_the_displacement_found():
    random = np.random.default_rng(0)
    noise = random.standard_normal((40, 8, 8)) * 0.05
    matrices = MATRIX + noise + noise.transpose(0, 2, 1)
    found = worst_case(quadratic(matrices, np.zeros(8)), 0.3)
    top = np.linalg.eigh(matrices.mean(axis=0))[1][:, -1]
    expected = np.std(0.3**2 * np.einsum("i,nij,j->n", top, matrices, top) / 2, ddof=1) / math.sqrt(40)
    assert found.rise.standard_error == pytest.approx(expected, rel=1e-2)


def test_the_batch_size_and_the_order_of_calls_change_nothing():
    problem = small_problem("tanh")
    other = Problem(
        problem.network, problem.loss, Samples(problem.samples.inputs, problem.samples.targets, 50)
    )
    before = copy.deepcopy(problem.network.state_dict())
    for measure in (worst_case, average_case, keskar_box):
        first = measure(problem, 0.2)
        assert measure(problem, 0.2) == first
        assert measure(other, 0.2).rise.value == pytest.approx(first.rise.value, rel=1e-6)
    assert all(torch.equal(before[name], value) for name, value in problem.network.state_dict().items())


def test_the_worst_case_is_at_least_that_of_every_average_draw():
    problem = small_problem("convolution")
    worst, average = worst_case(problem, 0.5), average_case(problem, 0.5, draws=30)
    assert worst.rise.value > max(average.found)


@pytest.mark.parametrize("measure", [worst_case, average_case, keskar_box])
def test_a_loss_that_is_not_finite_nearby_has_no_rise(measure):
    def loss(outputs, targets):
        return torch.where(outputs[:, 0] > 1, torch.nan, outputs[:, 0])

    problem = Problem(Weights([0.9999, 0.0]), loss, Samples(torch.zeros(3, 1), torch.zeros(3), 2))
    found = measure(problem, 1.0)
    assert found.rise is None
    assert found.found == ()
