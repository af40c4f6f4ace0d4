"""Copies of networks."""

import copy
from typing import TypeVar

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
    return copy.deepcopy(network, computed)
