"""The CIFAR residual networks of He et al. 2016 (section 4.2), and the same networks without shortcuts.

conv 3x3, 16 · n blocks of 16 channels · n of 32 (half the size) · n of 64 (a quarter) · average over the image · linear,
where a block is two 3x3 convolutions: 6n + 2 layers with weights. Every convolution is followed by BatchNorm and has no bias.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import ResNet


def resnet(model: ResNet, manifest: Manifest) -> nn.Module:
    """The network of the given depth; convolutions start as in He et al. 2015 (eq. 10: deviation sqrt(2 / fan-in))."""
    blocks = (model.depth - 2) // 6
    layers: list[nn.Module] = [_convolution(manifest.channels, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    channels = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            layers.append(Block(channels, outputs, stride, model.shortcut_option if model.shortcuts else None))
            channels = outputs
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(manifest.classes)))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


class Block(nn.Module):
    """relu(f(x) + shortcut(x)) with f = conv, norm, relu, conv, norm; without a shortcut relu(f(x)).

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        stride: of the first convolution.
        shortcut: option A (identity, zero channels added), B (1x1 convolution where the shape changes), or None.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str | None):
        super().__init__()
        self.conv1, self.norm1 = _convolution(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _convolution(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcut) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)


class PadChannels(nn.Module):
    """Option A: every stride-th pixel, and zero channels on both sides up to the new number. It has no parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.before, self.after, self.stride = (outputs - inputs) // 2, outputs - inputs - (outputs - inputs) // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(inputs: int, outputs: int, stride: int, option: str) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if option == "A":
        return PadChannels(inputs, outputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
