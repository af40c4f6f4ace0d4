import math

import numpy as np
import pytest
import torch
from reference.manifests import manifest
from reference.paths import Place, height, naive_barrier, naive_losses, naive_rise, profile
from torch import nn

from lossmap.components.config.models import Linear, Mlp, ResNet
from lossmap.components.landscape.connectivity.barriers import barrier, largest_rise
from lossmap.components.landscape.connectivity.paths import Path, evaluate
from lossmap.components.landscape.evaluator import collecting_statistics
from lossmap.components.landscape.objective import Samples, cross_entropy, mean_squared_error
from lossmap.components.models import build

NINE = [i / 8 for i in range(9)]


def leave(network, t):
    """No statistics to settle."""


def _state(*place):
    return {"place": torch.tensor(place, dtype=torch.float64)}


def _profile(function, a, b, offsets=(0.0,), points=NINE):
    """The profile of a function of the place along the line from a to b; samples differ by an offset."""
    samples = Samples(torch.zeros(len(offsets), 1), torch.tensor(offsets, dtype=torch.float64), 3)
    found = evaluate(
        (Place(*a), height(function)), {"train": samples}, Path((_state(*a), _state(*b))), points, leave
    )
    return found["train"]


def _trained(model, seed, steps=200):
    """A network trained on eight Gaussian classes that overlap, its samples, and more for the test."""
    network, generator = (
        build(model.model_copy(update={"seed": seed}), manifest(classes=4)),
        torch.Generator().manual_seed(3),
    )
    centres = torch.randn(4, 1, 8, 8, generator=generator)
    labels = torch.arange(160) % 4
    inputs = 0.3 * centres[labels] + torch.randn(160, 1, 8, 8, generator=generator)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=1e-3)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(network(inputs[:80]), labels[:80]).mean().backward()
        optimizer.step()
    return network.eval(), inputs, labels


def test_a_path_begins_and_ends_exactly_at_its_ends_also_where_the_bend_is_nan():
    a, b = _state(0.1, 0.2), _state(1e30, -3.0)
    path = Path((a, _state(math.nan, math.inf), b), lambda t: ((1 - t) ** 2, 2 * t * (1 - t), t**2))
    assert torch.equal(path.at(0.0)["place"], a["place"])
    assert torch.equal(path.at(1.0)["place"], b["place"])
    assert path.at(0.5)["place"].isnan()[0]


def test_a_state_is_rounded_once_and_keeps_its_types():
    a = {"w": torch.tensor([0.1]), "count": torch.tensor(7)}
    b = {"w": torch.tensor([0.7]), "count": torch.tensor(90)}
    found = Path((a, b)).at(0.3)
    assert (
        found["w"] == torch.tensor([0.7 * float(a["w"]) + 0.3 * float(b["w"])], dtype=torch.float64).float()
    )
    assert (found["count"], found["w"].dtype) == (7, torch.float32)


def test_a_quadratic_is_its_formula_along_the_line_and_has_no_barrier():
    found = _profile(lambda x, y: 3 * x**2 + y**2, (1.0, 0.0), (-1.0, 2.0))
    # rounding of a few float64 operations
    np.testing.assert_allclose(found.loss, [3 * (1 - 2 * t) ** 2 + (2 * t) ** 2 for t in NINE], rtol=1e-14)
    assert (barrier(found).value, barrier(found).low, barrier(found).high) == (0.0, 0.0, 0.0)


def test_two_basins_have_the_barrier_that_the_formula_has():
    # (x^2 - 1)^2 + x / 10: the ends -1 and 1 lie at -0.1 and 0.1, the chord at 0 is 0, and the hill is 1
    found = _profile(lambda x, y: (x**2 - 1) ** 2 + 0.1 * x + y**2, (-1.0, 0.0), (1.0, 0.0))
    assert barrier(found).value == pytest.approx(1.0, abs=1e-15)
    assert barrier(found).t == 0.5
    assert largest_rise(found).value == pytest.approx(1.1, abs=1e-15)


@pytest.mark.parametrize("model", [Mlp(hidden=(16,)), ResNet(depth=8)], ids=lambda model: model.architecture)
def test_points_equal_a_deep_copied_network_evaluated_image_by_image_in_float64(model):
    (a, inputs, labels), (b, _, _) = _trained(model, 0, 10), _trained(model, 1, 10)
    states = a.state_dict(), b.state_dict()
    split = {"train": Samples(inputs[:30], labels[:30], 7), "test": Samples(inputs[80:90], labels[80:90], 7)}
    found = evaluate((a, cross_entropy), split, Path(states), [0.0, 0.4, 1.0], leave)
    for name, samples in split.items():
        for index, t in enumerate([0.0, 0.4, 1.0]):
            losses, wrong = naive_losses(a, states, t, samples.inputs, samples.targets)
            groups = [[] for _ in samples.targets]
            for group, loss in zip(samples.groups().tolist(), losses, strict=True):
                groups[group].append(loss)
            # float32 forward pass against float64: a few hundred roundings of 6e-8 each
            assert found[name].loss[index] == pytest.approx(np.mean(losses), rel=3e-5)
            assert found[name].error[index] == np.mean(wrong)
            assert found[name].loss_standard_error[index] == pytest.approx(
                np.std(losses, ddof=1) / math.sqrt(len(losses)), rel=3e-4
            )
            assert found[name].error_standard_error[index] == pytest.approx(
                np.std(wrong, ddof=1) / math.sqrt(len(wrong))
            )
            np.testing.assert_allclose(
                found[name].group_losses[index], [np.mean(group) for group in groups], rtol=3e-3, atol=1e-5
            )


