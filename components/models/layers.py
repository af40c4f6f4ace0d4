"""What the convolutional networks share: their convolutions, their last layers, and the weights with which
they start.
"""

from torch import nn


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    """Without bias, since BatchNorm follows; N x inputs x H x W to N x outputs x H/stride x W/stride,
    rounded up.
    """
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def classifier(channels: int, classes: int) -> list[nn.Module]:
    """Average over the image, then softmax regression: N x channels x H x W to N x classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def he_initialized(network: nn.Module) -> nn.Module:
    """Convolutions start as in He et al. 2015 (eq. 10: deviation sqrt(2 / fan-in), no bias); the other
    layers as torch made them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
