"""The names of networks, as the papers have them."""

from collections.abc import Callable, Mapping
from typing import Any

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import (
    DenseNet,
    Imported,
    Linear,
    MixtureOfExperts,
    Mlp,
    MultiModel,
    PreactivationResNet,
    ResNet,
    Vgg,
    WideResNet,
)


def network(experiment: Experiment) -> str:
    """The network in a few words."""
    name = _NAMES[type(experiment.model)](experiment.model)
    if getattr(experiment.model, "shortcuts", True):
        return name
    return f"{name} without shortcuts"


def network_on_data(experiment: Experiment, manifest: Manifest) -> str:
    """Network and data set; of a folder or zip the last part of its name."""
    if manifest.tasks:
        return f"{network(experiment)} on {len(manifest.tasks)} tasks"
    source = manifest.source.rstrip("/").rpartition("/")[2]
    place = "tensors in memory" if source == IN_PROCESS else source
    return f"{network(experiment)} on {place}"


def _imported(model: Imported) -> str:
    function = model.factory.removeprefix(IN_PROCESS).strip().rpartition(":")[2]
    return function or "A network handed over in Python"


def _vgg(model: Vgg) -> str:
    if model.channels == Vgg().channels:
        return f"VGG-{model.depth}"
    return f"VGG-{model.depth} from {model.channels} channels"


def _resnet(model: ResNet) -> str:
    if model.width == 1:
        return f"ResNet-{model.depth}"
    return f"ResNet-{model.depth}, {model.width} times as wide"


def _densenet(model: DenseNet) -> str:
    """With the letters of the paper: B for bottlenecks, C for compression; its number of layers and its
    growth.
    """
    layers_per_unit = 2 if model.bottleneck else 1
    layers = model.depth or layers_per_unit * sum(model.blocks) + len(model.blocks) + 1
    letters = "B" * model.bottleneck + "C" * (model.compression < 1)
    return "-".join(part for part in ("DenseNet", letters, str(layers), str(model.growth)) if part)


def _mixture_of_experts(model: MixtureOfExperts) -> str:
    name = f"Mixture of {model.experts.count} experts"
    return name if model.body == "perceptron" else f"{name} at every place"


_NAMES: Mapping[type, Callable[[Any], str]] = {
    Linear: lambda _: "Softmax regression",
    Mlp: lambda model: f"Multi-layer perceptron {'-'.join(map(str, model.hidden))}",
    Vgg: _vgg,
    ResNet: _resnet,
    PreactivationResNet: lambda model: f"Pre-activation ResNet-{model.depth}",
    WideResNet: lambda model: f"WRN-{model.depth}-{model.width}",
    DenseNet: _densenet,
    MixtureOfExperts: _mixture_of_experts,
    MultiModel: lambda _: "MultiModel",
    Imported: _imported,
}
