import pytest
import torch
from reference.manifests import manifest
from torch import nn

from lossmap.components.config.models import (
    DenseNet,
    Linear,
    Mlp,
    PreactivationResNet,
    ResNet,
    Vgg,
    WideResNet,
)
from lossmap.components.landscape.moving import count_parameters
from lossmap.components.models import build


def _published(depth):
    """Count of He et al.'s network: convolutions, two numbers of BatchNorm for each channel, and the last
    layer with its bias.
    """
    n = (depth - 2) // 6
    convolutions = 27 * 16 + 9 * (
        2 * n * 16 * 16 + 16 * 32 + (2 * n - 1) * 32 * 32 + 32 * 64 + (2 * n - 1) * 64 * 64
    )
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    return convolutions + norms + 64 * 10 + 10


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.73)])
@pytest.mark.parametrize("shortcuts", [True, False])
def test_option_a_has_the_published_number_of_parameters(depth, millions, shortcuts):
    count = count_parameters(build(ResNet(depth=depth, shortcuts=shortcuts), manifest(3, 32)))
    assert count == _published(depth)
    # the paper rounds to 0.01; ResNet-56 has 0.8557 and is given as 0.85
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("depth", [20, 56])
def test_option_b_adds_two_projections_and_their_norms(depth):
    extra = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert (
        count_parameters(build(ResNet(depth=depth, shortcut_option="B"), manifest(3, 32)))
        == _published(depth) + extra
    )


def test_layers_have_the_papers_shapes():
    network = build(ResNet(depth=20), manifest(3, 32))
    shapes = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:]))
            )
    network(torch.zeros(2, 3, 32, 32))
    assert shapes == [(16, 32, 32)] * 7 + [(32, 16, 16)] * 6 + [(64, 8, 8)] * 6
    assert len(shapes) + 1 == 20


def test_option_a_shortcut_takes_every_second_pixel_and_adds_zero_channels():
    block = build(ResNet(depth=8), manifest(3, 32))[4]
    x = torch.randn(1, 16, 8, 8)
    expected = torch.zeros(1, 32, 4, 4)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    assert torch.equal(block.shortcut(x), expected)


def test_without_shortcuts_a_block_is_its_plain_layers():
    network = build(ResNet(depth=8, shortcuts=False), manifest(3, 32)).eval()
    x = torch.randn(2, 16, 8, 8)
    block = network[3]
    plain = torch.relu(block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x))))))
    assert torch.equal(block(x), plain)


def test_with_and_without_shortcuts_share_every_weight_of_the_same_seed():
    with_them, without = (
        build(ResNet(depth=20, shortcuts=value), manifest(3, 32)).state_dict() for value in (True, False)
    )
    assert with_them.keys() == without.keys()
    assert all(torch.equal(with_them[name], without[name]) for name in with_them)


@pytest.mark.parametrize(
    "model",
    [
        Linear(),
        Mlp(),
        ResNet(depth=8),
        ResNet(depth=8, shortcut_option="B", width=2),
        Vgg(channels=2),
        Vgg(depth=19, channels=2),
        PreactivationResNet(depth=8),
        PreactivationResNet(depth=11, bottleneck=True),
        WideResNet(depth=10, width=2),
        DenseNet(depth=10, growth=4),
        DenseNet(blocks=(1, 2, 1, 1), growth=4),
    ],
)
@pytest.mark.parametrize(
    ("channels", "size", "classes"), [(1, 8, 10), (3, 32, 100), (1, 28, 10), (3, 9, 2), (2, 1, 3)]
)
def test_every_network_takes_the_data_sets_shape(model, channels, size, classes):
    network = build(model, manifest(channels, size, classes))
    assert network(torch.zeros(3, channels, size, size)).shape == (3, classes)


def test_the_seed_decides_the_weights_and_torchs_own_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = build(Mlp(seed=1), manifest(3, 32)).state_dict()
    assert torch.equal(torch.rand(1), expected)
    again, other = (
        build(Mlp(seed=1), manifest(3, 32)).state_dict(),
        build(Mlp(seed=2), manifest(3, 32)).state_dict(),
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["1.weight"], other["1.weight"])


def test_softmax_regression_starts_where_the_loss_is_ln_of_the_classes():
    logits = build(Linear(), manifest(3, 32))(torch.randn(4, 3, 32, 32))
    assert not logits.any()
