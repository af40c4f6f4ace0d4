import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from reference.symmetries import Applied, images, networks, permuted, randomized
from torch import nn
from torch.nn.utils import parametrizations, prune

from lossmap.components.landscape.connectivity.symmetries import Column, channel_spaces

IMAGE, VECTOR = (3, 2, 6, 6), (3, 5)


def _flat(x):
    return x.mean(dim=(2, 3))


def _convolutions(between, **modules):
    """conv 2 to 4, what lies between, average, linear 4 to 3."""
    return Applied(
        lambda n, x: n.last(_flat(between(n, n.first(x)))),
        first=nn.Conv2d(2, 4, 3, padding=1),
        last=nn.Linear(4, 3),
        **modules,
    )


def _perceptron(between, **modules):
    return Applied(
        lambda n, x: n.last(between(n, n.first(x))), first=nn.Linear(5, 4), last=nn.Linear(4, 3), **modules
    )


def _shared():
    return nn.Conv2d(4, 4, 1)


def _gated(n, x):
    return x * torch.sigmoid(n.gate(F.relu(x.mean(dim=(2, 3), keepdim=True))))


def _tied():
    network = Applied(
        lambda n, x: n.last(n.two(F.relu(n.one(n.first(x))))),
        first=nn.Linear(5, 4),
        one=nn.Linear(4, 4),
        two=nn.Linear(4, 4),
        last=nn.Linear(4, 3),
    )
    network.two.weight = network.one.weight
    return network


def _pruned():
    network = _perceptron(lambda n, x: F.relu(x)).requires_grad_(False)
    prune.identity(network.first, "weight")
    prune.identity(network.last, "weight")
    return network


# network, shape of its input, free spaces, rescalable scales without and with norms
UNDERSTOOD = {
    "relu": (_perceptron(lambda n, x: F.relu(x)), VECTOR, 1, 1, 0),
    "method": (_perceptron(lambda n, x: x.relu()), VECTOR, 1, 1, 0),
    "gelu": (_perceptron(lambda n, x: F.gelu(x)), VECTOR, 1, 0, 0),
    "tanh module": (_perceptron(lambda n, x: n.act(x), act=nn.Tanh()), VECTOR, 1, 0, 0),
    "number times": (_perceptron(lambda n, x: F.relu(0.5 * x) / 3), VECTOR, 1, 1, 0),
    "number plus": (_perceptron(lambda n, x: F.relu(x + 1)), VECTOR, 1, 0, 0),
    "one over": (_perceptron(lambda n, x: 1 / (1 + F.relu(x))), VECTOR, 1, 0, 0),
    "square": (_perceptron(lambda n, x: x * x), VECTOR, 1, 0, 0),
    "double": (_perceptron(lambda n, x: F.relu(x + x)), VECTOR, 1, 1, 0),
    "dropout": (_perceptron(lambda n, x: F.dropout(F.relu(x), training=n.training)), VECTOR, 1, 1, 0),
    "norm of vectors": (_perceptron(lambda n, x: F.relu(n.norm(x)), norm=nn.BatchNorm1d(4)), VECTOR, 1, 1, 1),
    "norm": (_convolutions(lambda n, x: F.relu(n.norm(x)), norm=nn.BatchNorm2d(4)), IMAGE, 1, 1, 1),
    "norm without affine": (
        _convolutions(lambda n, x: F.relu(n.norm(x)), norm=nn.BatchNorm2d(4, affine=False)),
        IMAGE,
        1,
        0,
        1,
    ),
    "norm without statistics": (
        _convolutions(lambda n, x: F.relu(n.norm(x)), norm=nn.BatchNorm2d(4, track_running_stats=False)),
        IMAGE,
        1,
        1,
        0,
    ),
    "pools": (_convolutions(lambda n, x: F.avg_pool2d(n.pool(x), 2), pool=nn.MaxPool2d(2)), IMAGE, 1, 1, 0),
    "depthwise": (
        _convolutions(lambda n, x: F.relu(n.deep(F.relu(x))), deep=nn.Conv2d(4, 4, 3, groups=4)),
        IMAGE,
        1,
        0,
        0,
    ),
    "residual": (
        _convolutions(lambda n, x: x + F.relu(n.inner(F.relu(x))), inner=nn.Conv2d(4, 4, 3, padding=1)),
        IMAGE,
        1,
        1,
        0,
    ),
    "pre-activation": (
        _convolutions(
            lambda n, x: x + n.inner(F.relu(n.norm(x))), norm=nn.BatchNorm2d(4), inner=nn.Conv2d(4, 4, 1)
        ),
        IMAGE,
        1,
        1,
        1,
    ),
    "gate": (_convolutions(_gated, gate=nn.Conv2d(4, 4, 1)), IMAGE, 1, 0, 0),
    "flatten": (
        Applied(
            lambda n, x: n.last(torch.flatten(n.first(x), 1)), first=nn.Conv2d(2, 4, 3), last=nn.Linear(64, 3)
        ),
        IMAGE,
        1,
        1,
        0,
    ),
    "view": (
        Applied(
            lambda n, x: n.last((y := n.first(x)).view(y.shape[0], -1)),
            first=nn.Conv2d(2, 4, 3),
            last=nn.Linear(64, 3),
        ),
        IMAGE,
        1,
        1,
        0,
    ),
    "one dimension": (
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
        (3, 2, 6),
        1,
        1,
        0,
    ),
    "three dimensions": (
        nn.Sequential(nn.Conv3d(1, 4, 2), nn.LeakyReLU(), nn.Flatten(), nn.Linear(32, 3)),
        (3, 1, 3, 3, 3),
        1,
        1,
        0,
    ),
    "tokens": (_perceptron(lambda n, x: F.relu(x)), (3, 7, 5), 1, 1, 0),
    "norm behind a concatenation": (
        Applied(
            lambda n, x: n.last(_flat(F.relu(n.norm(torch.cat([n.first(x), n.second(x)], 1))))),
            first=nn.Conv2d(2, 2, 1),
            second=nn.Conv2d(2, 2, 1),
            norm=nn.BatchNorm2d(4),
            last=nn.Linear(4, 3),
        ),
        IMAGE,
        0,
        1,
        0,
    ),
}

