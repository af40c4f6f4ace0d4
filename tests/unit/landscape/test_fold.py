import re
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference.curvature import dense_hessian
from reference.landscape import fold, folded_evaluator, naive_point
from reference.manifests import manifest
from torch import nn
from torch.nn.utils import parametrizations, prune

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import ResNet
from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.landscape.fold import differentiable_fold
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
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
    evaluate, folded = folded_evaluator(network, directions, inputs, labels)
    result = evaluate(*point)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    # float32, as in test_surface.py
    assert result.loss == pytest.approx(expected[0], rel=2e-5)
    assert result.error == expected[1]


def test_norms_that_a_direction_moves_are_not_folded():
    network, directions, inputs, labels = _case(ResNet(depth=8), ignore_bias_and_norm=False)
    problem = Problem(network, cross_entropy, Samples(inputs, labels, 5))
    assert fold(problem, directions) == (problem, directions)


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


class _Reused(nn.Module):
    """A kernel that is used a second time, past its module."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.conv2d(x, self.conv.weight, padding=1).mean(dim=(2, 3))


class _Hidden(nn.Module):
    """A kernel that is used a second time where a trace sees a function of one argument."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.again = _Again(self.conv)

    def forward(self, x):
        return self.again(self.norm(self.conv(x))).mean(dim=(2, 3))


class _Again(nn.Softplus):
    """A leaf of the trace by its place in torch.nn.modules."""

    __module__ = "torch.nn.modules.activation"

    def __init__(self, convolution):
        super().__init__()
        self.borrowed = [convolution]

    def forward(self, x):
        return F.conv2d(x, self.borrowed[0].weight, padding=1)


class _Checking(_Branching):
    """A user's assertion that a trace violates."""

    def forward(self, x):
        assert isinstance(x, torch.Tensor)
        return self.norm(self.conv(x)).mean(dim=(2, 3))


class _InSinglePrecision(_Twice):
    """A cast that a check in float64 does not survive."""

    def forward(self, x):
        return self.norm(self.conv(x.float())).mean(dim=(2, 3))


def _plain(convolution, norm):
    return nn.Sequential(convolution, norm, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _convolution():
    return nn.Conv2d(3, 4, 3, bias=False)


def _pruned():
    convolution = _convolution()
    prune.l1_unstructured(convolution, "weight", 0.5)
    return _plain(convolution, nn.BatchNorm2d(4))


def _hooked():
    convolution = _convolution()
    convolution.register_forward_hook(lambda module, inputs, output: output + 1)
    return _plain(convolution, nn.BatchNorm2d(4))


def _with_old_weight_norm():
    with warnings.catch_warnings(action="ignore"):
        network = _plain(torch.nn.utils.weight_norm(_convolution()), nn.BatchNorm2d(4))
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    return network


class _TwoNorms(nn.Module):
    """A convolution for two inputs, with a norm for each."""

    def __init__(self, convolution):
        super().__init__()
        self.conv, self.first, self.second = convolution, nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return (self.first(self.conv(x)) + self.second(self.conv(x.flip(0)))).mean(dim=(2, 3))


def _scripted():
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.script(_plain(_convolution(), nn.BatchNorm2d(4)).eval())


def _overflowing():
    network = _plain(_convolution(), nn.BatchNorm2d(4))
    network[0].weight.data *= 1e37
    network[1].weight.data *= 1e3
    return network


UNFOLDED = {
    "used without its norm": _Twice,
    "not traceable": _Branching,
    "kernel used twice": _Reused,
    "kernel used behind the trace": _Hidden,
    "assertion": _Checking,
    "single precision": _InSinglePrecision,
    "pruned": _pruned,
    "hook": _hooked,
    "spectral norm": lambda: _plain(parametrizations.spectral_norm(_convolution()), nn.BatchNorm2d(4)),
    "weight norm": lambda: _plain(parametrizations.weight_norm(_convolution()), nn.BatchNorm2d(4)),
    "old weight norm, trained": _with_old_weight_norm,
    "two norms": lambda: _TwoNorms(_convolution()),
    "TorchScript": _scripted,
    "no statistics": lambda: _plain(_convolution(), nn.BatchNorm2d(4, track_running_stats=False)),
    "overflow": _overflowing,
}


@pytest.mark.parametrize("kind", UNFOLDED)
def test_what_cannot_be_folded_exactly_is_left_as_it_is(kind):
    torch.manual_seed(2)
    network = UNFOLDED[kind]().eval()
    directions = tuple(
        {
            name: value.detach() if value.dim() > 1 else torch.zeros_like(value)
            for name, value in network.named_parameters()
        }
        for _ in "xy"
    )
    state = {name: value.clone() for name, value in network.state_dict().items()}
    problem = Problem(network, cross_entropy, Samples(torch.randn(6, 3, 8, 8), torch.zeros(6).long(), 3))
    assert fold(problem, directions) == (problem, directions)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


FOLDED = {
    "norm without scale and shift": lambda: _plain(_convolution(), nn.BatchNorm2d(4, affine=False)),
    "float64": lambda: _plain(_convolution(), nn.BatchNorm2d(4)).double(),
    "grouped": lambda: _plain(nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6)),
    "reflecting border": lambda: _plain(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect", bias=False), nn.BatchNorm2d(4)
    ),
}


