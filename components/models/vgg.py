"""VGG for small images, with BatchNorm: stages of 3x3 convolutions, each with a pool of 2x2 behind it, then
two linear layers.

The stages are those of Simonyan & Zisserman 2015 (table 1, columns D and E), the rest is as in the code of Li
et al. 2018: convolutions have a bias although BatchNorm follows, pools round up, and there is one hidden
linear layer, as wide as the last stage, with BatchNorm. VGG-9 has the first three stages only. Layers are
counted as there: convolutions and linear layers.
"""

from torch import nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Vgg
from lossmap.components.models.layers import he_initialized

# (channels as a multiple of the first stage's, convolutions) of each stage
_STAGES = {
    9: ((1, 2), (2, 2), (4, 3)),
    16: ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)),
    19: ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4)),
}


def vgg(model: Vgg, manifest: Manifest) -> nn.Module:
    """The network of the given depth, for images of any size: a pool leaves an image of one pixel as it
    is.
    """
    layers: list[nn.Module] = []
    channels, height, width = manifest.channels, manifest.height, manifest.width
    for factor, convolutions in _STAGES[model.depth]:
        for _ in range(convolutions):
            layers += _convolution(channels, factor * model.channels)
            channels = factor * model.channels
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
        height, width = (height + 1) // 2, (width + 1) // 2
    hidden = [
        nn.Flatten(),
        nn.Linear(channels * height * width, channels),
        nn.BatchNorm1d(channels),
        nn.ReLU(inplace=True),
    ]
    return he_initialized(nn.Sequential(*layers, *hidden, nn.Linear(channels, len(manifest.classes))))


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