def test_a_point_does_not_depend_on_the_points_before_it():
    (a, inputs, labels), (b, _, _) = _trained(ResNet(depth=8), 0, 5), _trained(ResNet(depth=8), 1, 5)
    samples = Samples(inputs[:40], labels[:40], 16)

    def reestimate(network, t):
        with collecting_statistics(network), torch.no_grad():
            for batch, _ in samples.batches():
                network(batch)

    path = Path((a.state_dict(), b.state_dict()))
    whole = evaluate((a, cross_entropy), {"train": samples}, path, NINE, reestimate)["train"]
    alone = evaluate((a, cross_entropy), {"train": samples}, path, [0.625], reestimate)["train"]
    assert alone.loss[0] == whole.loss[5]


def test_softmax_regression_has_no_barrier_between_two_seeds():
    (_, inputs, labels), generator = _trained(Linear(), 0, 0), torch.Generator().manual_seed(0)
    networks = [_trained(Linear(), seed)[0] for seed in (0, 1)]
    for network in networks:
        for parameter in network.parameters():
            # trained ones are the same: the minimiser is unique
            parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    path = Path((networks[0].state_dict(), networks[1].state_dict()))
    found = evaluate((networks[0], cross_entropy), {"train": Samples(inputs, labels, 64)}, path, NINE, leave)[
        "train"
    ]
    # a convex function never rises above a chord, on any resample of the samples
    assert barrier(found).high == 0.0
    assert (np.diff(found.loss, 2) > 0).all()


def test_barrier_and_rise_equal_loops_over_points_and_pairs():
    generator = np.random.default_rng(0)
    for _ in range(20):
        values = generator.normal(size=(9, 5))
        found = profile(NINE, values)
        # sums of a few float64 numbers of size 1 in another order
        assert barrier(found).value == pytest.approx(
            max(0.0, naive_barrier(NINE, values.mean(axis=1))), abs=1e-14
        )
        assert largest_rise(found).value == pytest.approx(naive_rise(values.mean(axis=1)), abs=1e-14)


def test_what_all_samples_share_does_not_widen_the_interval_of_a_barrier():
    hill = np.array([4 * t * (1 - t) for t in NINE])
    offsets = np.linspace(-5, 5, 50)
    shared, own = profile(NINE, hill[:, None] + offsets), profile(NINE, hill[:, None] * (1 + 0.1 * offsets))
    assert barrier(shared).high - barrier(shared).low == pytest.approx(0, abs=1e-12)
    assert shared.loss_standard_error[4] > 0.4
    # 1000 resamples: 5 % at two sigma
    assert barrier(own).high - barrier(own).low == pytest.approx(
        2 * 1.96 * own.loss_standard_error[4], rel=0.15
    )


def test_the_interval_of_a_barrier_covers_the_truth_in_95_of_100_simulations():
    hill, generator, covered = np.array([4 * t * (1 - t) for t in NINE]), np.random.default_rng(1), 0
    for _ in range(100):
        found = barrier(profile(NINE, hill[:, None] * generator.gamma(4, 0.25, size=100)))
        covered += found.low <= 1 <= found.high
    # 0.95 - 3 sqrt(0.95 0.05 / 100) = 0.885, and skewness costs a little; one that is too wide covers always
    assert 0.88 <= covered / 100 < 1


def test_a_barrier_is_infinite_where_a_loss_is_not_finite_and_says_where():
    for bad in (math.nan, math.inf):
        groups = np.ones((9, 4))
        groups[3, 2] = bad
        found = barrier(profile(NINE, groups))
        assert (found.value, found.high, found.t) == (math.inf, math.inf, 0.375)
        assert largest_rise(profile(NINE, groups)).value == math.inf


def test_without_classes_there_is_no_barrier_of_the_error():
    network = nn.Linear(2, 1)
    samples = Samples(torch.randn(6, 2), torch.randn(6, 1), 4)
    found = evaluate(
        (network, mean_squared_error),
        {"train": samples},
        Path((network.state_dict(), network.state_dict())),
        [0.0, 1.0],
        leave,
    )["train"]
    assert np.isnan(found.error).all()
    assert barrier(found, "error") is None
    assert barrier(found).value == 0.0
