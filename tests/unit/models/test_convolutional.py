import copy
import math

import numpy as np
import pytest
import torch
from reference import convolutional as reference
from reference.landscape import folded_evaluator, naive_point
from reference.manifests import manifest
from reference.symmetries import images, permuted, randomized
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import DenseNet, PreactivationResNet, ResNet, Vgg, WideResNet
from lossmap.components.landscape.connectivity.symmetries import channel_spaces
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.moving import count_parameters
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.models import build

BC121 = DenseNet(blocks=(6, 12, 24, 16), growth=32)
TINY = {
    "vgg": Vgg(channels=3),
    "wide resnet of Li et al.": ResNet(depth=8, width=2, shortcut_option="B"),
    "pre-activation": PreactivationResNet(depth=8),
    "pre-activation without shortcuts": PreactivationResNet(depth=8, shortcuts=False),
    "bottlenecks": PreactivationResNet(depth=11, bottleneck=True),
    "bottlenecks without shortcuts": PreactivationResNet(depth=11, bottleneck=True, shortcuts=False),
    "wide": WideResNet(depth=10, width=2),
    "wide by one": WideResNet(depth=16, width=1),
    "wide without shortcuts": WideResNet(depth=10, width=2, shortcuts=False),
    "dense": DenseNet(depth=7, growth=4, bottleneck=False, compression=1.0),
    "dense BC": DenseNet(blocks=(2, 1, 2), growth=4),
}


def _tiny(name):
    return randomized(build(TINY[name], manifest(classes=4)))


def _count(model):
    return count_parameters(build(model, manifest(3, 32)))


def _vgg_count(channels):
    """Convolutions of 9 weights for each pair of channels, a bias and two numbers of the norm; 4^2 pixels
    of VGG-9 are left, one of the others.
    """
    total, inputs = 0, 3
    for outputs in channels:
        total += 9 * inputs * outputs + 3 * outputs
        inputs = outputs
    pixels = 16 if len(channels) == 7 else 1
    return total + inputs * pixels * inputs + 3 * inputs + 10 * inputs + 10


