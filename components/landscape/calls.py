"""How a network is called with a batch of samples: with one tensor, or as its user says."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

_NAME = "_lossmap_call"  # of the attribute that a network carries, and each copy of it


class Call(ABC):
    """Makes of a network and a batch of packed inputs what the loss takes. Copies of a network share it."""

    @property
    @abstractmethod
    def whole_batches(self) -> bool:
        """Whether all samples of a batch go through the network together."""

    @abstractmethod
    def __call__(self, network: nn.Module, inputs: Tensor) -> Any:
        """The answer for some samples: N x …"""

    def __deepcopy__(self, _copies: dict[int, Any]) -> "Call":
        return self


def call_by(network: nn.Module, call: Call) -> None:
    """Have the network called in that way from now on, and its copies."""
    vars(network)[_NAME] = call


def call_of(network: nn.Module) -> Call | None:
    """How it is called; None: with one tensor."""
    return vars(network).get(_NAME)


def called(network: nn.Module, inputs: Tensor, weights: Mapping[str, Tensor] | None = None) -> Any:
    """The network's answer; with other weights in place of its own, by name."""
    call = call_of(network)
    if weights is None:
        return call(network, inputs) if call else network(inputs)
    if call is None:
        return functional_call(network, dict(weights), (inputs,))
    within = {f"network.{name}": tensor for name, tensor in weights.items()}
    return functional_call(_Called(network, call), within, (inputs,))


class _Called(nn.Module):
    """A network as its user calls it, as a module whose weights can be replaced for a call."""

    def __init__(self, network: nn.Module, call: Call):
        super().__init__()
        self.network, self._call = network, call

    def forward(self, inputs: Tensor) -> Any:
        return self._call(self.network, inputs)
