"""Small classifiers whose middle is a layer of experts, in the way of Shazeer et al. 2017: the layer's output
is added to its input.

perceptron      flatten · linear to `width` · ReLU · experts, added · linear to the classes
convolutional   conv 3x3 to `width` · BatchNorm · ReLU · average over 2x2 · conv 3x3 · BatchNorm · ReLU ·
                experts at every place of the image, added · BatchNorm · ReLU · conv 3x3 · BatchNorm · ReLU ·
                average over the image · linear to the classes

The paper's networks are language models; these bodies are ours. In the convolutional one each place of the
image is an input of its own (height/2 x width/2 of them for every image), gated by its channels. Convolutions
have no bias; they and the linear layers of the body start as in He et al. 2015 (eq. 10), with biases zero.
"""

from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Experts, MixtureOfExperts
from lossmap.components.models.experts import ExpertLayer


def mixture_of_experts(model: MixtureOfExperts, manifest: Manifest) -> nn.Module:
    """The network with that body."""
    make = _perceptron if model.body == "perceptron" else _convolutional
    return make(model, manifest)


class AddedExperts(nn.Module):
    """x + experts(x), for inputs (N, width), or for every place of images (N, width, H, W)."""

    def __init__(self, width: int, experts: Experts):
        super().__init__()
        self.layer = ExpertLayer(width, experts)

    def forward(self, x: Tensor) -> Tensor:
        """To the same shape."""
        added: Tensor = self.layer(x.movedim(1, -1)).movedim(-1, 1)
        return x + added


def _perceptron(model: MixtureOfExperts, manifest: Manifest) -> nn.Module:
    first = nn.Linear(manifest.channels * manifest.height * manifest.width, model.width)
    last = nn.Linear(model.width, len(manifest.classes))
    _start(first, last)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), AddedExperts(model.width, model.experts), last)


def _convolutional(model: MixtureOfExperts, manifest: Manifest) -> nn.Module:
    width, last = model.width, nn.Linear(model.width, len(manifest.classes))
    convolutions = [
        nn.Conv2d(inputs, width, 3, padding=1, bias=False) for inputs in (manifest.channels, width, width)
    ]
    _start(*convolutions, last)
    return nn.Sequential(
        *(convolutions[0], nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(2)),
        *(convolutions[1], nn.BatchNorm2d(width), nn.ReLU()),
        *(AddedExperts(width, model.experts), nn.BatchNorm2d(width), nn.ReLU()),
        *(convolutions[2], nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last),
    )


def _start(*layers: nn.Linear | nn.Conv2d) -> None:
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
