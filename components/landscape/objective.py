"""What is surveyed: the mean of a loss over samples that stay in memory."""

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import python_object, reason
from lossmap.components.core.randomness import stream

Loss = Callable[[Tensor, Tensor], Tensor]  # outputs and targets of a batch to one loss for each sample (N,)

_GROUPS = 100


@dataclass(frozen=True)
class Samples:
    """Inputs and targets. The first dimension of both is the sample.

    Attributes:
        inputs: as the network wants them: N x …
        targets: as the loss wants them: N x …; integers are classes.
        batch_size: samples that go through the network at a time.
    """

    inputs: Tensor
    targets: Tensor
    batch_size: int

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The samples in order, batch by batch."""
        return list(zip(self.inputs.split(self.batch_size), self.targets.split(self.batch_size), strict=True))

    def groups(self) -> Tensor:
        """The group of each sample, int64 (N,): min(N, 100) groups of nearly equal size, drawn at random,
        always the same ones.

        Means over groups tell the error of whatever is computed from the losses, without keeping every
        sample's loss at every point.
        """
        count = len(self)
        return torch.from_numpy(stream("groups", count).permutation(count) % min(count, _GROUPS))


@dataclass(frozen=True)
class Problem:
    """f(w) = (1/N) sum of loss(network(w, x_n), t_n) over the samples, and where w is.

    Attributes:
        network: in evaluation mode; its parameters are the w around which one looks.
        loss: one value for each sample of a batch.
        samples: what it is averaged over.
    """

    network: nn.Module
    loss: Loss
    samples: Samples


def like_parameters(inputs: Tensor, network: nn.Module) -> Tensor:
    """Inputs in the type of the network's parameters, so that a table in float64 meets a network in
    float32; integers stay as they are.
    """
    kind = next(
        (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()), inputs.dtype
    )
    return inputs.to(kind) if inputs.is_floating_point() else inputs


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-ln of the softmax probability of the right class, in nats, float64: (N,).

    Outputs are N x C, or N x … x C or N x C x … where each sample has several targets, N x …; a sample's loss
    is then their mean.
    """
    losses = F.cross_entropy(_classes_second(outputs, targets).double(), targets, reduction="none")
    return losses.flatten(1).mean(dim=1) if losses.dim() > 1 else losses


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over a sample's numbers of (output - target)^2, float64: (N,)."""
    squares: Tensor = (outputs.double() - targets.double().reshape(outputs.shape)) ** 2
    return squares.flatten(1).mean(dim=1) if squares.dim() > 1 else squares


def wrong(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Share of each sample's targets whose class does not have the greatest output, float64 (N,).

    None where targets are no classes: where they are no integers, or there are as many outputs as targets.
    """
    if targets.is_floating_point() or outputs.dim() < 2 or outputs.numel() <= targets.numel():
        return None
    missed = (_classes_second(outputs, targets).argmax(dim=1) != targets).double()
    return missed.flatten(1).mean(dim=1) if missed.dim() > 1 else missed


def _classes_second(outputs: Tensor, targets: Tensor) -> Tensor:
    last = outputs.dim() > 2 and outputs.shape[:-1] == targets.shape
    return outputs.movedim(-1, 1) if last else outputs


def losses_and_errors(
    network: nn.Module, loss: Loss, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Loss and error of each sample of the batches, on the CPU, float64 (N,); the error is NaN where there
    are no classes.
    """
    losses, errors = [], []
    for inputs, targets in batches:
        outputs = network(inputs)
        losses.append(loss(outputs, targets))
        missed = wrong(outputs, targets)
        errors.append(torch.full_like(losses[-1], torch.nan) if missed is None else missed)
    return torch.cat(losses).cpu(), torch.cat(errors).cpu()


def standard_error(values: Tensor) -> float:
    """s / sqrt(n), s the standard deviation of the n values; NaN of a single one."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def group_means(values: Tensor, groups: Tensor) -> Tensor:
    """The mean of the values (N,) of each group (G,), for `groups` as of Samples.groups."""
    sizes = groups.bincount()
    return torch.zeros(len(sizes), dtype=values.dtype).index_add_(0, groups, values) / sizes


def named_loss(name: str) -> Loss:
    """The loss cross-entropy, mse, package.module:function, or one that was handed over in this process.

    A class is called without arguments, and whatever takes a `reduction` is told to do none.

    Raises:
        ExperimentError: there is no such loss.
    """
    if name in _LOSSES:
        return _LOSSES[name]
    try:
        if ":" not in name:
            raise ExperimentError("it has no colon")
        function = python_object(name)
    except ExperimentError as error:
        raise ExperimentError(
            f"there is no loss {name!r} ({error}), expected cross-entropy, mse, or package.module:function"
        ) from None
    return checked_loss(function, name)


@contextmanager
def loss_registration(name: str, loss: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """While this is open, this process knows a loss of the user's by its name."""
    _LOSSES[name] = checked_loss(loss, name)
    try:
        yield
    finally:
        del _LOSSES[name]


def checked_loss(loss: Callable[..., Tensor], name: str) -> Loss:
    """A user's loss that is refused as soon as it fails or does not return one loss for each sample."""
    each = _for_each_sample(loss, name)

    def check(outputs: Tensor, targets: Tensor) -> Tensor:
        try:
            losses = each(outputs, targets)
        except Exception as error:  # whatever the user's function does
            shapes = (
                f"outputs of the shape {tuple(outputs.shape)} and targets of the shape {tuple(targets.shape)}"
            )
            raise ExperimentError(f"the loss {name} fails on {shapes}: {reason(error)}") from None
        if losses.shape[:1] != targets.shape[:1]:
            raise ExperimentError(
                f"the loss {name} returns the shape {tuple(losses.shape)}, expected one loss for each of"
                f" {len(targets)} samples"
            )
        return losses.double().flatten(1).mean(dim=1) if losses.dim() > 1 else losses.double()

    return check


def _for_each_sample(loss: Callable[..., Tensor], name: str) -> Loss:
    try:
        loss = loss() if isinstance(loss, type) else loss
        if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
            own: Any = copy.copy(loss)
            own.reduction = "none"
            return own  # type: ignore[no-any-return]
        if not isinstance(loss, nn.Module) and "reduction" in inspect.signature(loss).parameters:
            loss = partial(loss, reduction="none")
    except (TypeError, ValueError) as error:
        raise ExperimentError(
            f"the loss {name} cannot be used: {reason(error)}; expected a function of outputs and targets"
        ) from None
    return loss


_LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "mse": mean_squared_error}
