import pytest
import torch

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.directions.normalization import normalize
from lossmap.components.landscape.directions.random import normalized_direction, random_direction

WEIGHTS = {
    "conv.weight": torch.ones(4, 3, 3, 3),
    "norm.weight": torch.ones(4),
    "fc.weight": torch.ones(5, 7),
    "scalar": torch.tensor(2.0),
}


def test_a_direction_has_the_names_and_shapes_of_the_weights_in_float64():
    direction = random_direction(WEIGHTS, seed=0, axis="x")
    assert {name: value.shape for name, value in direction.items()} == {
        name: value.shape for name, value in WEIGHTS.items()
    }
    assert all(value.dtype == torch.float64 for value in direction.values())


def test_the_numbers_are_standard_normal():
    numbers = random_direction({"weight": torch.zeros(400, 500)}, 0, "x")["weight"]
    # the mean of n = 200,000 standard normals has deviation 1/sqrt(n) = 0.0022, the mean square sqrt(2/n) =
    # 0.0032: five of each
    assert abs(float(numbers.mean())) < 0.011
    assert float((numbers**2).mean()) == pytest.approx(1, abs=0.016)


def test_directions_depend_on_seed_axis_pair_and_name_and_on_nothing_else():
    first = normalized_direction(WEIGHTS, "x", Landscape(seed=1))
    torch.manual_seed(99)
    again = normalized_direction({"fc.weight": WEIGHTS["fc.weight"]}, "x", Landscape(seed=1))
    assert torch.equal(first["fc.weight"], again["fc.weight"])
    others = [
        normalized_direction(WEIGHTS, "y", Landscape(seed=1)),
        normalized_direction(WEIGHTS, "x", Landscape(seed=2)),
        normalized_direction(WEIGHTS, "x", Landscape(seed=1), pair=1),
        normalized_direction(WEIGHTS, "x", Landscape(seed=1), pair=2),
    ]
    values = [first["fc.weight"], *(other["fc.weight"] for other in others)]
    assert not any(torch.equal(one, two) for index, one in enumerate(values) for two in values[:index])


@pytest.mark.parametrize("pair", [0, 1, 7])
def test_directions_of_all_axes_and_pairs_are_nearly_orthogonal(pair):
    big = {"weight": torch.zeros(300, 300)}
    one, two = (
        random_direction(big, 0, axis, number)["weight"].flatten() for axis, number in (("x", pair), ("y", 0))
    )
    # the cosine of two independent directions in n = 90,000 dimensions has deviation 1/sqrt(n) = 0.0033: five
    # of them
    assert abs(float(one @ two / one.norm() / two.norm())) < 0.017


GOLDEN = {
    ("x", 0): [[0.6287620042307435, -0.24729000365334716], [-0.7714068981530643, 0.8504457933118509]],
    ("y", 0): [[-0.5804640759654625, 2.415924219183958], [-1.8564790579236554, 0.10634476914884552]],
    ("x", 1): [[-1.7626001920943346, -0.458175846682654], [0.524952305685866, -0.12673669701624724]],
    ("y", 3): [[-1.3655845276462366, -0.23725074720419712], [0.6474634060869542, -1.0064198409888354]],
}


@pytest.mark.parametrize(("axis", "pair"), GOLDEN)
def test_the_numbers_of_a_named_stream_never_change(axis, pair):
    direction = random_direction({"weight": torch.zeros(2, 2)}, 0, axis, pair)["weight"]
    assert torch.equal(direction, torch.tensor(GOLDEN[axis, pair], dtype=torch.float64))


def test_an_experiment_asks_for_a_seed_a_normalization_and_for_still_biases():
    landscape = Landscape(seed=5, normalization="element", ignore_bias_and_norm=False)
    expected = normalize(random_direction(WEIGHTS, 5, "y", 2), WEIGHTS, "element", ignore_bias_and_norm=False)
    direction = normalized_direction(WEIGHTS, "y", landscape, pair=2)
    assert all(torch.equal(direction[name], expected[name]) for name in WEIGHTS)
    assert direction["scalar"] != 0
    assert normalized_direction(WEIGHTS, "y", Landscape())["scalar"] == 0
