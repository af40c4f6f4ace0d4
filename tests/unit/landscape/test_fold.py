import copy

import pytest
import torch
from reference.landscape import evaluator, naive_point
from reference.manifests import manifest
from torch import nn

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import ResNet
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.landscape.fold import fold_batch_norm
from lossmap.components.models import build


def _case(model, ignore_bias_and_norm=True):
    generator = torch.Generator().manual_seed(7)
    network = build(model, manifest(channels=3, classes=3)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    landscape = Landscape(ignore_bias_and_norm=ignore_bias_and_norm)
    weights = dict(network.named_parameters())
    directions = tuple(
        {name: d.float() for name, d in normalized_direction(weights, axis, landscape).items()}
        for axis in "xy"
    )
    return (
        network,
        directions,
        torch.randn(12, 3, 8, 8, generator=generator),
        torch.randint(3, (12,), generator=generator),
    )


@pytest.mark.parametrize("option", ["A", "B"])
@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("point", [(0.0, 0.0), (0.4, -0.3), (-1.0, 1.0)])
def test_a_folded_networks_surface_is_the_unfolded_ones_in_float64(option, shortcuts, point):
    network, directions, inputs, labels = _case(ResNet(depth=14, shortcuts=shortcuts, shortcut_option=option))
    expected = naive_point(network, *directions, *point, inputs, labels)
    folded = copy.deepcopy(network)
    result = evaluator(folded, fold_batch_norm(folded, directions), inputs, labels, "frozen", 5)(*point)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    # float32, as in test_surface.py
    assert result.loss == pytest.approx(expected[0], rel=2e-5)
    assert result.error == expected[1]


def test_norms_that_a_direction_moves_are_not_folded():
    network, directions, _, _ = _case(ResNet(depth=8), ignore_bias_and_norm=False)
    assert fold_batch_norm(network, directions) == directions
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 7


class _Twice(nn.Module):
    """A convolution whose output is also used without its norm: folding it would be wrong."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return (self.norm(y) + y).mean(dim=(2, 3))


class _Branching(_Twice):
    """A network whose path depends on its data cannot be traced."""

    def forward(self, x):
        return self.norm(self.conv(x)).mean(dim=(2, 3)) if x.sum() > 0 else x.mean(dim=(2, 3))


@pytest.mark.parametrize("kind", [_Twice, _Branching])
def test_what_cannot_be_folded_exactly_is_left_as_it_is(kind):
    network = kind()
    zeros = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    state = copy.deepcopy(network.state_dict())
    fold_batch_norm(network, (zeros, zeros))
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert isinstance(network.norm, nn.BatchNorm2d)
