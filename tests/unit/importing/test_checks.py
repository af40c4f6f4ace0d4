"""A network that is no function of its weights and of one sample is refused, with what is the matter."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError
from lossmap.components.importing.checks import check_function
from lossmap.components.models import seeded

INPUTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


class Own(nn.Module):
    """Two layers, and in between whatever a test asks for."""

    def __init__(self, between=lambda _network, x: x, **attributes):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.between = between
        self.square = torch.ones(6, 6)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.last(torch.relu(self.between(self, self.norm(self.first(x)))))


def _counting(network, x):
    network.calls += 1
    return x + network.calls


def _cached(network, x):
    if network.cache is None:
        network.cache = network.last.weight.detach().norm()
    return x / network.cache


def _in_eval(network, x):
    return F.batch_norm(x, network.norm.running_mean, network.norm.running_var, training=True)


def _with_a_view():
    network = Own(lambda network, x: x * network.row)
    network.row = network.last.weight.detach()[0]
    return network


def _tied_by_a_view():
    network = Own()
    network.other = nn.Parameter(network.last.weight.detach().T)
    return network


def _with_a_buffer_in_a_weight():
    network = Own()
    network.register_buffer("row", network.last.weight.detach()[0])
    return network


class InPlace(Own):
    def forward(self, x):
        x -= 0.5
        return super().forward(x)


def _check(make, inputs=INPUTS):
    """As an import does: the second network has the weights of the first, and other random numbers."""
    with seeded(1):
        state = make().state_dict()

    def build(seed):
        with seeded(seed):
            network = make().eval()
        network.load_state_dict(state)
        return network

    check_function([lambda: build(1), lambda: build(2)], inputs, "Own")


def _autocast(network, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.linear(x, network.square).float()


def _rarely(_network, x):
    return x * 2 if random.random() < 0.2 else x


def _after_others(_network, x):
    """As a recurrent layer does that takes the batch for a sequence."""
    return x.cumsum(dim=0)


def _standardized(_network, x):
    x = x - x.mean(dim=0)
    return x / x.norm(dim=0)


RANDOM = "two passes of Own over the same samples differ by up to "
HIDDEN = "two networks of Own with the same weights differ by up to "
STALE = "Own, moved, and a new one there differ by up to "


@pytest.mark.parametrize(
    ("make", "line", "way_out"),
    [
        (lambda: Own(lambda _, x: F.dropout(x, 0.5)), RANDOM, "F.dropout(x, training=self.training)"),
        (lambda: Own(lambda _, x: x + torch.randn_like(x)), RANDOM, "it draws random numbers"),
        (lambda: Own(lambda _, x: x + np.random.normal()), RANDOM, "it draws random numbers"),
        (lambda: Own(lambda _, x: x[:, torch.randperm(6)]), RANDOM, "it draws random numbers"),
        (lambda: Own(_counting, calls=0), RANDOM, "counts its calls"),
        (lambda: Own(_rarely), RANDOM, "it draws random numbers"),
        (lambda: Own(lambda n, x: x[:, n.order], order=torch.randperm(6)), HIDDEN, "register_buffer"),
        (lambda: Own(lambda n, x: x * n.scale, scale=np.random.normal()), HIDDEN, "register_buffer"),
        (lambda: Own(lambda n, x: x * n.scale, scale=random.random()), HIDDEN, "register_buffer"),
        (
            lambda: Own(lambda n, x: x * n.scale, scale=float(np.random.default_rng().normal())),
            HIDDEN,
            "register_buffer",
        ),
        (lambda: Own(_cached, cache=None), STALE, "compute them in forward"),
        (_with_a_view, STALE, "compute them in forward"),
        (
            lambda: Own(_in_eval),
            "Own changes norm.running_mean in a forward pass in evaluation mode",
            "while self.training",
        ),
        (_tied_by_a_view, "other and last.weight of Own share memory", "one Parameter for both"),
        (_with_a_buffer_in_a_weight, "last.weight and row of Own share memory", "compute one from the other"),
        (
            lambda: Own(lambda _, x: x - x.mean(dim=0)),
            "outputs of Own alone and in a batch of 8 differ by up to ",
            "a loss of its own",
        ),
        (
            lambda: Own(_after_others),
            "outputs of Own alone and in a batch of 8 differ by up to ",
            "a loss of its own",
        ),
        (
            lambda: Own(_standardized),
            "outputs of Own alone and in a batch of 8 differ in how many are finite, 0 and 3 of 3",
            "a loss of its own",
        ),
        (
            lambda: Own(_autocast),
            "Own computes in bfloat16 in its forward pass (torch.autocast, or a cast)",
            "torch.autocast(..., enabled=False)",
        ),
        (lambda: Own(lambda _, x: x.half().float()), "Own computes in float16 in its", "in float32 when"),
        (
            lambda: Own(lambda _, x: x - x.mean(dim=0), unused=nn.InstanceNorm1d(6)),
            "outputs of Own alone and in a batch of 8 differ by up to ",
            ": what it answers for a sample depends on the others of the batch",
        ),
    ],
)
def test_what_is_no_function_is_refused_with_the_way_out(make, line, way_out):
    with pytest.raises(ExperimentError) as refused:
        _check(make)
    message = str(refused.value)
    assert "\n" not in message
    assert line in message
    assert way_out in message


def _tied():
    network = Own()
    network.other = nn.Linear(6, 3)
    network.other.weight = network.last.weight
    return network


def _first_call(network, x):
    """Keeps what it made at its first call, of nothing but shapes."""
    if network.positions is None:
        network.positions = torch.arange(x.shape[1], dtype=x.dtype)
    return x + network.positions


class _Doubled(nn.Module):
    """What follows has 53 bits, of which 24 mean something."""

    def forward(self, x):
        return x.double()


def _slices_of_one():
    network = Own()
    both = torch.randn(3, 12)
    network.last.weight, network.other = nn.Parameter(both[:, :6]), nn.Parameter(both[:, 6:])
    return network


@pytest.mark.parametrize(
    "make",
    [
        Own,
        _tied,
        _slices_of_one,
        lambda: Own(_first_call, positions=None),
        lambda: Own(lambda _, x: x.squeeze()),  # one sample alone loses its dimension
        lambda: Own(lambda _, x: x * 1e30),
        lambda: Own(lambda _, x: x / 0),
        lambda: Own(lambda _, x: nn.Dropout(0.5).eval()(x)),
        lambda: Own(lambda _, x: x + 0 * random.random()),  # drawn, and of no effect
        lambda: Own(last=nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3))),
        lambda: Own(last=nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))),
        InPlace,
        lambda: Own(lambda _, x: x + torch.ones(6).half().float()),  # of no weight
        lambda: Own().double(),
        lambda: Own().to(torch.bfloat16),
        lambda: nn.Sequential(nn.Linear(4, 64), nn.Tanh(), _Doubled(), nn.Linear(64, 3).double()),
        lambda: nn.Sequential(nn.Unflatten(1, (4, 1)), nn.LSTM(1, 3, batch_first=True), _First()),
    ],
)
def test_a_function_passes(make):
    _check(make, INPUTS.to(next(make().parameters()).dtype))


def test_layers_in_a_list_are_told(caplog):
    """They are no parameters, and stay where they are."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6), nn.Linear(6, 6)]
    with caplog.at_level("INFO"):
        _check(lambda: Own(lambda network, x: network.layers[1](x), layers=layers))
    assert "Own computes with 2 tensors that require a gradient and are no" in caplog.messages[0]


class _First(nn.Module):
    def forward(self, results):
        return results[0]


def test_one_sample_is_enough():
    _check(Own, INPUTS[:1])


def test_all_generators_are_left_as_they_were():
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    with pytest.raises(ZeroDivisionError), seeded(5):
        random.random(), np.random.normal(), torch.randn(1)
        raise ZeroDivisionError
    assert state() == before
    assert Imported().seed == 0
