import copy
import math

import numpy as np
import pytest
import torch
from reference import experts as reference
from torch import nn

from lossmap.components.config.models import Experts
from lossmap.components.models.balance import has_experts, take_balance
from lossmap.components.models.experts import ExpertLayer, load_estimate, squared_variation


def _layer(width=6, random_gates=True, **settings):
    torch.manual_seed(0)
    layer = ExpertLayer(width, Experts(**{"count": 5, "active": 2, "hidden": 4, **settings})).double()
    for weights in (layer.gate, layer.noise) if random_gates else ():
        nn.init.normal_(weights.weight)
    return layer


def _inputs(count=12, width=6):
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def _pass(layer, inputs, seed=3):
    """Output and balance of a pass in training mode, and the draws that it made."""
    torch.manual_seed(seed)
    draws = torch.randn(len(inputs), layer.settings.count, dtype=torch.float64)
    torch.manual_seed(seed)
    output = layer.train()(inputs)
    return output, take_balance(layer), draws


@pytest.mark.parametrize("active", [1, 2, 5])
def test_the_sparse_layer_equals_all_experts_on_all_inputs(active):
    layer, inputs = _layer(active=active, load_weight=0.0), _inputs()
    output, _, draws = _pass(layer, inputs)
    expected, gates = reference.dense(layer, inputs, draws)
    assert ((gates > 0).sum(dim=1) == active).all()
    assert torch.unique(gates.argmax(dim=1)).numel() > 2
    # float64: sums of a few dozen terms near 1
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        layer.eval()(inputs), reference.dense(layer, inputs)[0], rtol=1e-12, atol=1e-12
    )


def test_gradients_of_the_sparse_layer_equal_those_of_all_experts_on_all_inputs():
    layer, inputs = _layer(), _inputs().requires_grad_()
    output, _, draws = _pass(layer, inputs)
    leaves = [inputs, *layer.parameters()]
    found = torch.autograd.grad(output.square().sum(), leaves)
    expected = torch.autograd.grad(reference.dense(layer, inputs, draws)[0].square().sum(), leaves)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_gates_of_new_layers_are_nothing_but_noise_or_without_noise_not_all_equal():
    noisy, plain = _layer(random_gates=False), _layer(random_gates=False, noisy=False, load_weight=0.0)
    assert not noisy.gate.weight.any()
    assert not noisy.noise.weight.any()
    _, balance, _ = _pass(noisy, _inputs(4000))
    # importance of 5 experts on 4000 x 2 choices: relative deviation near 0.03
    assert balance.routing[0] < 0.1
    assert plain.noise is None
    assert plain.gate.weight.unique().numel() == plain.gate.weight.numel()


def test_the_load_estimate_equals_the_share_of_redrawn_noise_that_chooses_the_expert():
    generator = np.random.default_rng(0)
    clean, deviation = generator.normal(size=6), generator.uniform(0.3, 2, size=6)
    noisy, active, draws = clean + deviation * generator.normal(size=6), 2, 40_000
    estimate = load_estimate(
        *(torch.from_numpy(values)[None] for values in (clean, noisy, deviation)), active
    )
    for i in range(6):
        scores = np.tile(noisy, (draws, 1))
        scores[:, i] = clean[i] + deviation[i] * generator.normal(size=draws)
        share = np.mean((scores > scores[:, [i]]).sum(axis=1) < active)
        # four standard errors of a binomial share
        assert abs(share - float(estimate[i])) < 4 * math.sqrt(max(share * (1 - share), 1 / draws) / draws)


@pytest.mark.parametrize("active", [1, 2, 4])
def test_the_load_estimate_equals_the_formula_read_literally(active):
    generator = np.random.default_rng(1)
    clean, deviation = generator.normal(size=(9, 5)), generator.uniform(0.3, 2, size=(9, 5))
    noisy = clean + deviation * generator.normal(size=(9, 5))
    found = load_estimate(*map(torch.from_numpy, (clean, noisy, deviation)), active)
    np.testing.assert_allclose(found.numpy(), reference.load(clean, noisy, deviation, active), rtol=1e-12)


