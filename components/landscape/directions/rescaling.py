"""Other weights that compute the same function: layers, neurons and BatchNorm's inputs times positive
factors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from lossmap.components.core.copies import copied
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.connectivity.symmetries import Scale, channel_spaces

Kind = Literal["layer", "neuron", "batch-norm"]


@dataclass(frozen=True)
class Rescaling:
    """What was rescaled.

    Attributes:
        kind: layer, neuron or batch-norm.
        what: in words; where nothing can be rescaled, why.
        scales: layers that were rescaled; 0: none.
        function_change: max |out' - out| / max |out| over the samples' outputs; None where nothing was
            rescaled.
    """

    kind: Kind
    what: str
    scales: int
    function_change: float | None


def rescaled_copy(network: nn.Module, kind: Kind, seed: int) -> tuple[nn.Module, Rescaling]:
    """A copy with other weights that computes the same function in evaluation mode.

    layer        one factor for all channels of a layer, 10 and 1/10 in turn; the weights that read it are
                 divided by it
    neuron       the same with a factor exp(z), z standard normal, for each channel
    batch-norm   a factor exp(z) for each channel that a BatchNorm reads: of the weights that write it, of
                 the running mean, and squared of the running variance v: r^2 (v + eps) - eps, so that it is
                 exact, which r^2 v is only up to BatchNorm's eps. With statistics that are estimated anew
                 from samples it is so up to eps, whatever one does

    Returns:
        the copy, and what was done; a plain copy where nothing can be done.
    """
    symmetries = channel_spaces(network)
    scales = [scale for scale in symmetries.scales if bool(scale.norms) == (kind == "batch-norm")]
    changed = copied(network)
    for index, scale in enumerate(scales):
        _rescale(changed, scale, _factors(kind, seed, index, scale.channels))
    what = _description(kind, scales) if scales else f"nothing: {symmetries.reason or _NOTHING[kind]}"
    return changed, Rescaling(kind, what, len(scales), None)


_NOTHING: dict[Kind, str] = {
    "layer": "between no two layers lie only operations that commute with a positive factor",
    "neuron": "between no two layers lie only operations that commute with a positive factor",
    "batch-norm": "no layer is followed by BatchNorm alone",
}


def _description(kind: Kind, scales: Sequence[Scale]) -> str:
    layers, channels = len(scales), sum(scale.channels for scale in scales)
    if kind == "layer":
        return (
            f"the outputs of {layers} layers times 10 and 1/10 in turn, undone by the layers that read them"
        )
    undone = "their BatchNorm" if kind == "batch-norm" else "the layers that read them"
    return f"each of {channels} channels of {layers} layers times a log-normal factor, undone by {undone}"


def _factors(kind: Kind, seed: int, index: int, channels: int) -> Tensor:
    if kind == "layer":
        return torch.full((channels,), 10.0 if index % 2 == 0 else 0.1, dtype=torch.float64)
    return torch.from_numpy(np.exp(stream("rescaling", kind, seed, index).standard_normal(channels)))


@torch.no_grad()
def _rescale(network: nn.Module, scale: Scale, factors: Tensor) -> None:
    state = network.state_dict()
    for name in scale.rows:
        state[name].mul_(_along(factors, state[name], 0))
    for column in scale.columns:
        weight = state[column.name]
        weight.div_(_along(factors.repeat_interleave(column.repeat), weight, 1))
    for name in scale.norms:
        eps = cast(nn.BatchNorm2d, network.get_submodule(name)).eps
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        mean.mul_(_along(factors, mean, 0))
        variance.copy_(_along(factors, variance, 0) ** 2 * (variance + eps) - eps)


def _along(factors: Tensor, tensor: Tensor, dimension: int) -> Tensor:
    shape = [1] * tensor.dim()
    shape[dimension] = -1
    return factors.to(tensor).reshape(shape)
