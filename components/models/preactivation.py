"""The residual networks with pre-activation of He et al. 2016b, and the same networks without shortcuts.

conv 3x3, 16 · n blocks · n blocks (half the size) · n blocks (a quarter) · norm, relu · average over the
image · linear. A basic block is two 3x3 convolutions of 16, 32 or 64 channels: 6n + 2 layers with weights. A
bottleneck is three convolutions, 1x1, 3x3 and 1x1, the first two of 16, 32 or 64 channels and the last of
four times as many: 9n + 2 layers.

Where the shape changes, a bottleneck's shortcut is a 1x1 convolution without a norm, as in the paper's
appendix; a basic block's has no parameters (option A of He et al. 2016, which the paper follows). A
bottleneck's stride is that of its first convolution, as in the authors' code (KaimingHe/resnet-1k-layers).
"""

from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import PreactivationResNet
from lossmap.components.models.layers import classifier, convolution, he_initialized
from lossmap.components.models.resnet import PadChannels


def preactivation_resnet(model: PreactivationResNet, manifest: Manifest) -> nn.Module:
    """The network of the given depth, for images of any size; the convolutions start as in He et al. 2015."""
    block = _bottleneck if model.bottleneck else _basic
    blocks = (model.depth - 2) // (9 if model.bottleneck else 6)
    layers: list[nn.Module] = [convolution(manifest.channels, 16)]
    channels = 16
    for stage, inner in enumerate((16, 32, 64)):
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            layers.append(block(channels, inner, stride, model.shortcuts, first=stage == index == 0))
            channels = 4 * inner if model.bottleneck else inner
    last = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *classifier(channels, len(manifest.classes))]
    return he_initialized(nn.Sequential(*layers, *last))


class PreactivationBlock(nn.Module):
    """f(a) + shortcut, with a = relu(norm(x)) and f the convolutions, each but the first behind a norm and a
    relu; or f(a) alone.

    Args:
        convolutions: of f.
        shortcut: what is added, or None.
        activated: the shortcut takes a instead of x. So it is where the shape changes, and in a network's
            first block.
        dropout: share of the channels' pixels that is dropped in front of the last convolution while
            training.
    """

    def __init__(
        self, convolutions: list[nn.Conv2d], shortcut: nn.Module | None, activated: bool, dropout: float = 0.0
    ):
        super().__init__()
        first, *others = convolutions
        self.activation = nn.Sequential(nn.BatchNorm2d(first.in_channels), nn.ReLU(inplace=True))
        layers: list[nn.Module] = [first]
        for each in others:
            layers += [nn.BatchNorm2d(each.in_channels), nn.ReLU(inplace=True), each]
        if dropout:
            layers.insert(-1, nn.Dropout(dropout))
        self.residual, self.shortcut, self.activated = nn.Sequential(*layers), shortcut, activated

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        a = self.activation(x)
        out: Tensor = self.residual(a)
        if self.shortcut is not None:
            out = out + self.shortcut(a if self.activated else x)
        return out


def _basic(inputs: int, outputs: int, stride: int, shortcuts: bool, first: bool) -> PreactivationBlock:
    changes = inputs != outputs or stride != 1
    shortcut = PadChannels(inputs, outputs, stride) if changes else nn.Identity()
    convolutions = [convolution(inputs, outputs, stride), convolution(outputs, outputs)]
    return PreactivationBlock(convolutions, shortcut if shortcuts else None, activated=changes or first)


def _bottleneck(inputs: int, inner: int, stride: int, shortcuts: bool, first: bool) -> PreactivationBlock:
    outputs = 4 * inner
    convolutions = [
        convolution(inputs, inner, stride, kernel=1),
        convolution(inner, inner),
        convolution(inner, outputs, kernel=1),
    ]
    changes = inputs != outputs
    return PreactivationBlock(
        convolutions, projection(inputs, outputs, stride) if shortcuts else None, activated=changes or first
    )


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut that is a 1x1 convolution where the number of channels changes, and leaves its input as
    it is elsewhere.
    """
    return nn.Identity() if inputs == outputs else convolution(inputs, outputs, stride, kernel=1)
