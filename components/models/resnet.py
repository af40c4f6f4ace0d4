"""The CIFAR residual networks of He et al. 2016 (section 4.2), the same networks without shortcuts, and wider
ones.

conv 3x3, 16k · n blocks of 16k channels · n of 32k (half the size) · n of 64k (a quarter) · average over the
image · linear, where a block is two 3x3 convolutions: 6n + 2 layers with weights. Every convolution is
followed by BatchNorm and has no bias. The paper has k = 1. The factor k widens all layers, the first one too,
as in `WResNet_cifar` of Li et al. 2018 (WRN56_k, section 6); the wide residual networks of Zagoruyko &
Komodakis 2016 are others: see `wide_resnet`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import ResNet
from lossmap.components.models.layers import classifier, convolution, he_initialized


def resnet(model: ResNet, manifest: Manifest) -> nn.Module:
    """The network of the given depth and width, for images of any size; the convolutions start as in He et
    al. 2015.
    """
    blocks = (model.depth - 2) // 6
    channels = 16 * model.width
    layers: list[nn.Module] = [
        convolution(manifest.channels, channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
    for stage, outputs in enumerate((channels, 2 * channels, 4 * channels)):
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            layers.append(
                Block(channels, outputs, stride, model.shortcut_option if model.shortcuts else None)
            )
            channels = outputs
    return he_initialized(nn.Sequential(*layers, *classifier(channels, len(manifest.classes))))


class Block(nn.Module):
    """relu(f(x) + shortcut(x)) with f = conv, norm, relu, conv, norm; without a shortcut relu(f(x)).

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        stride: of the first convolution.
        shortcut: option A (identity, zero channels added), B (1x1 convolution where the shape changes), or
            None.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str | None):
        super().__init__()
        self.conv1, self.norm1 = convolution(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = convolution(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcut) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)


class PadChannels(nn.Module):
    """Option A: every stride-th pixel, and zero channels on both sides up to the new number. It has no
    parameters.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.before, self.after, self.stride = (
            (outputs - inputs) // 2,
            outputs - inputs - (outputs - inputs) // 2,
            stride,
        )

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(inputs: int, outputs: int, stride: int, option: str) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if option == "A":
        return PadChannels(inputs, outputs, stride)
    return nn.Sequential(convolution(inputs, outputs, stride, kernel=1), nn.BatchNorm2d(outputs))
