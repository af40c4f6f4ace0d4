"""Derivatives of losses whose samples do not count alike, against those of torch's own number for all of
them at once.
"""

import numpy as np
import pytest
import torch
from reference.curvature import Weights
from reference.losses import weighted_problem
from torch import nn
from torch.func import functional_call

from lossmap.components.config.landscape import Curvature
from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.hessian.curvature import measure
from lossmap.components.landscape.hessian.fisher import EmpiricalFisher, has_labels
from lossmap.components.landscape.hessian.operators import GaussNewton, Hessian
from lossmap.components.landscape.hessian.sharpness import average_case, keskar_box, worst_case
from lossmap.components.landscape.objective import Problem, Samples, users_loss
from lossmap.components.landscape.parameters import Parameters, sample_losses, value_and_gradient

KINDS = ["weights", "probabilities", "ignored", "places"]


def _dense(operator):
    return operator.matmat(np.eye(operator.shape[0]))


def _flat(problem):
    return torch.cat([parameter.detach().flatten() for parameter in problem.network.parameters()])


def _outputs(problem, flat):
    named = dict(problem.network.named_parameters())
    parts = flat.split([parameter.numel() for parameter in named.values()])
    weights = {name: part.reshape(named[name].shape) for name, part in zip(named, parts, strict=True)}
    return functional_call(problem.network, weights, (problem.samples.inputs,))


def _close(found, expected):
    # float64 throughout: a few thousand roundings of 1e-16, relative to the largest element
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(np.asarray(expected)).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_its_gradient_and_its_hessian_are_those_of_torchs_own_number(kind):
    problem, criterion = weighted_problem(kind)
    flat, targets = _flat(problem), problem.samples.targets

    def whole(flat):
        return criterion(_outputs(problem, flat), targets)

    loss, slope = value_and_gradient(Parameters(problem))
    assert loss == pytest.approx(float(whole(flat)), rel=1e-12)
    assert sample_losses(Parameters(problem)).mean() == pytest.approx(loss, rel=1e-12)
    _close(slope, torch.func.grad(whole)(flat))
    _close(_dense(Hessian(problem)), torch.func.jacrev(torch.func.jacrev(whole))(flat))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gauss_newton_matrix_has_the_second_derivatives_of_torchs_own_number(kind):
    problem, criterion = weighted_problem(kind)
    flat = _flat(problem)
    outputs = _outputs(problem, flat)
    jacobian = torch.func.jacrev(lambda flat: _outputs(problem, flat).flatten())(flat)

    def whole(numbers):
        return criterion(numbers.reshape(outputs.shape), problem.samples.targets)

    inner = torch.func.jacrev(torch.func.jacrev(whole))(outputs.flatten().detach())
    _close(_dense(GaussNewton(problem)), jacobian.T @ inner @ jacobian)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fisher_matrix_is_over_the_labels_that_count_and_there_is_none_with_weights(kind):
    """sum over targets that count of J' (diag p - p p') J / their number, p the probabilities of classes."""
    problem, _ = weighted_problem(kind)
    assert has_labels(problem) == (kind != "weights")
    if kind == "weights":
        return
    flat, targets = _flat(problem), problem.samples.targets
    outputs = _outputs(problem, flat).flatten(2) if kind == "places" else _outputs(problem, flat)[..., None]
    jacobian = torch.func.jacrev(lambda flat: _outputs(problem, flat).flatten())(flat).reshape(
        *outputs.shape, -1
    )
    total, count = 0, 0
    for sample in range(len(outputs)):
        for place in range(outputs.shape[2]):
            own = targets[sample].reshape(-1)[place]
            if kind == "probabilities" or own != -100:
                p, j = outputs[sample, :, place].softmax(0), jacobian[sample, :, place]
                total, count = total + j.T @ (torch.diag(p) - torch.outer(p, p)) @ j, count + 1
    _close(_dense(GaussNewton(problem)), (total / count).detach())


@pytest.mark.parametrize("kind", KINDS)
def test_the_empirical_fisher_matrix_is_per_target_that_counts(kind):
    """Over samples, sum of g g' / sum of targets that count, g the derivative of a sample's part of f times
    the number of those targets.
    """
    problem, criterion = weighted_problem(kind)
    flat, targets = _flat(problem), problem.samples.targets
    counted = len(targets) if kind == "probabilities" else int((targets != -100).sum())
    summed = nn.CrossEntropyLoss(criterion.weight, reduction="sum", label_smoothing=criterion.label_smoothing)
    divisor = float(criterion.weight[targets].sum()) if kind == "weights" else counted
    total = 0
    for sample in range(len(targets)):
        slope = torch.func.grad(
            lambda flat, sample=sample: summed(_outputs(problem, flat)[sample][None], targets[sample][None])
        )(flat)
        slope = slope * counted / divisor
        total = total + torch.outer(slope, slope) / counted
    _close(_dense(EmpiricalFisher(problem)), total)


