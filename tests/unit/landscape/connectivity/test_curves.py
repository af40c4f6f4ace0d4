import copy
import math

import numpy as np
import pytest
import torch
from reference.manifests import manifest
from reference.paths import Place, height
from torch import nn

from lossmap.components.config.models import ResNet
from lossmap.components.core.errors import TrainingError
from lossmap.components.landscape.connectivity.barriers import barrier
from lossmap.components.landscape.connectivity.curves import Descent, bezier, polygon, train_bend
from lossmap.components.landscape.connectivity.paths import Path, evaluate
from lossmap.components.landscape.objective import Samples, cross_entropy
from lossmap.components.models import build

ENDS = (
    {"place": torch.tensor([-1.0, 0.0], dtype=torch.float64)},
    {"place": torch.tensor([1.0, 0.0], dtype=torch.float64)},
)
POINTS = [i / 40 for i in range(41)]
ONE = Samples(torch.zeros(1, 1), torch.zeros(1, dtype=torch.float64), 1)


def bump(x, y):
    """A hill of height 2 beside the origin, whose top would be a place of rest; one unit away less than
    0.001 of it is left.
    """
    return 2 * torch.exp(-8 * (x**2 + (y + 0.05) ** 2))


def _bend(function, coefficients, descent, progress=lambda *_: None):
    return train_bend(
        (Place(0.0, 0.0), height(function)),
        ENDS,
        coefficients,
        lambda _: ONE.batches() * descent.steps,
        descent,
        progress,
    )


def _barrier(function, path):
    return barrier(
        evaluate((Place(0.0, 0.0), height(function)), {"train": ONE}, path, POINTS, lambda *_: None)["train"]
    )


@pytest.mark.parametrize("coefficients", [bezier, polygon])
def test_a_curve_leads_around_a_hill_that_the_line_goes_over(coefficients):
    straight = _barrier(bump, Path(ENDS))
    # at t = 1/2: 2 exp(-8 0.05^2), less the ends' 2 exp(-8 (1 + 0.05^2))
    assert straight.value == pytest.approx(2 * math.exp(-0.02) * (1 - math.exp(-8)), rel=1e-12)
    found = _barrier(
        bump, Path((ENDS[0], _bend(bump, coefficients, Descent(20, 100, 0.1, seed=0)), ENDS[1]), coefficients)
    )
    assert found.value < 0.01 * straight.value


@pytest.mark.parametrize("coefficients", [bezier, polygon])
def test_a_curve_passes_through_its_ends_and_its_weights_add_up(coefficients):
    assert coefficients(0.0) == (1.0, 0.0, 0.0)
    assert coefficients(1.0) == (0.0, 0.0, 1.0)
    assert all(sum(coefficients(t)) == pytest.approx(1, abs=1e-15) for t in POINTS)


def test_the_chain_goes_through_its_bend_and_the_bezier_curve_half_way_to_it():
    assert polygon(0.5) == (0.0, 1.0, 0.0)
    assert polygon(0.25) == (0.5, 0.5, 0.0)
    assert bezier(0.5) == (0.25, 0.5, 0.25)


def test_the_bend_of_a_quadratic_is_the_one_that_minimises_the_mean_over_the_curve():
    # f = |w - c|^2 on a Bezier curve from a to b: E 2 t (1-t) (phi(t) - c) = 0 with the integrals of t^k
    # (1-t)^(4-k)
    centre = torch.tensor([0.3, 0.8], dtype=torch.float64)
    t = (np.arange(20000) + 0.5) / 20000
    first, middle, last = np.array([bezier(value) for value in t]).T
    a, b, c = ENDS[0]["place"].numpy(), ENDS[1]["place"].numpy(), centre.numpy()
    expected = ((middle.mean() * c) - (middle * first).mean() * a - (middle * last).mean() * b) / (
        middle**2
    ).mean()
    found = _bend(lambda x, y: (x - 0.3) ** 2 + (y - 0.8) ** 2, bezier, Descent(20, 200, 0.02, seed=0))
    # 4000 random values of t, the last of them at a rate near 0: about a thousand count, 1 / sqrt(1000)
    np.testing.assert_allclose(found["place"].numpy(), expected, atol=0.03)


