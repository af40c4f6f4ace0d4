import math

import pytest
import torch
from reference.landscape import filter_normalized
from reference.normalization import model_normalized, scaled_to_unit_means
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.directions.filters import Layout, filter_layouts
from lossmap.components.landscape.directions.normalization import neuron_scale, normalize
from lossmap.components.landscape.directions.random import random_direction

NORMALIZATIONS = ("none", "model", "layer", "filter", "element", "neuron")


def _normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHTS = {
    "conv.weight": _normal(4, 3, 3, 3, seed=1),
    "norm.weight": torch.ones(4),
    "fc.weight": _normal(5, 7, seed=2),
    "fc.bias": _normal(5, seed=3),
    "scalar": torch.tensor(-1.5),
}
DIRECTION = random_direction(WEIGHTS, seed=0, axis="x")


@pytest.mark.parametrize("name", ["conv.weight", "fc.weight"])
def test_filter_normalization_equals_the_loop_written_one(name):
    normalized = normalize(DIRECTION, WEIGHTS, "filter", ignore_bias_and_norm=True)
    torch.testing.assert_close(
        normalized[name], filter_normalized(DIRECTION[name], WEIGHTS[name]), rtol=1e-12, atol=0
    )


def test_layer_normalization_gives_every_tensor_the_norm_of_its_weights():
    direction = normalize(DIRECTION, WEIGHTS, "layer", ignore_bias_and_norm=False)
    for name, weight in WEIGHTS.items():
        assert float((direction[name] ** 2).sum()) == pytest.approx(
            float((weight.double() ** 2).sum()), rel=1e-12
        )


@pytest.mark.parametrize("ignore", [True, False])
def test_model_normalization_counts_all_that_moves_and_nothing_else(ignore):
    moved = [name for name, weight in WEIGHTS.items() if weight.dim() > 1 or not ignore]
    expected = model_normalized(
        {name: DIRECTION[name] for name in moved}, {name: WEIGHTS[name] for name in moved}
    )
    direction = normalize(DIRECTION, WEIGHTS, "model", ignore)
    for name in moved:
        torch.testing.assert_close(direction[name], expected[name], rtol=1e-12, atol=0)


def test_element_normalization_multiplies_every_number_by_its_weight():
    direction = normalize(DIRECTION, WEIGHTS, "element", ignore_bias_and_norm=False)
    for name, weight in WEIGHTS.items():
        pairs = zip(DIRECTION[name].flatten().tolist(), weight.flatten().tolist(), strict=True)
        assert direction[name].flatten().tolist() == [d * abs(w) for d, w in pairs]


def test_no_normalization_leaves_the_numbers_as_they_are():
    direction = normalize(DIRECTION, WEIGHTS, "none", ignore_bias_and_norm=False)
    assert all(torch.equal(direction[name], DIRECTION[name]) for name in WEIGHTS)


