"""The loss at points w + x d1 + y d2, evaluated in place on samples that stay in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.calls import called
from lossmap.components.landscape.forward import fixed, losses_of, without_gradients
from lossmap.components.landscape.grid import Result
from lossmap.components.landscape.objective import Problem, group_means

Directions = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


class Evaluator:
    """The loss of one network on fixed samples, as a function of two coordinates.

    The same point gives the same bits in every process, in any order, on machines with the same kind of
    processor: each point starts from the stored weights, batches are always the same, and the caller keeps
    torch at one thread.

    Args:
        problem: network, loss and samples; the network's parameters are moved, each in its own type, its
            stored weights are kept aside.
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
        network = fixed(problem.network.eval())
        self._network, self._loss = network, problem.loss
        self._samples, self._groups = problem.samples, problem.samples.groups()
        self._reestimate = batch_norm == "reestimated" and bool(_norms(network))
        moving = {name: tensor for name, tensor in tensors(network).items() if name in directions[0]}
        by_type: dict[torch.dtype, dict[str, Tensor]] = {}
        for name, tensor in moving.items():
            by_type.setdefault(tensor.dtype, {})[name] = tensor
        self._moves = [_Move(each, directions) for each in by_type.values()]

    def __call__(self, x: float, y: float) -> Result:
        """Evaluate the point (x, y)."""
        for move in self._moves:
            move(x, y)
        if self._reestimate:
            reestimate(self._network, self._samples.batches())
        losses, errors = losses_of(self._network, self._loss, self._samples)
        return Result(
            losses.mean,
            errors.mean,
            losses.standard_error,
            tuple(group_means(losses.values, self._groups).tolist()),
            losses.group_weights(self._groups),
        )


class _Move:
    """Tensors of one type as views into one vector, so that one addition moves them all."""

    def __init__(self, moving: Mapping[str, Tensor], directions: Directions):
        x, y = directions
        self._weights = _flat(list(moving.values()))
        self._x = _flat([x[name].to(weight) for name, weight in moving.items()])
        self._y = _flat([y[name].to(weight) for name, weight in moving.items()])
        self._moved = self._weights.clone()
        _view(moving, self._moved)

    @torch.no_grad()
    def __call__(self, x: float, y: float) -> None:
        torch.add(self._weights, self._x, alpha=x, out=self._moved)
        self._moved.add_(self._y, alpha=y)


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in parts])


def _view(moving: Mapping[str, Tensor], flat: Tensor) -> None:
    start = 0
    for tensor in moving.values():
        tensor.data = flat[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()


def reestimate(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give BatchNorm the plain average over the batches of their own means and variances, in place.

    Raises:
        ExperimentError: a batch is too small to have a variance.
    """

    def collect() -> None:
        with collecting_statistics(network):
            for inputs, _ in batches:
                called(network, inputs.clone())

    try:
        without_gradients(network, collect)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ExperimentError(
            f"batch_norm is reestimated and the batches have {len(batches[0][0])} samples, expected at least"
            " two in each; change landscape.samples or landscape.batch_size"
        ) from None


def _norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def collecting_statistics(network: nn.Module) -> Iterator[None]:
    """While this is open, BatchNorm normalises by each batch's own statistics; afterwards by their plain
    average over the batches.
    """
    norms = _norms(network)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    try:
        yield
    finally:
        for norm in norms:
            norm.eval()
