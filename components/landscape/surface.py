"""The loss at points w + x d1 + y d2, evaluated in place on samples that stay in memory."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.landscape.grid import Result


class Evaluator:
    """The loss of one network on fixed samples, as a function of two coordinates.

    The same point gives the same bits in every process, in any order, on machines with the same kind of processor: each point starts
    from the stored weights, batches are always the same, and the caller keeps torch at one thread.

    Args:
        network: takes `inputs`; its parameters are moved, its stored weights are kept aside.
        directions: the directions of x and y: parameter names to tensors.
        inputs: samples as the network wants them (N x C x H x W, float32).
        labels: their classes (N, int64).
        batch_norm: `frozen` uses the network's running statistics; `reestimated` uses, at every point, the average over the batches of
            the samples' own means and (unbiased) variances.
        batch_size: samples that go through the network at a time.
    """

    def __init__(
        self,
        network: nn.Module,
        directions: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
        inputs: Tensor,
        labels: Tensor,
        batch_norm: Literal["frozen", "reestimated"],
        batch_size: int,
    ):
        self._network = network.eval().requires_grad_(False)
        self._batches = list(zip(inputs.split(batch_size), labels.split(batch_size), strict=True))
        self._reestimate = batch_norm == "reestimated"
        names = [name for name, _ in network.named_parameters()]
        self._weights = _flat([parameter for _, parameter in network.named_parameters()])
        self._x, self._y = (_flat([direction[name] for name in names]).to(self._weights) for direction in directions)
        self._moved = self._weights.clone()
        _view_parameters(network, self._moved)

    @torch.inference_mode()
    def __call__(self, x: float, y: float) -> Result:
        """Evaluate the point (x, y)."""
        torch.add(self._weights, self._x, alpha=x, out=self._moved)
        self._moved.add_(self._y, alpha=y)
        if self._reestimate:
            with _collecting_statistics(self._network):
                for inputs, _ in self._batches:
                    self._network(inputs)
        losses, wrong = zip(*(self._batch(inputs, labels) for inputs, labels in self._batches), strict=True)
        return _result(torch.cat(losses), int(sum(wrong)))

    def _batch(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        logits = self._network(inputs).double()
        return F.cross_entropy(logits, labels, reduction="none"), int((logits.argmax(dim=1) != labels).sum())


def _result(losses: Tensor, wrong: int) -> Result:
    count = len(losses)
    deviation = float(losses.std()) if count > 1 else math.nan
    return Result(float(losses.mean()), wrong / count, deviation / math.sqrt(count))


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _view_parameters(network: nn.Module, flat: Tensor) -> None:
    """Make every parameter a view into `flat`, so that one addition moves them all."""
    start = 0
    for parameter in network.parameters():
        parameter.data = flat[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()


@contextmanager
def _collecting_statistics(network: nn.Module) -> Iterator[None]:
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    yield
    for norm in norms:
        norm.eval()
