import warnings

import torch
from torch import nn

from lossmap.components.core.copies import copied


def test_a_network_that_keeps_what_it_computed_is_copied():
    with warnings.catch_warnings(action="ignore"):
        network = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(4, 8)), nn.Tanh(), nn.Linear(8, 3))
    network(torch.ones(2, 4)).sum().backward()
    copy = copied(network)
    assert torch.equal(copy(torch.ones(2, 4)), network(torch.ones(2, 4)))
    copy[0].weight_g.data *= 2
    assert not torch.equal(copy(torch.ones(2, 4)), network(torch.ones(2, 4)))


def test_tied_weights_stay_tied():
    network = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 3, bias=False))
    network[1].weight = network[0].weight
    copy = copied(network)
    assert copy[1].weight is copy[0].weight
    assert copy[0].weight is not network[0].weight


def test_a_copy_of_torchscript_has_parameters_and_frozen_ones_stay_frozen():
    with warnings.catch_warnings(action="ignore"):
        network = torch.jit.script(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)))
    network[0].weight.requires_grad_(False)
    for copy in (copied(network), copied(copied(network))):
        assert all(parameter.is_leaf for parameter in copy.parameters())
        assert [parameter.requires_grad for parameter in copy.parameters()] == [False, True, True, True]