def test_both_losses_of_a_pass_are_those_of_the_formulas():
    inputs = _inputs()
    for weights in (
        {"importance_weight": 0.7, "load_weight": 0.0},
        {"importance_weight": 0.0, "load_weight": 0.3},
    ):
        layer = _layer(**weights)
        _, balance, draws = _pass(layer, inputs)
        clean = (inputs @ layer.gate.weight.T).detach().numpy()
        deviation = np.log1p(np.exp((inputs @ layer.noise.weight.T).detach().numpy()))
        gates = reference.dense(layer, inputs, draws)[1].detach().numpy()
        estimated = reference.load(clean, clean + draws.numpy() * deviation, deviation, 2)
        expected = weights["importance_weight"] * reference.squared_variation(gates.sum(axis=0))
        expected += weights["load_weight"] * reference.squared_variation(estimated)
        assert balance.loss.item() == pytest.approx(expected, rel=1e-11)
        loads = (gates > 0).sum(axis=0)
        routing = [
            math.sqrt(reference.squared_variation(gates.sum(axis=0))),
            math.sqrt(reference.squared_variation(loads)),
            loads.max() / loads.mean(),
            0,
        ]
        np.testing.assert_allclose(balance.routing.numpy(), routing, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    "weights",
    [{"importance_weight": 1.0, "load_weight": 0.0}, {"importance_weight": 0.0, "load_weight": 1.0}],
    ids=["importance", "load"],
)
def test_gradients_of_the_losses_equal_finite_differences(weights):
    layer, inputs = _layer(**weights), _inputs()
    for parameter in (layer.gate.weight, layer.noise.weight):
        (slope,) = torch.autograd.grad(_pass(layer, inputs)[1].loss, [parameter])
        assert slope.abs().max() > 1e-3
        for at in [(0, 0), (3, 2), (4, 5)]:
            values = []
            for step in (1e-5, -1e-5):
                moved = copy.deepcopy(layer)
                (moved.gate if parameter is layer.gate.weight else moved.noise).weight.data[at] += step
                values.append(_pass(moved, inputs)[1].loss.item())
            # the square of the step times third derivatives near 10, and roundings of 1e-16 / 1e-5
            assert slope[at].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-7)


def test_the_variation_is_zero_for_equal_numbers_and_n_minus_one_for_a_single_one():
    assert squared_variation(torch.full((8,), 3.0)) == 0
    assert squared_variation(torch.tensor([0, 0, 5.0, 0])) == 3
    assert squared_variation(torch.zeros(4)) == 0


def test_routing_of_one_expert_for_all_inputs():
    layer, inputs = _layer(count=4, active=1, load_weight=0.0), _inputs().abs()
    layer.gate.weight.data.zero_()
    layer.gate.weight.data[2] = 100.0
    _, balance, _ = _pass(layer, inputs)
    np.testing.assert_allclose(balance.routing.numpy(), [math.sqrt(3), math.sqrt(3), 4, 0], rtol=1e-12)
    assert balance.loss.item() == pytest.approx(0.1 * 3)


def test_an_expert_keeps_the_first_inputs_up_to_its_capacity_and_drops_the_rest_in_training_only():
    layer, inputs = _layer(count=4, active=1, load_weight=0.0, capacity=1.1), _inputs(40).abs()
    layer.gate.weight.data.zero_()
    layer.gate.weight.data[2] = 100.0
    output, balance, draws = _pass(layer, inputs)
    expected = reference.dense(layer, inputs, draws)[0]
    torch.testing.assert_close(output[:11], expected[:11], rtol=1e-12, atol=1e-12)  # 1.1 x 40 x 1 / 4
    assert expected[11:].abs().max() > 0.1
    assert not output[11:].any()
    assert balance.routing[3] == pytest.approx(29 / 40)
    torch.testing.assert_close(
        layer.eval()(inputs), reference.dense(layer, inputs)[0], rtol=1e-12, atol=1e-12
    )


def test_gates_and_losses_are_computed_in_float32_under_autocast():
    layer, inputs = _layer().float(), _inputs(64).float()
    _, plain, _ = _pass(layer, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, automatic, _ = _pass(layer, inputs)
    assert torch.equal(plain.loss, automatic.loss)
    assert torch.equal(plain.routing, automatic.routing)
    assert output.dtype == torch.float32
    assert not torch.equal(output, _pass(layer, inputs)[0])  # the experts do compute in bfloat16


def test_evaluation_of_an_input_depends_on_nothing_else():
    layer, inputs = _layer(capacity=0.1).eval(), _inputs()
    together = layer(inputs)
    alone = torch.cat([layer(row[None]) for row in inputs])
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=1e-13)
    assert take_balance(layer) is None


def test_what_passes_left_is_summed_and_taken_once_and_copies_have_none():
    network = nn.Sequential(_layer(), _layer())
    inputs = _inputs()
    network.train()(inputs)
    parts = [layer.passes[0] for layer in network]
    assert take_balance(copy.deepcopy(network)) is None
    balance = take_balance(network)
    assert balance.loss.item() == pytest.approx(sum(part.loss.item() for part in parts))
    torch.testing.assert_close(balance.routing, (parts[0].routing + parts[1].routing) / 2)
    assert take_balance(network) is None
    assert has_experts(network)
    assert not has_experts(nn.Linear(2, 2))
