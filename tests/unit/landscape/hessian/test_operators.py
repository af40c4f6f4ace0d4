import copy
import warnings

import numpy as np
import pytest
import torch
import torch.multiprocessing
from reference.curvature import (
    dense_empirical_fisher,
    dense_fisher,
    dense_gauss_newton,
    dense_hessian,
    quadratic,
    small_problem,
    softmax_regression_hessian,
)
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.hessian.fisher import EmpiricalFisher, has_labels
from lossmap.components.landscape.hessian.lanczos import eigenpairs
from lossmap.components.landscape.hessian.operators import GaussNewton, Hessian
from lossmap.components.landscape.hessian.traces import trace
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.landscape.parameters import gradient

KINDS = ["tanh", "squares", "convolution", "attention"]
MATRICES = {
    "hessian": Hessian,
    "gauss-newton": GaussNewton,
    "empirical": EmpiricalFisher,
}


def dense(operator):
    return operator.matmat(np.eye(operator.shape[0]))


def close(got, expected, digits=1e-11):
    # float64 throughout: a few thousand roundings of 1e-16, relative to the largest element
    np.testing.assert_allclose(got, expected, rtol=0, atol=digits * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_hessian_is_that_of_another_route(kind):
    problem = small_problem(kind)
    close(dense(Hessian(problem)), dense_hessian(problem))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("matrix", MATRICES)
def test_graphs_that_are_kept_change_no_bit(monkeypatch, kind, matrix):
    problem = small_problem(kind)
    vectors = np.random.default_rng(0).standard_normal((MATRICES[matrix](problem).shape[0], 2))

    def products(room):
        monkeypatch.setattr("lossmap.components.landscape.hessian.operators._KEPT_BYTES", room)
        operator = MATRICES[matrix](problem)
        return [operator.matmat(vectors) for _ in range(2)], len(operator._kept), room - operator._room

    (_, of_all), all_of_them, size = products(1 << 30)
    (first, second), none, _ = products(0)
    (_, of_some), some, _ = products(size // 2)
    assert none == 0 < some < all_of_them == 4
    for found in (second, of_all, of_some):
        assert np.array_equal(first, found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gauss_newton_matrix_is_the_one_written_out(kind):
    problem = small_problem(kind)
    close(dense(GaussNewton(problem)), dense_gauss_newton(problem))


def test_the_gauss_newton_matrix_is_the_fisher_matrix_where_the_loss_has_labels():
    problem = small_problem("tanh")
    assert has_labels(problem)
    close(dense(GaussNewton(problem)), dense_fisher(problem))


def test_so_it_is_for_sequences_over_all_their_labelings():
    whole = small_problem("attention", samples=2)
    problem = Problem(
        whole.network, whole.loss, Samples(whole.samples.inputs[:, :3], whole.samples.targets[:, :3], 2)
    )
    close(dense(GaussNewton(problem)), dense_fisher(problem))


@pytest.mark.parametrize("kind", ["tanh", "squares"])
def test_the_empirical_fisher_matrix_is_the_mean_of_outer_products(kind):
    problem = small_problem(kind)
    targets = 3 if kind == "squares" else 1
    close(dense(EmpiricalFisher(problem)), targets * dense_empirical_fisher(problem))


@pytest.mark.parametrize("matrix", MATRICES)
def test_no_matrix_depends_on_the_batch_size(matrix):
    problem = small_problem("tanh")
    reference = dense(MATRICES[matrix](problem))
    for batch_size in (1, 5, 23, 64):
        samples = Samples(problem.samples.inputs, problem.samples.targets, batch_size)
        close(dense(MATRICES[matrix](Problem(problem.network, problem.loss, samples))), reference, 1e-13)


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_network_stays_what_it_was(matrix):
    problem = small_problem("convolution")
    network = problem.network.train()
    network[4].requires_grad_(False)
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    before, modes, flags = (
        copy.deepcopy(network.state_dict()),
        [m.training for m in network.modules()],
        [p.requires_grad for p in network.parameters()],
    )
    storage = [p.data_ptr() for p in network.parameters()]
    operator = MATRICES[matrix](problem)
    operator.matvec(np.ones(operator.shape[0]))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == flags
    assert [p.data_ptr() for p in network.parameters()] == storage
    assert [p.grad is None for p in network.parameters()] == [False, *[True] * 5]
    assert torch.equal(network[0].weight.grad, torch.ones_like(network[0].weight))


def test_a_network_in_training_mode_is_looked_at_in_evaluation_mode():
    problem = small_problem("convolution")
    expected = dense(Hessian(problem))
    problem.network.train()
    close(dense(Hessian(problem)), expected, 1e-15)
    assert problem.network.training


def test_layers_chosen_are_a_block_of_the_whole():
    problem = small_problem("tanh")
    whole, sizes = dense_hessian(problem), list(Hessian(problem).parameters.sizes.values())
    first, last = slice(0, sizes[0]), slice(-sizes[3], None)
    block = dense(Hessian(problem, ["2.bias", "0.weight"]))
    close(
        block, np.block([[whole[first, first], whole[first, last]], [whole[last, first], whole[last, last]]])
    )


def test_an_unknown_parameter_is_named():
    with pytest.raises(ExperimentError) as caught:
        Hessian(small_problem("tanh"), ["0.weight", "9.weight"])
    assert (
        str(caught.value)
        == "the network has no parameter '9.weight', expected some of 0.weight, 0.bias, 2.weight, 2.bias"
    )


def test_parameters_that_are_not_trained_are_left_out_unless_none_is():
    problem = small_problem("tanh")
    problem.network[0].requires_grad_(False)
    assert list(Hessian(problem).parameters.sizes) == ["2.weight", "2.bias"]
    problem.network.requires_grad_(False)
    assert Hessian(problem).shape == (39, 39)


def test_a_parameter_without_use_has_rows_of_zeros():
    problem = small_problem("tanh")
    expected = dense_hessian(problem)
    problem.network.register_parameter("idle", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    got = dense(Hessian(problem))
    close(got[2:, 2:], expected)
    assert not got[:2].any()
    assert not got[:, :2].any()
    assert not dense(GaussNewton(problem))[:2].any()
    assert not dense(Hessian(problem, ["idle"])).any()


def test_a_loss_linear_in_the_parameters_has_no_curvature():
    problem = Problem(
        nn.Linear(3, 1).double(),
        lambda outputs, targets: outputs[:, 0],
        Samples(torch.randn(4, 3).double(), torch.zeros(4), 2),
    )
    assert not dense(Hessian(problem)).any()
    assert not dense(GaussNewton(problem)).any()


def test_tied_weights_count_once():
    torch.manual_seed(0)
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    network = nn.Sequential(first, nn.Tanh(), second).double()
    problem = Problem(network, cross_entropy, Samples(torch.randn(6, 3).double(), torch.randint(3, (6,)), 4))
    assert Hessian(problem).shape == (15, 15)
    close(dense(Hessian(problem)), dense_hessian(problem))


def test_other_weights_take_the_place_of_the_networks_own():
    problem = small_problem("convolution")
    moved = copy.deepcopy(problem.network)
    for tensor in (moved[0].weight.data, moved[1].running_mean):
        tensor.add_(0.3)
    weights = {"0.weight": moved[0].weight, "1.running_mean": moved[1].running_mean}
    close(
        dense(Hessian(problem, weights=weights)), dense_hessian(Problem(moved, problem.loss, problem.samples))
    )


def test_a_float32_network_gives_the_same_to_its_precision():
    problem = small_problem("convolution")
    single = Problem(
        copy.deepcopy(problem.network).float(),
        problem.loss,
        Samples(problem.samples.inputs.float(), problem.samples.targets, 7),
    )
    # some hundred roundings of 6e-8
    close(dense(Hessian(single)), dense_hessian(problem), 1e-5)


def test_the_empirical_fisher_matrix_is_there_for_a_loss_without_labels():
    problem = quadratic(np.eye(2)[None], [1.0, 2.0])
    assert not has_labels(problem)
    close(dense(EmpiricalFisher(problem)), np.outer([1.0, 2.0], [1.0, 2.0]))


def test_the_gradient_is_the_mean_of_the_samples_own():
    problem = small_problem("tanh")
    loss = cross_entropy(problem.network(problem.samples.inputs), problem.samples.targets).mean()
    expected = torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, list(problem.network.parameters()))]
    )
    close(gradient(problem), expected.numpy())


@pytest.mark.parametrize("bias", [0.0, 0.7, -2.0])
def test_softmax_regression_has_the_hessian_of_its_closed_form_at_every_point(bias):
    torch.manual_seed(1)
    inputs, network = torch.randn(30, 4).double(), nn.Linear(4, 3).double()
    problem = Problem(network, cross_entropy, Samples(inputs, torch.randint(3, (30,)), 8))
    for scale in (0.0, 1.0, 5.0):
        network.weight.data.copy_(scale * torch.randn(3, 4))
        network.bias.data.fill_(bias)[0] = 0.0
        expected = softmax_regression_hessian(
            network.weight.detach().numpy(), network.bias.detach().numpy(), inputs.numpy()
        )
        got = dense(Hessian(problem))
        close(got, expected)
        values = np.linalg.eigvalsh(got)
        # positive semidefinite; adding one vector to all classes' rows changes nothing: a zero for each of 4
        # inputs and the bias
        assert values[0] >= -1e-15 * values[-1] * 100
        assert (values < 1e-13 * values[-1]).sum() >= 5


def test_the_sampling_covariance_is_that_of_the_samples_means():
    samples = 20
    matrices = np.random.default_rng(0).standard_normal((samples, 3, 3))
    matrices = matrices + matrices.transpose(0, 2, 1)
    vectors = np.random.default_rng(1).standard_normal((3, 2))
    covariance, groups = Hessian(quadratic(matrices, np.zeros(3))).sampling_covariance(vectors)
    forms = np.einsum("ik,nij,jk->nk", vectors, matrices, vectors)
    assert groups == samples  # fewer samples than groups: each is a group of its own
    np.testing.assert_allclose(covariance, np.cov(forms.T) / samples, rtol=1e-12)


def test_one_sample_tells_nothing_about_others():
    covariance, groups = Hessian(quadratic(np.eye(2)[None], [1.0, 1.0])).sampling_covariance(np.eye(2))
    assert groups == 1
    assert np.isnan(covariance).all()


def curvlinops():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import curvlinops

        return curvlinops


@pytest.mark.parametrize(
    "name", ["HessianLinearOperator", "GGNLinearOperator", "FisherMCLinearOperator", "EFLinearOperator"]
)
def test_curvlinops_gets_the_same_matrices(name):
    problem = small_problem("tanh")
    parameters = list(problem.network.parameters())
    ours = {
        "HessianLinearOperator": Hessian,
        "GGNLinearOperator": GaussNewton,
        "FisherMCLinearOperator": GaussNewton,
        "EFLinearOperator": EmpiricalFisher,
    }[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = {"mc_samples": 4000} if "MC" in name else {}
        theirs = getattr(curvlinops(), name)(
            problem.network,
            nn.CrossEntropyLoss(),
            parameters,
            problem.samples.batches(),
            check_deterministic=False,
            **more,
        )
        matrix = (theirs @ torch.eye(39, dtype=torch.float64)).detach().numpy()
    # their Fisher matrix is drawn: 4000 draws for each of 23 samples
    close(dense(ours(problem)), matrix, 0.05 if "MC" in name else 1e-11)


def test_curvlinops_gets_the_same_trace():
    problem = small_problem("tanh")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parameters = list(problem.network.parameters())
        operator = curvlinops().GGNLinearOperator(
            problem.network,
            nn.CrossEntropyLoss(),
            parameters,
            problem.samples.batches(),
            check_deterministic=False,
        )
        torch.manual_seed(0)
        values = [curvlinops().hutchpp_trace(operator, num_matvecs=15).item() for _ in range(12)]
    matrix = GaussNewton(problem)
    space = eigenpairs(matrix, 1, 0, 0.1, 0).space
    ours = [trace(matrix, space, 5, seed).value for seed in range(12)]
    error = np.hypot(np.std(values), np.std(ours)) / np.sqrt(12)
    assert np.mean(ours) == pytest.approx(np.mean(values), abs=4 * error)