VGG = {
    9: [64] * 2 + [128] * 2 + [256] * 3,
    16: [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6,
    19: [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8,
}


# the counts are those of the networks that the code of Li et al. makes
@pytest.mark.parametrize(("depth", "count"), [(9, 2789706), (16, 14991946), (19, 20304202)])
def test_vgg_has_as_many_parameters_as_the_one_of_li_et_al(depth, count):
    assert _count(Vgg(depth=depth)) == _vgg_count(VGG[depth]) == count
    assert _count(Vgg(depth=depth, channels=16)) == _vgg_count([channels // 4 for channels in VGG[depth]])


def _plain_count(n, stem, widths):
    """Stem, then 2n convolutions a stage, of 9 weights for each pair of channels; linear layer. No norms."""
    total, inputs = 27 * stem, stem
    for width in widths:
        total += 9 * (inputs * width + (2 * n - 1) * width * width)
        inputs = width
    return total + inputs * 10 + 10


# those of WRN56_2, WRN56_2_noshort and WRN56_4_noshort in the code of Li et al.
@pytest.mark.parametrize(
    ("width", "shortcuts", "count"), [(2, True, 3412394), (2, False, 3401770), (4, False, 13586506)]
)
def test_a_residual_networks_width_is_that_of_li_et_al(width, shortcuts, count):
    widths = [16 * width, 32 * width, 64 * width]
    norms = 2 * (widths[0] + 18 * sum(widths))
    projections = (
        sum(a * b + 2 * b for a, b in ((widths[0], widths[1]), (widths[1], widths[2]))) if shortcuts else 0
    )
    assert _count(ResNet(depth=56, width=width, shortcuts=shortcuts, shortcut_option="B")) == count
    assert _plain_count(9, widths[0], widths) + norms + projections == count


@pytest.mark.parametrize("shortcuts", [True, False])
def test_preactivation_with_basic_blocks_has_the_published_number_of_parameters(shortcuts):
    # 36 layers a stage and the stem: each has a norm behind it
    norms = 2 * sum(n * width for n, width in ((37, 16), (36, 32), (36, 64)))
    count = _count(PreactivationResNet(depth=110, shortcuts=shortcuts))
    assert count == _plain_count(18, 16, (16, 32, 64)) + norms
    assert count / 1e6 == pytest.approx(1.7, abs=0.05)


def _bottleneck_count(n, shortcuts):
    """Convolutions and norms of the network with 9n + 2 layers, apart."""
    convolutions, norms, inputs = 27 * 16, 0, 16
    for inner in (16, 32, 64):
        outputs = 4 * inner
        convolutions += inputs * inner + (n - 1) * outputs * inner + n * (9 * inner * inner + inner * outputs)
        convolutions += inputs * outputs if shortcuts else 0
        norms += 2 * (inputs + (n - 1) * outputs + 2 * n * inner)
        inputs = outputs
    return convolutions, norms + 2 * inputs


# Zagoruyko & Komodakis 2016, table 5. Theirs of the deepest network is without norms: it has 10.18 million
# weights, and 10.33 with them.
@pytest.mark.parametrize(("depth", "millions"), [(164, 1.7), (1001, 10.2)])
def test_preactivation_with_bottlenecks_has_the_published_number_of_parameters(depth, millions):
    convolutions, norms = _bottleneck_count((depth - 2) // 9, shortcuts=True)
    assert _count(PreactivationResNet(depth=depth, bottleneck=True)) == convolutions + norms + 256 * 10 + 10
    assert convolutions / 1e6 == pytest.approx(millions, abs=0.05)


def test_bottlenecks_without_shortcuts_have_no_projections():
    convolutions, norms = _bottleneck_count(3, shortcuts=False)
    assert (
        _count(PreactivationResNet(depth=29, bottleneck=True, shortcuts=False))
        == convolutions + norms + 256 * 10 + 10
    )


# Zagoruyko & Komodakis 2016, tables 4 and 5, to 0.1 million
@pytest.mark.parametrize(
    ("depth", "width", "millions"), [(40, 1, 0.6), (40, 4, 8.9), (16, 8, 11.0), (28, 10, 36.5)]
)
def test_wide_networks_have_the_published_number_of_parameters(depth, width, millions):
    count = _count(WideResNet(depth=depth, width=width))
    assert count == _wide_count((depth - 4) // 6, width, shortcuts=True)
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("width", [1, 2])
def test_wide_networks_without_shortcuts_have_no_projections(width):
    assert _count(WideResNet(depth=16, width=width, shortcuts=False)) == _wide_count(
        2, width, shortcuts=False
    )


def _wide_count(n, width, shortcuts):
    widths = [16 * width, 32 * width, 64 * width]
    norms = 2 * (16 + (2 * n - 1) * widths[0] + widths[0] + 2 * n * widths[1] + 2 * n * widths[2])
    pairs = zip([16, *widths], widths, strict=False)
    projections = sum(a * b for a, b in pairs if a != b) if shortcuts else 0
    return _plain_count(n, 16, widths) + norms + projections


def _dense_count(first, blocks, growth, bottleneck, compression):
    total, channels = 27 * first, first
    for index, layers in enumerate(blocks):
        if index > 0:
            kept = math.floor(channels * compression)
            total, channels = total + 2 * channels + channels * kept, kept
        for _ in range(layers):
            inner = 4 * growth
            total += 2 * channels + (
                channels * inner + 2 * inner + 9 * inner * growth if bottleneck else 9 * channels * growth
            )
            channels += growth
    return total + 2 * channels + 10 * channels + 10


# Huang et al. 2017, table 2, and for the 40-layer BC one the authors' page; 121 layers: the network that the
# code of Li et al. makes
@pytest.mark.parametrize(
    ("model", "first", "blocks", "millions"),
    [
        (DenseNet(depth=40, bottleneck=False, compression=1.0), 16, (12, 12, 12), 1.0),
        (DenseNet(depth=100, growth=12, bottleneck=False, compression=1.0), 16, (32, 32, 32), 7.0),
        (DenseNet(depth=40), 24, (6, 6, 6), 0.18),
        (DenseNet(depth=100), 24, (16, 16, 16), 0.8),
        (DenseNet(depth=250, growth=24), 48, (41, 41, 41), 15.3),
        (BC121, 64, (6, 12, 24, 16), 6.956298),
    ],
)
def test_dense_networks_have_the_published_number_of_parameters(model, first, blocks, millions):
    count = _count(model)
    assert count == _dense_count(first, blocks, model.growth, model.bottleneck, model.compression)
    # the papers round to one or two digits: 0.77 is given as 0.8
    assert count / 1e6 == pytest.approx(millions, rel=0.04)


def _shapes(model):
    network, shapes = build(model, manifest(3, 32)), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.register_forward_hook(
                lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:]))
            )
    network.eval()(torch.zeros(1, 3, 32, 32))
    return shapes


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (Vgg(channels=4), [(4, 32, 32)] * 2 + [(8, 16, 16)] * 2 + [(16, 8, 8)] * 3),
        (
            Vgg(depth=19, channels=2),
            [(2, 32, 32)] * 2 + [(4, 16, 16)] * 2 + [(8, 8, 8)] * 4 + [(16, 4, 4)] * 4 + [(16, 2, 2)] * 4,
        ),
        (ResNet(depth=14, width=2), [(32, 32, 32)] * 5 + [(64, 16, 16)] * 4 + [(128, 8, 8)] * 4),
        (PreactivationResNet(depth=20), [(16, 32, 32)] * 7 + [(32, 16, 16)] * 6 + [(64, 8, 8)] * 6),
        (
            PreactivationResNet(depth=20, bottleneck=True),
            [(16, 32, 32)] * 3 + [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2,
        ),
        (
            WideResNet(depth=16, width=2),
            [(16, 32, 32)] + [(32, 32, 32)] * 4 + [(64, 16, 16)] * 4 + [(128, 8, 8)] * 4,
        ),
        (
            DenseNet(depth=22, growth=4),
            [(8, 32, 32)] + [(4, 32, 32)] * 3 + [(4, 16, 16)] * 3 + [(4, 8, 8)] * 3,
        ),
        (
            DenseNet(depth=22, growth=4, bottleneck=False),
            [(16, 32, 32)] + [(4, 32, 32)] * 6 + [(4, 16, 16)] * 6 + [(4, 8, 8)] * 6,
        ),
    ],
)
def test_layers_have_the_papers_shapes(model, shapes):
    assert _shapes(model) == shapes


def _expected(model, network, x):
    if isinstance(model, Vgg):
        return reference.vgg(network, x, (2, 2, 3))
    if isinstance(model, DenseNet):
        return reference.densenet(network, x, model.blocks or (1, 1, 1), model.bottleneck)
    if isinstance(model, WideResNet):
        return reference.residual(network, x, model, (model.depth - 4) // 6, 2)
    return reference.residual(network, x, model, 1, 3 if model.bottleneck else 2)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", [name for name in TINY if "Li" not in name])
def test_outputs_are_those_of_the_plain_functions_without_shortcuts_too(name, size):
    network, x = _tiny(name), images(count=3, size=size)
    if "vgg" in name:
        network = randomized(build(TINY[name], manifest(1, size, classes=4)))
    expected, left = _expected(TINY[name], network, x)
    assert left == 0
    # the same sums in another order: some thousand roundings of 1e-16
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in TINY if "without" in name])
def test_without_shortcuts_a_block_whose_last_convolution_is_zero_stops_everything(name):
    network = _tiny(name)
    block = next(module for module in network if hasattr(module, "residual"))
    nn.init.zeros_(block.residual[-1].weight)
    outputs = network(images(count=3))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_dropout_is_between_a_blocks_convolutions_and_ends_with_training():
    block, seen = build(WideResNet(depth=10, width=2, dropout=0.25), manifest())[1].double(), {}
    for name, module in block.residual.named_children():
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output.clone()})
        )
    block(images(4, channels=16))
    ratios = (seen["3"] / seen["2"])[seen["2"] > 0]
    assert [type(module).__name__ for module in block.residual] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "Dropout",
        "Conv2d",
    ]
    assert torch.allclose(ratios[ratios > 0], torch.tensor(1 / 0.75, dtype=torch.float64))
    # 4096 draws or so: the share's deviation is 0.007
    assert float((ratios == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    with_it, without = (
        build(WideResNet(depth=10, width=2, dropout=dropout), manifest()).eval() for dropout in (0.25, 0.0)
    )
    assert torch.equal(with_it(images().float()), without(images().float()))


@pytest.mark.parametrize(
    "model",
    [
        Vgg(channels=32),
        PreactivationResNet(depth=11, bottleneck=True),
        WideResNet(depth=10, width=2),
        DenseNet(depth=16),
    ],
)
def test_convolutions_start_with_the_deviation_of_he_et_al_and_without_bias(model):
    for module in build(model, manifest(3, 32)).modules():
        if isinstance(module, nn.Conv2d):
            weights, fan_in = module.weight.detach(), module.weight[0].numel()
            # the relative error of a deviation from n numbers is 1 / sqrt(2 n); four of them
            assert float(weights.std()) == pytest.approx(
                math.sqrt(2 / fan_in), rel=4 / math.sqrt(2 * weights.numel())
            )
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("name", TINY)
def test_in_channels_last_every_weight_gets_the_same_gradient(name):
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network = _tiny(name).train().to(memory_format=layout)
        network(images().contiguous(memory_format=layout)).square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    for parameter, gradient in gradients[0].items():
        # roundings of 1e-16 in sums of some thousand; a bias in front of a norm has no gradient but these
        torch.testing.assert_close(gradients[1][parameter], gradient, rtol=1e-8, atol=1e-11)


# all but the input, the output, and what option A or a concatenation binds to places
@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("vgg", 8),
        ("wide resnet of Li et al.", 6),
        ("pre-activation", 3),
        ("pre-activation without shortcuts", 7),
        ("bottlenecks", 10),
        ("bottlenecks without shortcuts", 10),
        ("wide", 7),
        ("wide by one", 9),
        ("wide without shortcuts", 7),
        ("dense", 0),
        ("dense BC", 5),
    ],
)
def test_channels_that_are_free_can_be_permuted(name, free):
    network, changed = _tiny(name), _tiny(name)
    symmetries = channel_spaces(network)
    spaces = [space for space in symmetries.spaces if space.free]
    changed.load_state_dict(permuted(network.state_dict(), spaces, seed=1))
    assert (symmetries.reason, len(spaces)) == (None, free)
    assert not spaces or any(
        not torch.equal(a, b) for a, b in zip(network.parameters(), changed.parameters(), strict=True)
    )
    torch.testing.assert_close(changed(images()), network(images()), rtol=1e-10, atol=1e-12)


