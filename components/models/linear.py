"""Softmax regression."""

from torch import nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Linear


def linear(model: Linear, manifest: Manifest) -> nn.Module:
    """logits = W x + b, x the flattened image. Starts at W = 0, b = 0, where the loss is ln(classes)."""
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(manifest.channels * manifest.height * manifest.width, len(manifest.classes))
    )
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network