def test_equal_seeds_give_equal_bends_and_other_seeds_others():
    first, again, other = (_bend(bump, bezier, Descent(1, 20, 0.1, seed))["place"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_step_is_told_with_the_loss():
    heard = []
    _bend(bump, bezier, Descent(2, 3, 0.1, seed=0), lambda *step: heard.append(step))
    assert [(done, total) for done, total, _ in heard] == [(step, 6) for step in range(1, 7)]
    assert all(float(detail.removeprefix("loss ")) > 0 for _, _, detail in heard)


def test_a_curve_that_diverges_is_said_with_what_to_change():
    with pytest.raises(TrainingError) as refused:
        _bend(lambda x, y: (x**2 + y**2 - 5) ** 4, bezier, Descent(1, 50, 10.0, seed=0))
    assert str(refused.value) in (
        "the loss on the curve is nan in epoch 1; lower --curve-learning-rate (10.0)",
        "the loss on the curve is inf in epoch 1; lower --curve-learning-rate (10.0)",
    )


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_one_step_with_batch_norm_is_the_step_taken_by_hand(batch_statistics):
    networks = [build(ResNet(depth=8, seed=seed), manifest(classes=4)).double() for seed in (0, 1)]
    networks[1][1].running_mean += 0.5
    ends = networks[0].state_dict(), networks[1].state_dict()
    inputs, labels = (
        torch.randn(16, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        torch.arange(16) % 4,
    )
    before = copy.deepcopy(ends)
    descent = Descent(1, 1, 0.1, seed=4, batch_statistics=batch_statistics)
    bend = train_bend((networks[0], cross_entropy), ends, bezier, lambda _: [(inputs, labels)], descent)

    from lossmap.components.core.randomness import stream

    t = stream("curve", 4).random()
    moved = copy.deepcopy(networks[0])
    # the bend begins half way: the curve is the line
    moved.load_state_dict({name: (1 - t) * ends[0][name] + t * ends[1][name] for name in ends[0]})
    moved.train(batch_statistics)
    cross_entropy(moved(inputs), labels).mean().backward()
    for name, parameter in moved.named_parameters():
        expected = (ends[0][name] + ends[1][name]) / 2 - 0.1 * 2 * t * (1 - t) * parameter.grad
        # float64 sums in another order
        torch.testing.assert_close(bend[name], expected, rtol=1e-9, atol=1e-12)
    assert all(torch.equal(networks[0].state_dict()[name], tensor) for name, tensor in before[0].items())


def test_a_parameter_with_two_names_stays_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3, bias=False)
            self.second = nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x))

    network = Tied()
    other = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    bend = train_bend(
        (network, cross_entropy),
        (network.state_dict(), other),
        bezier,
        lambda _: [(torch.ones(2, 3), torch.tensor([0, 1]))],
        Descent(1, 1, 0.1, 0),
    )
    assert torch.equal(bend["first.weight"], bend["second.weight"])
    assert not torch.equal(bend["first.weight"], network.first.weight + 0.5)


def test_frozen_parameters_lie_halfway_and_are_not_trained():
    problem, ends, batches = _frozen_case()
    bend = train_bend(problem, ends, bezier, lambda number: batches, Descent(3, 1, 0.5, seed=0))
    assert torch.equal(bend["0.weight"], (ends[0]["0.weight"] + ends[1]["0.weight"]) / 2)
    assert not torch.equal(bend["2.weight"], (ends[0]["2.weight"] + ends[1]["2.weight"]) / 2)


def _frozen_case():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        networks = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(2)]
        batches = [(torch.randn(8, 3), torch.arange(8) % 2)]
    networks[0][0].requires_grad_(False)
    return (networks[0], cross_entropy), tuple(network.state_dict() for network in networks), batches
