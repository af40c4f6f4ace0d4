"""DenseNet of Huang et al. 2017 for small images (sections 3 and 4.2), with or without bottlenecks (B) and
compression (C).

conv 3x3 · dense blocks with transitions between them · norm, relu · average over the image · linear. In a
dense block, each layer adds k channels to those that it reads: norm, relu, conv 3x3; with B, norm, relu, conv
1x1 to 4k channels in front of it. A transition is norm, relu, conv 1x1 to the share theta of its channels,
and an average of 2x2 pixels, rounded up. The first convolution makes 2k channels in a DenseNet-BC, 16 in the
others. The 121-layer network (6, 12, 24, 16) with k = 32 is that of Li et al. 2018, which starts so, too,
unlike the one for ImageNet; their code puts the new channels in front, the paper's behind.
"""

import torch
from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import DenseNet
from lossmap.components.models.layers import classifier, convolution, he_initialized


def densenet(model: DenseNet, manifest: Manifest) -> nn.Module:
    """The network of the given depth or blocks, for images of any size; the convolutions start as in He et
    al. 2015.
    """
    channels = 2 * model.growth if model.bottleneck and model.compression < 1 else 16
    layers: list[nn.Module] = [convolution(manifest.channels, channels)]
    for index, count in enumerate(_blocks(model)):
        if index > 0:
            kept = int(channels * model.compression)
            layers.append(_transition(channels, kept))
            channels = kept
        for _ in range(count):
            layers.append(DenseLayer(channels, model.growth, model.bottleneck))
            channels += model.growth
    last = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *classifier(channels, len(manifest.classes))]
    return he_initialized(nn.Sequential(*layers, *last))


class DenseLayer(nn.Module):
    """What it reads, with `growth` channels more behind it."""

    def __init__(self, inputs: int, growth: int, bottleneck: bool):
        super().__init__()
        if bottleneck:
            layers = [*_activated(inputs, 4 * growth, kernel=1), *_activated(4 * growth, growth)]
        else:
            layers = _activated(inputs, growth)
        self.new = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x (inputs + growth) x H x W."""
        return torch.cat([x, self.new(x)], dim=1)


def _transition(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(*_activated(inputs, outputs, kernel=1), nn.AvgPool2d(2, ceil_mode=True))


def _activated(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    return [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), convolution(inputs, outputs, kernel=kernel)]


def _blocks(model: DenseNet) -> tuple[int, ...]:
    if model.depth is None:
        return model.blocks
    return 3 * ((model.depth - 4) // (6 if model.bottleneck else 3),)
