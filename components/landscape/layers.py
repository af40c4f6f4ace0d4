"""Layers whose outputs a survey cannot take for a function of the weights and one sample."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from lossmap.components.core.errors import ExperimentError

_QUANTIZED = ("torch.ao.nn.", "torch.nn.quantized")


def check_layers(network: nn.Module) -> None:
    """Raises:
    ExperimentError: a BatchNorm has no running statistics, so that the loss depends on the batches; or the
        weights of a quantized layer are no parameters.
    """
    for name, module in network.named_modules():
        home = type(module).__module__
        if home.startswith(_QUANTIZED) and "quantized" in home:
            raise ExperimentError(
                f"{_layer(name, module)} of {home} is quantized: its weights cannot be moved; survey the"
                " network as it was before"
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ExperimentError(
                f"{_layer(name, module)} has no running statistics (track_running_stats=False): it takes"
                " those of each batch, so that the loss would depend on landscape.batch_size; give it running"
                " statistics: track_running_stats=True, and some batches in training mode"
            )


def check_reestimation(network: nn.Module) -> None:
    """Raises:
    ExperimentError: statistics other than BatchNorm's would stay as they are.
    """
    for name, module in network.named_modules():
        if isinstance(module, _InstanceNorm) and module.running_mean is not None:
            raise ExperimentError(
                f"landscape.batch_norm is reestimated, and {_layer(name, module)} has running statistics,"
                " which is done for BatchNorm only; set landscape.batch_norm=frozen"
            )


def _layer(name: str, module: nn.Module) -> str:
    kind = type(module).__name__
    return f"the layer {name} ({kind})" if name else f"the network, a {kind},"