# what is not understood, or binds channels to places: nothing may be free
NOT_FREE = {
    "softmax": (_perceptron(lambda n, x: F.softmax(x, dim=1)), VECTOR),
    "sum over channels": (_perceptron(lambda n, x: x / x.sum(dim=1, keepdim=True)), VECTOR),
    "slice": (_perceptron(lambda n, x: x + x[:, :1]), VECTOR),
    "parameter of its own": (_perceptron(lambda n, x: F.relu(x) * n.first.bias), VECTOR),
    "layer norm": (_perceptron(lambda n, x: n.norm(x), norm=nn.LayerNorm(4)), VECTOR),
    "groups": (_convolutions(lambda n, x: n.grouped(x), grouped=nn.Conv2d(4, 4, 1, groups=2)), IMAGE),
    "padded channels": (_convolutions(lambda n, x: F.pad(x[:, :2], (0, 0, 0, 0, 1, 1))), IMAGE),
    "called twice": (
        _convolutions(lambda n, x: n.again(F.relu(n.again(F.relu(x)))), again=nn.Conv2d(4, 4, 1)),
        IMAGE,
    ),
    "linear over pixels": (
        Applied(lambda n, x: n.last(n.first(x)), first=nn.Conv2d(2, 4, 3), last=nn.Linear(4, 4)),
        IMAGE,
    ),
    "flattened tokens": (
        Applied(lambda n, x: n.last(n.first(x).flatten(1)), first=nn.Linear(5, 4), last=nn.Linear(28, 3)),
        (3, 7, 5),
    ),
    "another view": (
        Applied(
            lambda n, x: n.last(n.first(x).view(-1, 64)), first=nn.Conv2d(2, 4, 3), last=nn.Linear(64, 3)
        ),
        IMAGE,
    ),
    "input added": (
        Applied(lambda n, x: n.last(x + n.first(x)), first=nn.Linear(5, 5), last=nn.Linear(5, 3)),
        VECTOR,
    ),
    "broadcast channel": (_convolutions(lambda n, x: x * n.one(x), one=nn.Conv2d(4, 1, 1)), IMAGE),
    "output of a hidden layer": (Applied(lambda n, x: F.relu(n.first(x)), first=nn.Linear(5, 4)), VECTOR),
    "pool over channels": (_perceptron(lambda n, x: F.max_pool1d(x, 3, 1, 1)), VECTOR),
    "weight norm": (_perceptron(lambda n, x: F.relu(x), norm=nn.Identity()), VECTOR),
}
parametrizations.weight_norm(NOT_FREE["weight norm"][0].first)
parametrizations.weight_norm(NOT_FREE["weight norm"][0].last)


def _changed(network, state):
    changed = copy.deepcopy(network)
    changed.load_state_dict(state)
    return changed


def _permutations_change_nothing(network, inputs):
    free = [space for space in channel_spaces(network).spaces if space.free]
    shuffled = _changed(network, permuted(network.state_dict(), free, seed=1))
    # the same products are added in another order: a few roundings of 1e-16 for each of some thousand
    torch.testing.assert_close(shuffled(inputs), network(inputs), rtol=1e-10, atol=1e-12)
    return len(free)


