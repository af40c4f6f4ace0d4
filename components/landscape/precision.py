"""The types in which weights move.

A step along a direction is lost in a type of few digits: bfloat16 has three, so that a line of bfloat16
weights is a staircase.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lossmap.components.landscape.moving import listed

_LEAST_BYTES = 4


def widen(network: nn.Module) -> nn.Module:
    """The network itself, whose parameters and buffers of less than 32 bits (float16, bfloat16, float8) are
    float32 from now on; float32 and float64 stay what they are.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if is_narrow(tensor):
            tensor.data = tensor.data.float()
    return network


def is_narrow(tensor: Tensor) -> bool:
    """Whether its numbers have less than 32 bits."""
    return tensor.is_floating_point() and tensor.dtype.itemsize < _LEAST_BYTES


def types(tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Every type of floating point among some tensors, with the names of those that have it, sorted."""
    found: dict[str, list[str]] = {}
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point():
            found.setdefault(_name(tensor.dtype), []).append(name)
    return found


def narrow_types(tensors: Mapping[str, Tensor]) -> list[str]:
    """The types of less than 32 bits among some tensors."""
    return list(types({name: tensor for name, tensor in tensors.items() if is_narrow(tensor)}))


def described(found: Mapping[str, list[str]]) -> str:
    """For example `bfloat16 (body.bias, body.weight) and float32 (head.weight)`."""
    return " and ".join(f"{kind} ({listed(names)})" for kind, names in found.items())


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
