"""The wide residual networks WRN-d-k of Zagoruyko & Komodakis 2016 (table 1), and the same networks without
shortcuts.

conv 3x3, 16 · n blocks of 16k channels · n of 32k (half the size) · n of 64k (a quarter) · norm, relu ·
average over the image · linear, where a block is two 3x3 convolutions with pre-activation, with dropout
between them if asked for, and its shortcut a 1x1 convolution where the shape changes: d = 6n + 4, counted
with the three of these.
"""

from torch import nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import WideResNet
from lossmap.components.models.layers import classifier, convolution, he_initialized
from lossmap.components.models.preactivation import PreactivationBlock, projection


def wide_resnet(model: WideResNet, manifest: Manifest) -> nn.Module:
    """The network of the given depth and width, for images of any size; the convolutions start as in He et
    al. 2015.
    """
    layers: list[nn.Module] = [convolution(manifest.channels, 16)]
    channels = 16
    for stage, outputs in enumerate((16 * model.width, 32 * model.width, 64 * model.width)):
        for index in range((model.depth - 4) // 6):
            layers.append(_block(model, channels, outputs, stride=2 if stage > 0 and index == 0 else 1))
            channels = outputs
    last = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *classifier(channels, len(manifest.classes))]
    return he_initialized(nn.Sequential(*layers, *last))


def _block(model: WideResNet, inputs: int, outputs: int, stride: int) -> PreactivationBlock:
    convolutions = [convolution(inputs, outputs, stride), convolution(outputs, outputs)]
    shortcut = projection(inputs, outputs, stride) if model.shortcuts else None
    return PreactivationBlock(convolutions, shortcut, activated=inputs != outputs, dropout=model.dropout)
