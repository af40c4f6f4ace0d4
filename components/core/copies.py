"""Copies of networks."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def copied(network: Network) -> Network:
    """A deep copy. Tensors that a module computed and keeps beside its parameters, as
    torch.nn.utils.weight_norm does, are copied as numbers, without the graph that made them, which deepcopy
    refuses.
    """
    computed = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    with torch.no_grad():  # TorchScript records how it copies, and then has no parameters of its own
        other = copy.deepcopy(network, computed)
    for mine, own in zip(other.parameters(), network.parameters(), strict=True):
        mine.requires_grad_(own.requires_grad)
    return other
