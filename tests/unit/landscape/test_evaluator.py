import copy
import math

import pytest
import torch
from reference.landscape import evaluator, naive_point
from reference.manifests import manifest
from torch import nn

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Linear, Mlp, ResNet
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.models import build

POINTS = [(0.0, 0.0), (0.3, -0.2), (-1.0, 0.7), (1.0, 1.0)]


def _case(model, samples=24):
    generator = torch.Generator().manual_seed(5)
    network = build(model, manifest(classes=4))
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif not tensor.any():
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    inputs = torch.randn(samples, 1, 8, 8, generator=generator)
    labels = torch.randint(4, (samples,), generator=generator)
    weights = dict(network.named_parameters())
    directions = tuple(
        {
            n: d.float()
            for n, d in normalized_direction(weights, axis, Landscape(ignore_bias_and_norm=False)).items()
        }
        for axis in "xy"
    )
    return network, directions, inputs, labels


@pytest.mark.parametrize(
    "model",
    [Linear(), Mlp(hidden=(16,)), ResNet(depth=8), ResNet(depth=8, shortcuts=False)],
    ids=lambda m: m.architecture,
)
@pytest.mark.parametrize("point", POINTS)
def test_a_point_equals_a_deep_copied_network_evaluated_image_by_image_in_float64(model, point):
    network, directions, inputs, labels = _case(model)
    expected = naive_point(network, *directions, *point, inputs, labels)
    result = evaluator(copy.deepcopy(network), directions, inputs, labels, "frozen", batch_size=7)(*point)
    # float32 forward pass against float64: a few hundred roundings of 6e-8 each
    assert result.loss == pytest.approx(expected[0], rel=2e-5)
    assert result.error == expected[1]
    assert result.loss_standard_error == pytest.approx(expected[2], rel=2e-4)


def test_the_order_of_points_does_not_change_a_bit():
    network, directions, inputs, labels = _case(ResNet(depth=8))
    evaluate = evaluator(network, directions, inputs, labels, "frozen", 8)
    forwards = [evaluate(*point) for point in POINTS]
    backwards = [evaluate(*point) for point in reversed(POINTS)]
    assert forwards == backwards[::-1]


def test_reestimated_statistics_are_the_average_of_the_batches_own():
    network, directions, inputs, labels = _case(ResNet(depth=8))
    first = network[0](inputs).detach()  # the first convolution's output, before its BatchNorm
    evaluator(network, directions, inputs, labels, "reestimated", batch_size=8)(0.0, 0.0)
    means = torch.stack([part.mean(dim=(0, 2, 3)) for part in first.split(8)]).mean(dim=0)
    variances = torch.stack([part.var(dim=(0, 2, 3)) for part in first.split(8)]).mean(dim=0)
    torch.testing.assert_close(network[1].running_mean, means, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network[1].running_var, variances, rtol=1e-5, atol=1e-6)


def test_reestimated_points_do_not_depend_on_the_points_before_them():
    network, directions, inputs, labels = _case(ResNet(depth=8))
    evaluate = evaluator(network, directions, inputs, labels, "reestimated", 8)
    alone = evaluate(0.3, -0.2)
    evaluate(5.0, 5.0)
    assert evaluate(0.3, -0.2) == alone


def test_an_overflowing_point_is_nan_or_infinite_and_not_an_error():
    network, directions, inputs, labels = _case(Mlp(hidden=(8, 8, 8, 8)))
    huge = tuple({name: value * 1e30 for name, value in direction.items()} for direction in directions)
    assert not math.isfinite(evaluator(network, huge, inputs, labels, "frozen", 8)(1.0, 1.0).loss)


def test_a_linear_network_moves_exactly_as_its_formula():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    network[1].weight.data = torch.zeros(2, 2)
    directions = (
        {"1.weight": torch.tensor([[1.0, 0.0], [0.0, 0.0]])},
        {"1.weight": torch.tensor([[0.0, 0.0], [0.0, 1.0]])},
    )
    evaluate = evaluator(network, directions, torch.tensor([[1.0, 2.0]]), torch.tensor([0]), "frozen", 1)
    # logits are (x, 2 y): the loss is ln(1 + exp(2 y - x))
    for x, y in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (2.0, -1.0)]:
        assert evaluate(x, y).loss == pytest.approx(math.log1p(math.exp(2 * y - x)), rel=1e-6)
