"""A network's loss as a function of one flat vector."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.moving import moving_parameters
from lossmap.components.landscape.objective import Problem
from lossmap.components.landscape.outputs import network_outputs


class Parameters:
    """The problem's loss as a function of one flat vector.

    Args:
        problem: network, loss and samples.
        names: the parameters that make up the vector; without it those that move (`moving_parameters`).
        weights: tensors in place of the network's own, parameters or buffers by name, where one looks at
            another point.

    Raises:
        ExperimentError: the network has no parameter of such a name, or none at all, or
            is compiled by TorchScript.
    """

    def __init__(
        self,
        problem: Problem,
        names: Sequence[str] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ):
        self.problem = problem
        _check_stateless(problem.network)
        _make_dense(problem.network)
        own = dict(problem.network.named_parameters())
        chosen = list(moving_parameters(problem.network)) if names is None else _chosen(own, names)
        elsewhere = {name: tensor.detach() for name, tensor in (weights or {}).items()}
        self._others = {name: tensor for name, tensor in elsewhere.items() if name not in chosen}
        self.tensors = {name: elsewhere.get(name, own[name].detach()) for name in chosen}
        self.sizes = {name: tensor.numel() for name, tensor in self.tensors.items()}
        self.size = sum(self.sizes.values())
        self.device = next(iter(self.tensors.values())).device

    def flat(self) -> NDArray[np.float64]:
        """Where the network is: (size,)."""
        return np.asarray(flat_vector(list(self.tensors.values())).cpu().numpy())

    def split(self, vector: NDArray[np.float64]) -> dict[str, Tensor]:
        """A flat vector (size,) as tensors like the parameters, by name."""
        parts = (
            torch.from_numpy(np.ascontiguousarray(vector)).to(self.device).split(list(self.sizes.values()))
        )
        return {
            name: part.reshape(tensor.shape).to(tensor.dtype)
            for part, (name, tensor) in zip(parts, self.tensors.items(), strict=True)
        }

    def outputs(self, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """The network's outputs with those parameters."""
        return network_outputs(self.problem.network, inputs, {**self._others, **tensors})

    def batches(self, chosen: Tensor | None = None, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of the samples, or of the chosen ones, batch by batch, from the batch of that
        number on; meanwhile the network is in evaluation mode and attention is not fused, which has no second
        derivative.
        """
        samples = self.problem.samples
        indices = torch.arange(len(samples)) if chosen is None else chosen
        with _evaluation_mode(self.problem.network), sdpa_kernel(SDPBackend.MATH):
            for index in indices.split(samples.batch_size)[first:]:
                at = index.to(samples.targets.device)
                yield samples.inputs[at], samples.targets[at]


def gradient(problem: Problem, names: Sequence[str] | None = None) -> NDArray[np.float64]:
    """d/dw f, the mean over the samples of the derivative of their losses: (n,), as in Parameters."""
    return value_and_gradient(Parameters(problem, names))[1]


def value_and_gradient(
    parameters: Parameters, vector: NDArray[np.float64] | None = None
) -> tuple[float, NDArray[np.float64]]:
    """f and d/dw f at a flat vector; without it where the network is."""
    tensors = parameters.tensors if vector is None else parameters.split(vector)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    loss, total = 0.0, np.zeros(parameters.size)
    for inputs, targets in parameters.batches():
        losses = parameters.problem.total(parameters.outputs(leaves, inputs), targets)
        parts = torch.autograd.grad(losses, list(leaves.values()), materialize_grads=True)
        loss += losses.item()
        total += flat_vector(parts).cpu().numpy()
    count = len(parameters.problem.samples)
    return loss / count, total / count


def sample_losses(parameters: Parameters, vector: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """The loss of each sample at a flat vector (N,); without it where the network is."""
    tensors = parameters.tensors if vector is None else parameters.split(vector)

    def losses() -> list[Tensor]:
        return [
            parameters.problem.loss(parameters.outputs(tensors, inputs), targets).detach()
            for inputs, targets in parameters.batches()
        ]

    each = without_gradients(parameters.problem.network, losses)
    return np.asarray(torch.cat(each).double().cpu().numpy())


def flat_vector(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors as one float64 vector."""
    return torch.cat([tensor.detach().reshape(-1).double() for tensor in tensors])


def _check_stateless(network: nn.Module) -> None:
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ExperimentError(
            f"the network {type(network).__name__} is compiled by TorchScript, whose derivatives cannot be"
            " taken at other weights; survey the network that it was made from, or without"
            " landscape.curvature and landscape.convexity"
        )


def _make_dense(network: nn.Module) -> None:
    """Sparse gradients of embeddings have no second derivatives; dense ones are the same numbers."""
    for module in network.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False


def _chosen(own: Mapping[str, Tensor], names: Sequence[str]) -> list[str]:
    if unknown := set(names) - set(own):
        raise ExperimentError(
            f"the network has no parameter {min(unknown)!r}, expected some of {', '.join(own)}"
        )
    return [name for name in own if name in set(names)]


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
