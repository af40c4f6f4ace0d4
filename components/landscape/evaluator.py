"""The loss at points w + x d1 + y d2, evaluated in place on samples that stay in memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from lossmap.components.landscape.grid import Result
from lossmap.components.landscape.objective import Problem, group_means, losses_and_errors

Directions = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


class Evaluator:
    """The loss of one network on fixed samples, as a function of two coordinates.

    The same point gives the same bits in every process, in any order, on machines with the same kind of
    processor: each point starts from the stored weights, batches are always the same, and the caller keeps
    torch at one thread.

    Args:
        problem: network, loss and samples; the network's parameters are moved, its stored weights are kept
            aside.
        directions: the directions of x and y: names of parameters, and of buffers that move too, to tensors.
        batch_norm: `frozen` uses the network's running statistics; `reestimated` uses, at every point, the
            average over the batches of the samples' own means and (unbiased) variances; `coordinates` moves
            the statistics along the directions.
    """

    def __init__(
        self,
        problem: Problem,
        directions: Directions,
        batch_norm: Literal["frozen", "reestimated", "coordinates"],
    ):
        network = problem.network
        self._network, self._loss = network.eval().requires_grad_(False), problem.loss
        self._samples, self._groups = problem.samples, problem.samples.groups()
        self._reestimate = batch_norm == "reestimated"
        moving = {name: tensor for name, tensor in _tensors(network).items() if name in directions[0]}
        self._weights = _flat(list(moving.values()))
        x, y = directions
        self._x = _flat([x[name] for name in moving]).to(self._weights)
        self._y = _flat([y[name] for name in moving]).to(self._weights)
        self._moved = self._weights.clone()
        _view(moving, self._moved)

    @torch.inference_mode()
    def __call__(self, x: float, y: float) -> Result:
        """Evaluate the point (x, y)."""
        torch.add(self._weights, self._x, alpha=x, out=self._moved)
        self._moved.add_(self._y, alpha=y)
        if self._reestimate:
            with collecting_statistics(self._network):
                for inputs, _ in self._samples.batches():
                    self._network(inputs)
        losses, errors = losses_and_errors(self._network, self._loss, self._samples)
        return Result(
            losses.mean,
            errors.mean,
            losses.standard_error,
            tuple(group_means(losses.values, self._groups).tolist()),
            losses.group_weights(self._groups),
        )


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _view(tensors: Mapping[str, Tensor], flat: Tensor) -> None:
    """Make every tensor a view into `flat`, so that one addition moves them all."""
    start = 0
    for tensor in tensors.values():
        tensor.data = flat[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()


@contextmanager
def collecting_statistics(network: nn.Module) -> Iterator[None]:
    """While this is open, BatchNorm normalises by each batch's own statistics; afterwards by their plain
    average over the batches.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    yield
    for norm in norms:
        norm.eval()