@pytest.mark.parametrize("name", ["conv.weight", "fc.weight"])
def test_neuron_scale_leaves_the_matrix_that_loops_find(name):
    weight = WEIGHTS[name].double()
    squares = (weight.reshape(*weight.shape[:2], -1) ** 2).sum(dim=2)
    positions = weight[0, 0].numel()
    scale = neuron_scale(weight).reshape(squares.shape)
    remaining = squares / (positions * scale**2)
    # both iterations stop when all means are 1 to about 1e-13
    torch.testing.assert_close(
        remaining, torch.tensor(scaled_to_unit_means(squares, 200), dtype=torch.float64), rtol=1e-11, atol=0
    )
    torch.testing.assert_close(
        remaining.mean(dim=0), torch.ones(squares.shape[1], dtype=torch.float64), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        remaining.mean(dim=1), torch.ones(squares.shape[0], dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_neuron_scale_of_two_by_two_is_the_formula():
    w = torch.tensor([[1.0, 2.0], [3.0, 0.5]], dtype=torch.float64)
    # S = [[s, 2 - s], [2 - s, s]] with the same cross ratio as P: s^2 / (2 - s)^2 = P11 P22 / (P12 P21)
    ratio = math.sqrt(1.0 * 0.25 / (4.0 * 9.0))
    s = 2 * ratio / (1 + ratio)
    expected = w**2 / torch.tensor([[s, 2 - s], [2 - s, s]], dtype=torch.float64)
    torch.testing.assert_close(neuron_scale(w) ** 2, expected, rtol=1e-12, atol=0)


def test_a_matrix_of_rank_one_has_its_own_absolute_values_as_neuron_scale():
    weight = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64).outer(
        torch.tensor([0.1, 3.0], dtype=torch.float64)
    )
    torch.testing.assert_close(neuron_scale(weight), weight.abs(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["conv.weight", "fc.weight"])
def test_neuron_and_element_follow_every_rescaling_of_rows_and_columns(name):
    weight = WEIGHTS[name].double()
    rows, columns = (_normal(size, seed=9 + size).double().mul(2).exp() for size in weight.shape[:2])
    factors = rows.outer(columns).reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
    for normalization in ("neuron", "element"):
        before, after = (
            normalize({name: DIRECTION[name]}, {name: w}, normalization, False)[name]
            for w in (weight, weight * factors)
        )
        torch.testing.assert_close(after, before * factors, rtol=1e-11, atol=0)
    before, after = (
        normalize({name: DIRECTION[name]}, {name: w}, "filter", False)[name]
        for w in (weight, weight * factors)
    )
    assert float((after / (before * factors) - 1).abs().max()) > 0.5


def test_neuron_normalization_moves_vectors_element_wise():
    neuron, element = (
        normalize(DIRECTION, WEIGHTS, normalization, ignore_bias_and_norm=False)
        for normalization in ("neuron", "element")
    )
    for name in ("norm.weight", "fc.bias", "scalar"):
        assert torch.equal(neuron[name], element[name])


def test_neuron_directions_have_the_expected_norm_of_weights_that_are_normal():
    weight = _normal(200, 300, seed=5).double()
    direction = normalize(random_direction({"w": weight}, 0, "x"), {"w": weight}, "neuron", False)["w"]
    # P_ij / (r_i^2 c_j^2) has mean 1 and P nearly equal rows and columns; 60,000 numbers: sqrt(2/60,000) =
    # 0.6 %, five of it, and a bias below 1 %
    assert float(direction.norm() / weight.norm()) == pytest.approx(1, abs=0.04)


def test_rows_and_columns_of_zeros_do_not_move_and_do_not_disturb_the_others():
    inner = WEIGHTS["fc.weight"].double()
    weight = torch.zeros(7, 9, dtype=torch.float64)
    rows, columns = torch.tensor([0, 1, 3, 4, 6]), torch.tensor([0, 2, 3, 4, 5, 7, 8])
    weight[rows[:, None], columns] = inner
    scale = neuron_scale(weight)
    torch.testing.assert_close(scale[rows[:, None], columns], neuron_scale(inner), rtol=1e-13, atol=0)
    assert not scale[[2, 5]].any()
    assert not scale[:, [1, 6]].any()


def test_two_blocks_have_a_scale_each_and_nothing_moves_between_them():
    weight = torch.block_diag(_normal(3, 3, seed=1), _normal(3, 3, seed=2)).double()
    factors = torch.tensor([1.0, 20.0, 3.0, 0.1, 5.0, 7.0], dtype=torch.float64)
    scale, rescaled = neuron_scale(weight), neuron_scale(weight * factors)
    assert torch.equal(scale == 0, weight == 0)
    torch.testing.assert_close(rescaled, scale * factors, rtol=1e-11, atol=0)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_each_group_of_a_convolution_is_scaled_by_itself(groups):
    network = nn.Sequential(nn.Conv2d(4, 8, 3, groups=groups))
    weight = _normal(8, 4 // groups, 3, 3, seed=4)
    assert filter_layouts(network) == ({"0.weight": Layout(groups=groups)} if groups > 1 else {})
    parts = torch.cat([neuron_scale(part) for part in weight.chunk(groups)])
    assert torch.equal(neuron_scale(weight, groups), parts)
    direction = {"0.weight": _normal(8, 4 // groups, 3, 3, seed=5).double()}
    normalized = normalize(direction, {"0.weight": weight}, "neuron", True, filter_layouts(network))
    assert torch.equal(normalized["0.weight"], parts * direction["0.weight"])


def test_a_pattern_of_zeros_without_a_scaling_is_refused_with_advice():
    weights = {"fc.weight": torch.tensor([[1.0, 2.0], [0.0, 3.0]])}
    with pytest.raises(ExperimentError) as error:
        normalize(random_direction(weights, 0, "x"), weights, "neuron", True)
    assert (
        str(error.value)
        == "normalization is neuron and fc.weight has zeros that leave its rows and columns no common scale, "
        "expected weights that are not pruned; use normalization element"
    )


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_ignored_biases_and_norms_do_not_move(normalization):
    direction = normalize(DIRECTION, WEIGHTS, normalization, ignore_bias_and_norm=True)
    assert list(direction) == list(WEIGHTS)
    assert not any(direction[name].any() for name in ("norm.weight", "fc.bias", "scalar"))
    assert all(direction[name].any() for name in ("conv.weight", "fc.weight"))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_biases_that_are_not_ignored_get_a_random_direction_and_not_a_copy_of_themselves(normalization):
    direction = normalize(DIRECTION, WEIGHTS, normalization, ignore_bias_and_norm=False)["fc.bias"]
    weight = WEIGHTS["fc.bias"].double()
    assert abs(float(direction @ weight / weight.norm() / direction.norm())) < 0.99
    assert not torch.equal(direction, weight)


@pytest.mark.parametrize("normalization", NORMALIZATIONS[1:])
def test_where_the_weights_are_zero_the_direction_is_zero(normalization):
    zero = {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}
    normalized = normalize(random_direction(zero, 0, "x"), zero, normalization, ignore_bias_and_norm=False)
    assert not any(value.any() for value in normalized.values())


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_where_the_direction_is_zero_it_stays_zero(normalization):
    direction = {name: torch.zeros_like(value) for name, value in DIRECTION.items()}
    normalized = normalize(direction, WEIGHTS, normalization, ignore_bias_and_norm=False)
    assert not any(value.any() for value in normalized.values())


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_network_of_which_nothing_moves_has_a_direction_of_zeros(normalization):
    assert normalize({"b": torch.ones(3)}, {"b": torch.ones(3)}, normalization, ignore_bias_and_norm=True)[
        "b"
    ].tolist() == [0, 0, 0]
