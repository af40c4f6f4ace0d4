import pytest
import torch
from reference.landscape import filter_normalized

from lossmap.components.config.experiment import Landscape
from lossmap.components.landscape.directions import normalize, normalized_direction, random_direction

WEIGHTS = {
    "conv.weight": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1)),
    "norm.weight": torch.ones(4),
    "fc.weight": torch.randn(5, 7, generator=torch.Generator().manual_seed(2)),
    "fc.bias": torch.randn(5, generator=torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("name", ["conv.weight", "fc.weight"])
def test_filter_normalization_equals_the_loop_written_one(name):
    direction = random_direction(WEIGHTS, seed=0, axis="x")
    normalized = normalize(direction, WEIGHTS, "filter", ignore_bias_and_norm=True)
    torch.testing.assert_close(normalized[name], filter_normalized(direction[name], WEIGHTS[name]), rtol=1e-12, atol=0)


def test_layer_normalization_gives_every_tensor_the_norm_of_its_weights():
    direction = normalize(random_direction(WEIGHTS, 0, "x"), WEIGHTS, "layer", ignore_bias_and_norm=False)
    for name, weight in WEIGHTS.items():
        assert float((direction[name] ** 2).sum()) == pytest.approx(float((weight.double() ** 2).sum()), rel=1e-12)


def test_no_normalization_leaves_standard_normal_numbers():
    big = {"weight": torch.zeros(400, 500)}
    direction = normalize(random_direction(big, 0, "x"), big, "none", ignore_bias_and_norm=False)["weight"]
    # the mean of n = 200,000 standard normals has deviation 1/sqrt(n) = 0.0022, the mean square sqrt(2/n) = 0.0032: five of each
    assert abs(float(direction.mean())) < 0.011
    assert float((direction**2).mean()) == pytest.approx(1, abs=0.016)


def test_ignored_biases_and_norms_do_not_move():
    direction = normalize(random_direction(WEIGHTS, 0, "x"), WEIGHTS, "filter", ignore_bias_and_norm=True)
    assert not direction["norm.weight"].any()
    assert not direction["fc.bias"].any()
    assert direction["fc.weight"].any()


def test_biases_that_are_not_ignored_get_a_random_direction_and_not_a_copy_of_themselves():
    direction = normalize(random_direction(WEIGHTS, 0, "x"), WEIGHTS, "filter", ignore_bias_and_norm=False)["fc.bias"]
    weight = WEIGHTS["fc.bias"].double()
    assert float(direction.norm()) == pytest.approx(float(weight.norm()), rel=1e-12)
    assert abs(float(direction @ weight / weight.norm() ** 2)) < 0.99


def test_where_the_weights_are_zero_the_direction_is_zero():
    zero = {"weight": torch.zeros(3, 4)}
    for normalization in ("filter", "layer"):
        assert not normalize(random_direction(zero, 0, "x"), zero, normalization, ignore_bias_and_norm=False)["weight"].any()


def test_directions_depend_on_seed_axis_and_name_and_on_nothing_else():
    first = normalized_direction(WEIGHTS, "x", Landscape(seed=1))
    torch.manual_seed(99)
    again = normalized_direction({"fc.weight": WEIGHTS["fc.weight"]}, "x", Landscape(seed=1))
    assert torch.equal(first["fc.weight"], again["fc.weight"])
    for other in (normalized_direction(WEIGHTS, "y", Landscape(seed=1)), normalized_direction(WEIGHTS, "x", Landscape(seed=2))):
        assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_the_numbers_of_a_named_stream_never_change():
    direction = random_direction({"weight": torch.zeros(2, 2)}, seed=0, axis="x")["weight"]
    expected = torch.tensor([[0.6287620042307435, -0.24729000365334716], [-0.7714068981530643, 0.8504457933118509]], dtype=torch.float64)
    assert torch.equal(direction, expected)