# norms that stay: behind biases, sums and concatenations
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("vgg", 8),
        ("wide resnet of Li et al.", 0),
        ("pre-activation", 3),
        ("pre-activation without shortcuts", 0),
        ("bottlenecks", 3),
        ("bottlenecks without shortcuts", 0),
        ("wide", 3),
        ("wide by one", 7),
        ("wide without shortcuts", 0),
        ("dense", 6),
        ("dense BC", 8),
    ],
)
def test_a_folded_networks_surface_is_the_unfolded_ones_in_float64(name, left):
    network = _tiny(name).float()
    inputs, labels = images(12).float(), torch.arange(12) % 4
    weights = dict(network.named_parameters())
    directions = tuple(
        {key: d.float() for key, d in normalized_direction(weights, axis, Landscape()).items()}
        for axis in "xy"
    )
    expected = naive_point(network, *directions, 0.4, -0.3, inputs, labels)
    evaluate, folded = folded_evaluator(network, directions, inputs, labels)
    result = evaluate(0.4, -0.3)
    # float32, as in test_surface.py
    assert result.loss == pytest.approx(expected[0], rel=2e-5)
    assert result.error == expected[1]
    assert sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in folded.modules()) == left


@pytest.mark.parametrize("name", TINY)
def test_a_product_with_the_hessian_is_the_difference_of_gradients(name):
    network = _tiny(name)
    x, labels = images(6), torch.arange(6) % 4
    hessian = Hessian(Problem(network, cross_entropy, Samples(x, labels, 4)))
    vector = torch.randn(hessian.shape[0], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-7
    slopes = [_gradient(network, sign * step * vector, x, labels) for sign in (1, -1)]
    expected = (slopes[0] - slopes[1]) / (2 * step)
    # roundings of 1e-16 divided by the step; relu's kinks are farther away than the step
    np.testing.assert_allclose(
        hessian.matvec(vector.numpy()), expected.numpy(), rtol=0, atol=1e-6 * float(expected.abs().max())
    )


def _gradient(network, change, x, labels):
    moved = copy.deepcopy(network)
    vector_to_parameters(parameters_to_vector(moved.parameters()) + change, moved.parameters())
    loss = nn.functional.cross_entropy(moved(x), labels)
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(moved.parameters()))])
