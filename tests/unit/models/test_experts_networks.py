import copy

import numpy as np
import pytest
import torch
from reference import experts as reference
from reference.manifests import manifest
from support.processes import as_ranks
from torch import nn

from lossmap.components.config.models import Experts, MixtureOfExperts
from lossmap.components.landscape.connectivity.symmetries import channel_spaces
from lossmap.components.landscape.directions.normalization import normalize
from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.landscape.parameters import gradient
from lossmap.components.models import build

CASES = [(spread, active, capacity) for spread in (False, True) for active, capacity in ((1, None), (2, 1.0))]


def test_gradients_of_two_processes_are_the_mean_of_two_copies_also_where_experts_are_spread(tmp_path):
    as_ranks(2, reference.rank_main, str(tmp_path), CASES, 4)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for case in CASES:
        expected = reference.gradients_by_hand(case[1], case[2], 4)
        for step, gradients in enumerate(expected):
            assert case[1] > 1 or any(not gradient.any() for gradient in gradients), (
                "some experts are idle where each input has one"
            )
            for a, b, c in zip(first[case][step], second[case][step], gradients, strict=True):
                assert torch.equal(a, b)
                # float64: sums in another order
                torch.testing.assert_close(a, c, rtol=1e-11, atol=1e-13)


def _problem(body):
    network = (
        build(
            MixtureOfExperts(body=body, width=4, experts=Experts(count=3, active=2, hidden=3)),
            manifest(1, 4, 3),
        )
        .double()
        .eval()
    )
    torch.manual_seed(4)
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1 or "gate" in name:
            # with biases of zero, places without a signal lie on the kink of every ReLU
            nn.init.normal_(parameter)
    return Problem(
        network,
        cross_entropy,
        Samples(torch.randn(10, 1, 4, 4, dtype=torch.float64), torch.randint(3, (10,)), 4),
    )


@pytest.mark.parametrize("body", ["perceptron", "convolutional"])
def test_hessian_products_equal_differences_of_gradients(body):
    problem = _problem(body)
    hessian = Hessian(problem)
    vector = np.random.default_rng(5).normal(size=hessian.shape[0])
    values = []
    for step in (1e-6, -1e-6):
        moved = copy.deepcopy(problem.network)
        nn.utils.vector_to_parameters(
            nn.utils.parameters_to_vector(moved.parameters()) + step * torch.from_numpy(vector),
            moved.parameters(),
        )
        values.append(gradient(Problem(moved, problem.loss, problem.samples)))
    product = hessian @ vector
    assert np.abs(product).max() > 1e-2
    # roundings of 1e-16 / 1e-6, and the square of the step; no input changes its experts so near
    np.testing.assert_allclose(product, (values[0] - values[1]) / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("body", ["perceptron", "convolutional"])
def test_a_point_of_the_surface_is_the_loss_of_the_network_moved_there(body):
    problem = _problem(body)
    weights = dict(problem.network.named_parameters())
    random = {name: torch.randn_like(parameter) for name, parameter in weights.items()}
    direction = normalize(random, weights, "filter", True)
    expert = next(name for name in direction if name.endswith("experts.0.0.weight"))
    torch.testing.assert_close(
        direction[expert].norm(dim=1), weights[expert].detach().norm(dim=1), rtol=1e-12, atol=0
    )
    moved = copy.deepcopy(problem.network)
    for name, parameter in moved.named_parameters():
        parameter.data += 0.5 * direction[name]
    expected = problem.loss(moved(problem.samples.inputs), problem.samples.targets).mean().item()
    still = {name: torch.zeros_like(value) for name, value in direction.items()}
    assert Evaluator(problem, (direction, still), "frozen")(0.5, 0.0).loss == pytest.approx(
        expected, rel=1e-12
    )


def test_symmetries_of_gated_channels_are_not_claimed():
    found = channel_spaces(_problem("perceptron").network)
    assert found.reason.startswith("the network's data flow cannot be traced")


@pytest.mark.parametrize("body", ["perceptron", "convolutional"])
def test_the_network_has_the_parameters_of_its_description(body):
    experts = Experts(count=3, active=1, hidden=5)
    network = build(MixtureOfExperts(body=body, width=4, experts=experts), manifest(2, 8, 10))
    layer = 2 * 4 * 3 + 3 * (4 * 5 + 5 + 5 * 4 + 4)
    ends = {
        "perceptron": 2 * 64 * 4 + 4 + 4 * 10 + 10,
        "convolutional": 9 * (2 * 4 + 4 * 4 + 4 * 4) + 4 * 2 * 4 + 4 * 10 + 10,
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == layer + ends[body]
    assert network(torch.randn(5, 2, 8, 8)).shape == (5, 10)
