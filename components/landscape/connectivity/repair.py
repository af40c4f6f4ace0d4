"""REPAIR: give every channel of an interpolated network the statistics between those of its two ends (Jordan
et al. 2023).

Between two networks the preactivations lose variance. Their method inserts a normalisation after every hidden
layer; here the rows of the layer itself are scaled and its bias is shifted, which is the same affine map of
every channel and needs no new modules. A network with BatchNorm is repaired by re-estimating the statistics
of that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossmap.components.landscape.connectivity.paths import State
from lossmap.components.landscape.forward import without_gradients

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of a layer's output by channel, (C,) float64, over samples and
    positions.
    """

    mean: Tensor
    deviation: Tensor


def _has_rows(module: nn.Module) -> bool:
    """Whether it is a layer whose rows can be scaled: pruning and weight norm compute its weight."""
    return isinstance(module, _LAYERS) and "weight" in module._parameters


def hidden_layers(network: nn.Module, inputs: Tensor) -> list[str]:
    """Names of the linear and convolutional layers in the order in which they are reached; the last one
    makes the output and is left out.
    """
    order: dict[str, None] = {}
    modules = {name: module for name, module in network.named_modules() if _has_rows(module)}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: order.setdefault(name))
        for name, module in modules.items()
    ]
    without_gradients(network, lambda: network(inputs.clone()))
    for hook in hooks:
        hook.remove()
    return list(order)[:-1]


def moments(
    network: nn.Module, names: Sequence[str], batches: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, Moments]:
    """Moments of the named layers' outputs over all batches together, summed in float64."""
    sums: dict[str, Tensor] = {}

    def add(name: str, module: nn.Module, output: Tensor) -> None:
        channels = output.detach().movedim(-1 if isinstance(module, nn.Linear) else 1, 0).flatten(1).double()
        sums[name] = (
            sums[name]
            + torch.stack(
                [torch.ones_like(channels).sum(dim=1), channels.sum(dim=1), (channels**2).sum(dim=1)]
            ).cpu()
        )

    def compute() -> None:
        sums.update({name: torch.zeros(3, 1, dtype=torch.float64) for name in names})
        for inputs, _ in batches:
            network(inputs.clone())

    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda module, _, output, name=name: add(name, module, output)
        )
        for name in names
    ]
    without_gradients(network, compute)
    for hook in hooks:
        hook.remove()
    return {name: _moments(*sum_of_powers) for name, sum_of_powers in sums.items()}


def _moments(count: Tensor, total: Tensor, squares: Tensor) -> Moments:
    mean = total / count
    return Moments(mean, (squares / count - mean**2).clamp(min=0).sqrt())


def with_biases(network: nn.Module, *states: State) -> list[State]:
    """Give every layer that has no bias one of zeros, in place, and return the states with them."""
    zeros: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, _LAYERS) and _has_rows(module) and module.bias is None:
            zeros[f"{name}.bias" if name else "bias"] = module.weight.new_zeros(len(module.weight))
            module.bias = nn.Parameter(module.weight.new_zeros(len(module.weight)), requires_grad=False)
    return [{**state, **zeros} for state in states]


def between(a: Moments, b: Moments, t: float) -> Moments:
    """Mean and deviation (1-t) a + t b (Jordan et al. 2023, definition of REPAIR)."""
    return Moments((1 - t) * a.mean + t * b.mean, (1 - t) * a.deviation + t * b.deviation)


@torch.no_grad()
def repair(network: nn.Module, targets: dict[str, Moments], batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give each named layer's output its target moments, in place, layer after layer in the order of
    `targets`.

    w_i <- s w_i and b_i <- s b_i + (target mean - s mean) with s = target deviation / deviation. A channel
    that is constant is only shifted. Every layer has a bias (`with_biases`). At the ends of a path, where
    moments are the targets, no bit changes.
    """
    for name, target in targets.items():
        source = moments(network, [name], batches)[name]
        scale = torch.where(source.deviation > 0, target.deviation / source.deviation, 1.0)
        _rescale(network.get_submodule(name), scale, target.mean - scale * source.mean)


def _rescale(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.copy_(weight.double() * scale.to(weight.device).view(-1, *[1] * (weight.dim() - 1)))
    bias.copy_(scale.to(bias.device) * bias.double() + shift.to(bias.device))
