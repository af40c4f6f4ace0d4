"""How networks are called where nobody asks for derivatives of their weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from lossmap.components.landscape.objective import SampleLoss, SampleMean, Samples, losses_and_errors
from lossmap.components.landscape.outputs import are_close, network_outputs

T = TypeVar("T")


def without_gradients(network: nn.Module, compute: Callable[[], T]) -> T:
    """What `compute` returns. Derivatives are recorded only where it fails without them, as a network or a
    loss does that differentiates its outputs to its inputs; those of the weights never are.

    It is torch.no_grad and not inference mode: what a network keeps from its first call can then take part in
    derivatives later, and a forward pass may ask for gradients of its inputs.

    Args:
        network: that is called.
        compute: may be called twice.
    """
    try:
        with torch.no_grad():
            return compute()
    except Exception as error:  # a user's loss wraps what torch raises
        if "grad" not in str(error):
            raise
    with torch.enable_grad(), _without_weights_gradients(network):
        return compute()


def losses_of(network: nn.Module, loss: SampleLoss, samples: Samples) -> tuple[SampleMean, SampleMean]:
    """Loss and error over the samples, as of losses_and_errors, without derivatives of the weights.

    Args:
        network: in evaluation mode.
        loss: one value for each sample.
        samples: inputs and targets.
    """
    return without_gradients(network, lambda: losses_and_errors(network, loss, samples))


def detached_outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """The network's outputs, as of network_outputs, without derivatives. It may change its inputs in place:
    it gets a copy.
    """
    return without_gradients(network, lambda: network_outputs(network, inputs.clone())).detach()


def fixed(network: nn.Module) -> nn.Module:
    """The network itself, none of whose parameters requires a gradient from now on."""
    for parameter in network.parameters():  # TorchScript has no requires_grad_ of the whole
        parameter.requires_grad_(False)
    return network


@contextmanager
def _without_weights_gradients(network: nn.Module) -> Iterator[None]:
    changed = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_()


def memory_format(network: nn.Module, inputs: Tensor) -> torch.memory_format:
    """How images lie in memory for a network: channels last, in which convolutions are fastest, where it
    then gives the same outputs, to rounding; else as they are.

    A network that flattens by `view` fails there; one that reads the memory by strides of its own answers
    something else.

    Args:
        network: in evaluation mode; what it keeps from its first call is of these inputs.
        inputs: a few samples.
    """
    if inputs.dim() != 4:
        return torch.contiguous_format
    try:
        expected = detached_outputs(network, inputs.contiguous())
        found = detached_outputs(network, inputs.contiguous(memory_format=torch.channels_last))
        same = are_close(found, expected, torch.finfo(expected.dtype).eps ** 0.5)
    # whatever a user's network does; what fails in any format fails again where it is evaluated
    except Exception:
        same = False
    return torch.channels_last if same else torch.contiguous_format