@pytest.mark.parametrize("kind", FOLDED)
def test_kinds_that_are_folded_have_the_surface_of_the_unfolded_network(kind):
    torch.manual_seed(3)
    network = FOLDED[kind]().eval()
    network[1].running_mean += 0.3
    network[1].running_var *= 1.7
    inputs, labels = torch.randn(6, 3, 8, 8).to(network[0].weight.dtype), torch.arange(6) % 3
    directions = tuple({"0.weight": torch.randn_like(network[0].weight)} for _ in "xy")
    evaluate, folded = folded_evaluator(network, directions, inputs, labels)
    assert isinstance(folded[1], nn.Identity)
    still = {name: torch.zeros(()) for name, _ in network.named_parameters()}
    expected = naive_point(
        network, {**still, **directions[0]}, {**still, **directions[1]}, 0.3, -0.6, inputs, labels
    )
    assert evaluate(0.3, -0.6).loss == pytest.approx(expected[0], rel=1e-12 if kind == "float64" else 2e-6)


def test_frozen_parameters_take_part_without_a_direction():
    torch.manual_seed(3)
    network = _plain(_convolution(), nn.BatchNorm2d(4)).eval()
    problem = Problem(network, cross_entropy, Samples(torch.randn(6, 3, 8, 8), torch.zeros(6).long(), 3))
    folded, _ = fold(problem, ({}, {}))
    assert isinstance(folded.network[1], nn.Identity)
    torch.testing.assert_close(
        folded.network(problem.samples.inputs), network(problem.samples.inputs), rtol=1e-5, atol=1e-6
    )


# derivatives


def _products(problem, weights=None):
    matrix = Hessian(problem, weights=weights)
    return matrix.matmat(np.random.default_rng(0).standard_normal((matrix.shape[0], 3)))


@pytest.mark.parametrize("kind", FOLDED)
def test_the_hessian_of_a_network_that_folds_at_every_call_is_the_unfolded_ones(kind):
    torch.manual_seed(3)
    network = FOLDED[kind]().double().eval()
    network[1].running_mean += 0.3
    network[1].running_var *= 1.7
    inputs = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    problem = Problem(network, cross_entropy, Samples(inputs, torch.arange(6) % 3, 4))
    folded = differentiable_fold(problem)
    assert "NativeBatchNormBackward0" in _layers(Hessian(problem))
    assert "NativeBatchNormBackward0" not in _layers(Hessian(folded))
    expected = dense_hessian(problem)
    found = Hessian(folded).matmat(np.eye(len(expected)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def _layers(matrix):
    """Names of what the graph of the network's outputs is made of."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in matrix.parameters.tensors.items()}
    inputs, _ = next(iter(matrix.parameters.batches()))
    names, waiting = set(), [matrix.parameters.outputs(leaves, inputs).grad_fn]
    while waiting:
        node = waiting.pop()
        if node and node.name() not in names:
            names.add(node.name())
            waiting += [before for before, _ in node.next_functions]
    return names


@pytest.mark.parametrize("option", ["A", "B"])
def test_products_of_a_folding_resnet_are_those_of_the_network_also_elsewhere(option):
    network, directions, inputs, labels = _case(ResNet(depth=14, shortcut_option=option))
    problem = Problem(network.double(), cross_entropy, Samples(inputs.double(), labels, 5))
    folded = differentiable_fold(problem)
    assert "NativeBatchNormBackward0" not in _layers(Hessian(folded))
    own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    moved = {name: own[name].detach() + 0.1 * direction for name, direction in directions[0].items()}
    moved |= {name: 1.3 * own[name] for name in own if name.endswith("running_var")}  # as a coordinate
    for weights in (None, moved):
        expected = _products(problem, weights)
        np.testing.assert_allclose(
            _products(folded, weights), expected, rtol=0, atol=1e-10 * np.abs(expected).max()
        )


@pytest.mark.parametrize("kind", UNFOLDED)
def test_derivatives_of_what_cannot_be_folded_are_its_own(kind):
    torch.manual_seed(2)
    network = UNFOLDED[kind]().eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    problem = Problem(network, cross_entropy, Samples(torch.randn(6, 3, 8, 8), torch.zeros(6).long(), 3))
    folded = differentiable_fold(problem)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    try:
        expected = _products(problem)
    except ExperimentError as refused:
        with pytest.raises(ExperimentError, match=re.escape(str(refused))):
            _products(folded)
    else:
        np.testing.assert_allclose(_products(folded), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