def test_probabilities_that_do_not_add_up_to_one_are_no_labels():
    problem, _ = weighted_problem("probabilities")
    samples = Samples(problem.samples.inputs, 2 * problem.samples.targets, 7)
    assert not has_labels(Problem(problem.network, problem.loss, samples))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_depends_on_the_batch_size_nor_on_a_last_batch_of_one(kind):
    problem, _ = weighted_problem(kind)
    vector = np.random.default_rng(0).standard_normal(Parameters(problem).size)
    expected = Hessian(problem).matvec(vector)
    for size in (1, 2, 22):
        samples = Samples(problem.samples.inputs, problem.samples.targets, size)
        _close(Hessian(Problem(problem.network, problem.loss, samples)).matvec(vector), expected)


def _constant_problem(targets, loss):
    """The same scores for every sample."""
    network = Weights([0.3, -0.2, 0.1])
    return Problem(network, users_loss(loss, "own"), Samples(torch.zeros(len(targets), 1), targets, 7))


def test_a_product_that_is_the_same_whichever_samples_are_drawn_has_no_sampling_variance():
    """The Hessian of cross-entropy to the scores, diag p - p p', does not depend on the class: with weights
    of the classes, sum w_n H / sum w_n is H in every draw.
    """
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0, 0.7]))
    hessian = Hessian(_constant_problem(torch.arange(60) % 3, loss))
    covariance, groups = hessian.sampling_covariance(np.eye(3))
    assert groups == 25
    np.testing.assert_allclose(covariance, 0, atol=1e-30)


@pytest.mark.parametrize("rise", [worst_case, average_case, keskar_box])
def test_a_rise_that_is_the_same_whichever_samples_are_drawn_has_no_sampling_error(rise):
    problem = _constant_problem(
        torch.tensor([0, 0, -100, 0, -100, 0, 0, -100, 0, 0, 0]), nn.CrossEntropyLoss()
    )
    once = _constant_problem(torch.zeros(1, dtype=torch.int64), nn.CrossEntropyLoss())
    found, single = rise(problem, 0.1), rise(once, 0.1)
    assert found.rise.value == pytest.approx(single.rise.value, rel=1e-9)
    if rise is not average_case:  # whose draws have an error of their own
        assert found.rise.standard_error == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("kind", ["weights", "places"])
def test_everything_is_measured(kind):
    problem, _ = weighted_problem(kind)
    settings = Curvature(gauss_newton=True, top=1, bottom=1, trace_products=6, sharpness_radii=(0.1,))
    found = measure(problem, settings, seed=0)
    assert (found.fisher is None) == (kind == "weights")
    assert found.largest[0].estimate.value == pytest.approx(
        np.linalg.eigvalsh(_dense(Hessian(problem)))[-1], rel=1e-4
    )
    assert found.sharpness[0].rise.value > 0


@pytest.mark.parametrize("rise", [worst_case, average_case, keskar_box])
def test_a_rise_over_a_single_sample_has_no_error_over_samples(rise):
    found = rise(_constant_problem(torch.zeros(1, dtype=torch.int64), nn.CrossEntropyLoss()), 0.1)
    assert found.rise.value > 0


def _shifted(loss):
    return Problem(
        nn.Linear(3, 3).double(),
        users_loss(loss, "own"),
        Samples(torch.ones(4, 3).double(), torch.arange(4) % 3, 4),
    )


def test_a_loss_without_second_derivatives_is_one_line():
    problem = _shifted(nn.MultiMarginLoss())
    assert value_and_gradient(Parameters(problem))[0] > 0
    for matrix in (Hessian, GaussNewton):
        with pytest.raises(ExperimentError) as refused:
            _dense(matrix(problem))
        assert str(refused.value).startswith(
            "the loss or the network has no second derivatives: RuntimeError: "
        )
        assert "\n" not in str(refused.value)


def test_a_loss_that_is_cut_off_from_the_outputs_is_one_line_and_no_zero():
    problem = _shifted(lambda outputs, targets: outputs.detach().square().mean(dim=1))
    for compute in (
        lambda: _dense(Hessian(problem)),
        lambda: _dense(EmpiricalFisher(problem)),
        lambda: value_and_gradient(Parameters(problem)),
    ):
        with pytest.raises(
            ExperimentError, match=r"^the loss own has no derivative to the outputs, expected"
        ):
            compute()
