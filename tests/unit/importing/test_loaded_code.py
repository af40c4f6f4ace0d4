"""The digest of what is in memory changes with whatever decides what it computes."""

import functools

import numpy as np
import pandas
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossmap.components.importing.loaded_code import loaded_code_sha256

TEXT = """
import functools, torch
import torch.nn.functional as F
from torch import nn

LIMIT = 10.0
TABLE = {"a": (1, 2)}

def helper(values):
    return values.clamp(max=LIMIT)

def loss(outputs, targets, scale=1.0):
    return helper(F.cross_entropy(outputs, targets, reduction="none")) * scale

def making(weight):
    def inner(outputs, targets):
        return weight * loss(outputs, targets)
    return inner

class Block(nn.Module):
    power = 2
    def forward(self, x):
        return [x ** self.power for _ in range(3)][0]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head, self.rate = Block(), nn.Linear(2, 3), 0.5
    @property
    def doubled(self):
        return 2 * self.rate
    def forward(self, x):
        return self.head(self.block(x)) * self.doubled + TABLE["a"][0]

made = [loss, Net(), making(torch.tensor(1.0)), functools.partial(loss, scale=2.0), nn.CrossEntropyLoss()]
"""


def _made(text):
    names = {"__name__": "__main__"}  # as in a notebook
    exec(compile(text, "<cell>", "exec"), names)
    return names["made"]


@pytest.fixture(autouse=True)
def notebook(monkeypatch):
    """A main module without a file."""
    import sys
    import types

    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))


def test_the_same_code_has_the_same_digest_wherever_its_lines_are():
    assert loaded_code_sha256(_made(TEXT)) == loaded_code_sha256(_made("\n\n# more\n" + TEXT))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 10.0", "LIMIT = 20.0"),
        ("clamp(max", "clamp(min"),
        ("scale=1.0", "scale=3.0"),
        ("* scale", "/ scale"),
        ("F.cross_entropy", "F.nll_loss"),
        ("weight *", "weight +"),
        ("torch.tensor(1.0)", "torch.tensor(1.5)"),
        ("power = 2", "power = 3"),
        ("range(3)", "range(4)"),
        ("self.rate = Block(), nn.Linear(2, 3), 0.5", "self.rate = Block(), nn.Linear(2, 3), 0.6"),
        ("2 * self.rate", "3 * self.rate"),
        ('"a": (1, 2)', '"a": (5, 2)'),
        ("scale=2.0)", "scale=2.5)"),
        ("nn.CrossEntropyLoss()", "nn.CrossEntropyLoss(label_smoothing=0.1)"),
    ],
)
def test_whatever_it_refers_to_counts(old, new):
    assert old in TEXT
    assert loaded_code_sha256(_made(TEXT)) != loaded_code_sha256(_made(TEXT.replace(old, new)))


def test_what_a_module_holds_besides_its_parameters_counts():
    def with_(**tensors):
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, tensors.pop("weight", 2.0)]))
        loss._mask = torch.tensor(tensors.pop("mask", 1.0))
        loss.register_buffer("steps", torch.tensor(tensors.pop("steps", 1)), persistent=False)
        return loaded_code_sha256([loss])

    assert len({with_(), with_(), with_(weight=3.0), with_(mask=0.0), with_(steps=2)}) == 4


def _hooked(factor):
    network = nn.Linear(2, 2)
    network.register_forward_hook(Configured(factor))
    return network


class Configured:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, _module, _inputs, outputs):
        return outputs * self.factor


def test_what_a_network_is_made_of_counts_in_its_order():
    tanh = nn.Tanh()
    networks = [
        nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
        nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()),
        nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Tanh()),
        nn.Sequential(nn.Linear(2, 2), tanh, tanh, tanh),
        nn.Sequential(nn.Tanh(), nn.Linear(2, 2)),
        nn.Linear(2, 2),
        _hooked(1.5),
        _hooked(2.5),
    ]
    assert len({loaded_code_sha256([network]) for network in networks}) == len(networks)
    assert loaded_code_sha256([_hooked(1.5)]) == loaded_code_sha256([_hooked(1.5)])


class Link:
    def __init__(self, following):
        self.following = following


def test_what_is_linked_in_a_long_chain_counts_to_its_end():
    def chain(end):
        for _ in range(2000):
            end = Link(end)
        return end

    assert loaded_code_sha256([chain(1)]) == loaded_code_sha256([chain(1)]) != loaded_code_sha256([chain(2)])


def test_a_traced_network_counts_by_its_graph():
    def traced(function):
        graph = torch.fx.Graph()
        node = graph.placeholder("x")
        for _ in range(1000):
            node = graph.call_function(function, (node,))
        graph.output(node)
        return torch.fx.GraphModule(nn.Module(), graph)

    sine, same, cosine = (loaded_code_sha256([traced(each)]) for each in (torch.sin, torch.sin, torch.cos))
    assert sine == same != cosine


def test_installed_code_and_weights_do_not_count():
    assert loaded_code_sha256([nn.Linear(2, 3), F.mse_loss]) == loaded_code_sha256(
        [nn.Linear(2, 3), F.mse_loss]
    )


class Configuration:
    def __init__(self, rate):
        self.rate, self.names = rate, {"a", "b", "c"}


class Slotted:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate


def _table(number):
    return pandas.DataFrame({"w": [1.0] * 100 + [number] + [1.0] * 200})  # which shows its ends alone


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ((number for number in "ab"), (number for number in "cd"), None),
        (Configuration(1.5), Configuration(1.5), Configuration(2.5)),
        (Slotted(1.5), Slotted(1.5), Slotted(2.5)),
        (_table(2.0), _table(2.0), _table(3.0)),
        (np.arange(3.0), np.arange(3.0), np.arange(3)),
        ({1: [torch.ones(2)]}, {1: [torch.ones(2)]}, {1: [torch.zeros(2)]}),
        (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16), torch.ones(2)),
    ],
)
def test_values_of_all_kinds_count(one, same, other):
    digests = [loaded_code_sha256([functools.partial(print, value)]) for value in (one, same, other)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_a_tensor_in_a_closure_counts_by_its_numbers():
    def with_weights(weights):
        return lambda outputs, targets: F.cross_entropy(outputs, targets, weight=weights, reduction="none")

    one, same, other = (with_weights(torch.tensor([1.0, value])) for value in (2.0, 2.0, 3.0))
    assert loaded_code_sha256([one]) == loaded_code_sha256([same])
    assert loaded_code_sha256([one]) != loaded_code_sha256([other])
