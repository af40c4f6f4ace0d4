import copy

import pytest
import torch
from torch import nn

from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.landscape.precision import described, narrow_types, types, widen


def _trained():
    """A softmax regression, whose loss is convex along every line, near its minimum."""
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(200, 5, generator=generator), torch.randint(3, (200,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(network(inputs), labels).mean().backward()
        optimizer.step()
    return network, Samples(inputs, labels, 200)


def _convex_share(network, samples):
    generator = torch.Generator().manual_seed(3)
    x = {
        name: torch.randn(parameter.shape, generator=generator)
        for name, parameter in network.named_parameters()
    }
    still = {name: torch.zeros_like(value) for name, value in x.items()}
    samples = Samples(samples.inputs.to(network.weight.dtype), samples.targets, samples.batch_size)
    evaluate = Evaluator(Problem(network, cross_entropy, samples), (x, still), "frozen")
    losses = torch.tensor([evaluate(-0.5 + i / 100, 0.0).loss for i in range(101)])
    return float((losses.diff(n=2) > 0).double().mean())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_line_of_few_bits_is_as_convex_as_that_of_the_float32_network(kind):
    network, samples = _trained()
    narrow = copy.deepcopy(network).to(kind)
    assert _convex_share(copy.deepcopy(network), samples) == 1
    assert _convex_share(copy.deepcopy(narrow), samples) < 0.95  # what it is about
    assert _convex_share(widen(narrow), samples) == 1


def test_weights_and_buffers_of_few_bits_become_float32_and_others_stay():
    network = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.BatchNorm1d(2).half(), nn.Linear(2, 2).double())
    weight, statistics = network[0].weight.clone(), network[1].running_var.clone()
    network.register_buffer("eighth", torch.ones(2).to(torch.float8_e4m3fn))
    assert widen(network) is network
    assert torch.equal(network[0].weight, weight.float())
    assert torch.equal(network[1].running_var, statistics.float())
    assert (network[1].num_batches_tracked.dtype, network[2].weight.dtype) == (torch.int64, torch.float64)
    assert network.eighth.dtype == torch.float32


def test_tied_weights_stay_tied():
    network = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 3, bias=False)).bfloat16()
    network[1].weight = network[0].weight
    assert widen(network)[1].weight is network[0].weight


def test_types_are_told_with_names():
    network = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2))
    found = dict(network.named_parameters())
    assert narrow_types(found) == ["bfloat16"]
    assert described(types(found)) == "bfloat16 (0.bias, 0.weight) and float32 (1.bias, 1.weight)"