def _factors_change_nothing(network, inputs):
    """Row by row and column by column, BatchNorm without its eps."""
    generator = torch.Generator().manual_seed(2)
    scales = channel_spaces(network).scales
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.eps = 0.0
    expected = network(inputs)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for scale in scales:
        for channel, factor in enumerate(
            torch.rand(scale.channels, generator=generator).mul(3).add(0.1).tolist()
        ):
            for name in scale.rows:
                state[name][channel] *= factor
            for column in scale.columns:
                state[column.name][:, channel * column.repeat : (channel + 1) * column.repeat] /= factor
            for name in scale.norms:
                state[f"{name}.running_mean"][channel] *= factor
                state[f"{name}.running_var"][channel] *= factor**2
    torch.testing.assert_close(_changed(network, state)(inputs), expected, rtol=1e-10, atol=1e-12)
    return sum(not scale.norms for scale in scales), sum(bool(scale.norms) for scale in scales)


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_free_can_be_permuted_and_what_is_rescalable_can_be_rescaled(name):
    network, shape, free, plain, with_norms = UNDERSTOOD[name]
    network = randomized(network)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert _permutations_change_nothing(network, inputs) == free
    assert _factors_change_nothing(network, inputs) == (plain, with_norms)


@pytest.mark.parametrize(
    ("name", "free", "plain", "with_norms"),
    [
        ("mlp", 2, 2, 0),
        ("convolutions", 3, 3, 0),
        ("resnet A", 3, 3, 7),
        ("resnet B", 6, 6, 9),
        ("resnet without shortcuts", 7, 7, 7),
    ],
)
def test_lossmaps_own_networks_are_understood(name, free, plain, with_norms):
    network = networks()[name]
    assert _permutations_change_nothing(network, images()) == free
    assert _factors_change_nothing(network, images()) == (plain, with_norms)


@pytest.mark.parametrize(
    ("build", "free", "plain", "with_norms"),
    [
        (torchvision.models.resnet18, 12, 12, 20),
        (torchvision.models.mobilenet_v3_small, 27, 16, 23),
    ],
)
def test_torchvisions_networks_are_understood(build, free, plain, with_norms):
    network = randomized(build(num_classes=7))
    inputs = images(2, 3, 32)
    assert _permutations_change_nothing(network, inputs) == free
    assert _factors_change_nothing(network, inputs) == (plain, with_norms)


@pytest.mark.parametrize("name", NOT_FREE)
def test_what_is_not_understood_is_neither_free_nor_rescalable(name):
    network, shape = NOT_FREE[name]
    symmetries = channel_spaces(randomized(network))
    network(torch.randn(shape, dtype=torch.float64))
    assert symmetries.reason is None
    assert not any(space.free for space in symmetries.spaces)
    assert not symmetries.scales


def test_tied_weights_bind_the_channels_that_they_touch():
    assert not any(space.free for space in channel_spaces(_tied()).spaces)


def test_weights_that_are_computed_from_others_are_left_alone():
    assert channel_spaces(_pruned()).reason is None
    assert not any(space.free for space in channel_spaces(_pruned()).spaces)


def test_a_residual_stream_is_one_space_with_all_that_touches_it():
    spaces = channel_spaces(networks()["resnet B"]).spaces
    stream = next(space for space in spaces if "0.weight" in space.rows)
    norms = {
        f"{norm}.{part}"
        for norm in ("1", "3.norm2")
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    assert set(stream.rows) == {"0.weight", "3.conv2.weight", *norms}
    assert set(stream.columns) == {
        Column("3.conv1.weight", 1),
        Column("4.conv1.weight", 1),
        Column("4.shortcut.0.weight", 1),
    }
    assert (stream.channels, stream.free) == (16, True)


def test_a_flattening_gives_each_channel_its_pixels():
    space = next(space for space in channel_spaces(networks()["convolutions"]).spaces if space.channels == 5)
    assert space.columns == (Column("third.weight", 4),)


class _Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_says_why():
    symmetries = channel_spaces(_Branching())
    assert (symmetries.spaces, symmetries.scales) == ((), ())
    assert symmetries.reason.startswith(
        "the network's data flow cannot be traced (TraceError: symbolically traced variables cannot be used"
        " as inputs to control flow"
    )


class _Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x, mask=None):
        x = torch.relu(self.first(x))
        return self.last(x if mask is None else x * mask)


def test_arguments_with_defaults_have_them():
    assert [space.free for space in channel_spaces(_Masked()).spaces] == [True, False]


def test_the_network_itself_stays_as_it_is_also_its_training_mode():
    network = networks()["resnet A"].train()
    state = copy.deepcopy(network.state_dict())
    channel_spaces(network)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
