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
    return name if getattr(experiment.model, "shortcuts", True) else f"{name} without shortcuts"


def network_on_data(experiment: Experiment, manifest: Manifest) -> str:
    """Network and data set; of a folder or zip the last part of its name."""
    if manifest.tasks:
        return f"{network(experiment)} on {len(manifest.tasks)} tasks"
    source = manifest.source.rstrip("/").rpartition("/")[2]
    return f"{network(experiment)} on {'tensors in memory' if source == IN_PROCESS else source}"


def _imported(model: Imported) -> str:
    return (
        model.factory.removeprefix(IN_PROCESS).strip().rpartition(":")[2] or "A network handed over in Python"
    )


def _densenet(model: DenseNet) -> str:
    """With the letters of the paper: B for bottlenecks, C for compression; its number of layers and its
    growth.
    """
    layers = model.depth or (2 if model.bottleneck else 1) * sum(model.blocks) + len(model.blocks) + 1
    letters = f"{'B' if model.bottleneck else ''}{'C' if model.compression < 1 else ''}"
    return "-".join(["DenseNet", *([letters] if letters else []), str(layers), str(model.growth)])


_NAMES: Mapping[type, Callable[[Any], str]] = {
    Linear: lambda _: "Softmax regression",
    Mlp: lambda model: f"Multi-layer perceptron {'-'.join(map(str, model.hidden))}",
    Vgg: lambda model: (
        f"VGG-{model.depth}"
        + ("" if model.channels == Vgg().channels else f" from {model.channels} channels")
    ),
    ResNet: lambda model: (
        f"ResNet-{model.depth}" + ("" if model.width == 1 else f", {model.width} times as wide")
    ),
    PreactivationResNet: lambda model: f"Pre-activation ResNet-{model.depth}",
    WideResNet: lambda model: f"WRN-{model.depth}-{model.width}",
    DenseNet: _densenet,
    MixtureOfExperts: lambda model: (
        f"Mixture of {model.experts.count} experts"
        + ("" if model.body == "perceptron" else " at every place")
    ),
    MultiModel: lambda _: "MultiModel",
    Imported: _imported,
}
