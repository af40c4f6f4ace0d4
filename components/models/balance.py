"""How evenly a network's layers of experts use their experts, while it trains: the numbers that
config.models.BALANCE names.
"""

import torch
from torch import nn

from lossmap.components.models.experts import Balance, ExpertLayer


def has_experts(network: nn.Module) -> bool:
    """Whether any layer is one of experts."""
    return bool(_layers(network))


def take_balance(network: nn.Module) -> Balance | None:
    """What the forward passes in training mode left since this was called last; the layers forget it. None if
    they left nothing.

    Returns:
        The sum of the balance losses of all layers and passes, to be added to the loss; and the means of
        their statistics.
    """
    layers = _layers(network)
    passes = [balance for layer in layers for balance in layer.passes]
    for layer in layers:
        layer.passes.clear()
    if not passes:
        return None
    return Balance(
        torch.stack([balance.loss for balance in passes]).sum(),
        torch.stack([balance.routing for balance in passes]).mean(dim=0),
    )


def _layers(network: nn.Module) -> list[ExpertLayer]:
    return [module for module in network.modules() if isinstance(module, ExpertLayer)]
