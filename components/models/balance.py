"""How evenly a network's layers of experts use their experts."""

import torch
from torch import Tensor, nn

from lossmap.components.models.experts import ExpertLayer

STATISTICS = ("importance_cv", "load_cv", "load_max_over_mean", "dropped_share")


def has_experts(network: nn.Module) -> bool:
    """Whether any layer is one of experts."""
    return bool(_layers(network))


def auxiliary_loss(network: nn.Module) -> Tensor | None:
    """The sum of the layers' balance losses in the last forward pass, to be added to the loss; None without such layers or outside of training.

    It is handed out once, so that nothing keeps the pass's graph alive.
    """
    layers = _layers(network)
    losses = [layer.loss for layer in layers if layer.loss is not None]
    for layer in layers:
        layer.loss = None
    return torch.stack(losses).sum() if losses else None


def routing(network: nn.Module) -> Tensor:
    """Means over the layers that took part in the last forward pass in training mode: (4,) float64, named by STATISTICS; NaN where none did."""
    found = [layer.routing for layer in _layers(network) if layer.routing is not None]
    return torch.stack(found).mean(dim=0) if found else torch.full((len(STATISTICS),), torch.nan, dtype=torch.float64)


def _layers(network: nn.Module) -> list[ExpertLayer]:
    return [module for module in network.modules() if isinstance(module, ExpertLayer)]
