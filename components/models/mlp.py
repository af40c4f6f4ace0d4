"""Multi-layer perceptron."""

from itertools import pairwise

from torch import nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Mlp


def mlp(model: Mlp, manifest: Manifest) -> nn.Module:
    """Linear layers with rectified linear units between them; He initialisation (He et al. 2015, eq. 10),
    biases zero.
    """
    widths = (manifest.channels * manifest.height * manifest.width, *model.hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    layers.append(nn.Linear(widths[-1], len(manifest.classes)))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
