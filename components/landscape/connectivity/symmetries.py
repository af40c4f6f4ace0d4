"""Which channels of a network can change places, and which can change scale, while the network's function
stays what it is.

Two channels of a hidden layer can be swapped if everything that writes them and everything that reads them is
swapped, too (Hecht-Nielsen 1990). A channel can be multiplied by r > 0 where it is written and divided by r
where it is read, if all that lies between commutes with r: relu(r x) = r relu(x) (Dinh et al. 2017).
BatchNorm undoes a factor of its input, and has a scale of its own.
"""

import inspect
from dataclasses import dataclass

from torch import fx, nn

from lossmap.components.core.copies import copied
from lossmap.components.landscape.connectivity.channels import Channels, Column
from lossmap.components.landscape.connectivity.flow import trace_channels


@dataclass(frozen=True)
class Space:
    """Channels that can only be permuted together. Its tensors are named as in `state_dict`.

    Attributes:
        channels: how many they are.
        rows: parameters and buffers whose dimension 0 is the channel: weights and biases of the layers that
            write, all of the norms.
        columns: weights whose dimension 1 is the channel: those of the layers that read.
        free: every permutation of rows and columns together leaves the function as it is. Not so where the
            network's input or output, or an operation that is not understood, touches the channels.
    """

    channels: int
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    free: bool


@dataclass(frozen=True)
class Scale:
    """Channels each of which can be multiplied by a positive factor r_i.

    Attributes:
        channels: how many they are.
        rows: parameters that are then multiplied by r_i along dimension 0.
        columns: weights that are divided by r_i along dimension 1.
        norms: names of BatchNorm modules that read the channels: their running mean is multiplied by r_i, the
            variance by r_i^2.
    """

    channels: int
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    norms: tuple[str, ...]


@dataclass(frozen=True)
class Symmetries:
    """What is known about a network.

    Attributes:
        spaces: the free ones and the others.
        scales: those that can be rescaled, and no others.
        reason: why nothing is known; None if the network could be traced.
    """

    spaces: tuple[Space, ...]
    scales: tuple[Scale, ...]
    reason: str | None = None


def channel_spaces(network: nn.Module) -> Symmetries:
    """Follow the channels through the network in evaluation mode, by symbolic tracing (torch.fx).

    Understood are linear layers, convolutions, BatchNorm, element-wise operations, pooling, flattening and
    sums; whatever else touches a channel makes it neither free nor rescalable, so that what is found is right
    and may be incomplete.
    """
    try:
        traced = copied(network).eval()
        nodes = list(fx.Tracer().trace(traced, concrete_args=_defaults(traced)).nodes)
    except Exception as error:  # a user's code meets symbols where it expects numbers: anything can come out
        return Symmetries(
            (),
            (),
            f"the network's data flow cannot be traced ({type(error).__name__}:"
            f" {str(error).partition(chr(10))[0]})",
        )
    spaces, scales = trace_channels(traced, nodes)
    return Symmetries(
        tuple(_space(channels) for channels in spaces),
        tuple(_scale(channels) for channels in scales if _rescalable(channels)),
    )


def _defaults(network: nn.Module) -> dict[str, object]:
    parameters = inspect.signature(network.forward).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default is not inspect.Parameter.empty
    }


def _rescalable(channels: Channels) -> bool:
    return bool(not channels.fixed and channels.rows and (channels.columns or channels.norms))


def _space(channels: Channels) -> Space:
    return Space(channels.channels, tuple(channels.rows), tuple(channels.columns), not channels.fixed)


def _scale(channels: Channels) -> Scale:
    return Scale(channels.channels, tuple(channels.rows), tuple(channels.columns), tuple(channels.norms))
