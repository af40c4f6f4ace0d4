"""Losses that users wrote: functions and modules of outputs and targets."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason
from lossmap.components.landscape.losses.arrangement import classes_second, has_classes
from lossmap.components.landscape.losses.loss import IGNORED, Loss, described, mean_of_each
from lossmap.components.landscape.losses.torch_losses import class_errors

EACH = "hand over a function of outputs and targets that returns one loss for each sample"


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnLoss(Loss):
    """A user's function, averaged over the samples. What returns one number for a whole batch is asked for
    each sample alone: `checks.check_loss` tells whether that is the same.

    Attributes:
        function: of outputs and targets; one that has a `reduction` does none.
        whole: as it was handed over.
    """

    function: Callable[..., Any]
    whole: Callable[..., Any]

    def _own_number(self, outputs: Tensor, targets: Tensor) -> float | None:
        number = _on(self.whole, outputs)(outputs, targets)
        return float(number) if isinstance(number, Tensor) and number.dim() == 0 else None

    def answers(self, targets: Tensor) -> Tensor:
        """Share of integer targets that are not -100."""
        kept = (
            torch.ones_like(targets, dtype=torch.bool) if targets.is_floating_point() else targets != IGNORED
        )
        return mean_of_each(kept.double())

    def elements(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What the function returns for each sample or target: (N, …)."""
        function = _on(self.function, outputs)
        losses = function(outputs, targets)
        if isinstance(losses, Tensor) and losses.dim() == 0:
            pairs = zip(outputs.split(1), targets.split(1), strict=True)
            losses = torch.stack([self._single(function(*pair)) for pair in pairs])
        if not isinstance(losses, Tensor):
            raise ExperimentError(
                f"the loss {self.name} returns {type(losses).__name__}, expected a tensor; {EACH}"
            )
        if losses.is_complex():
            raise ExperimentError(f"the loss {self.name} returns complex numbers, expected real ones")
        return self._checked(losses, outputs, targets)

    def _values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return mean_of_each(self.elements(outputs, targets).double())

    def _single(self, loss: Tensor) -> Tensor:
        if loss.numel() != 1:
            raise ExperimentError(
                f"the loss {self.name} returns one number for several samples and the shape"
                f" {tuple(loss.shape)} for one; {EACH}"
            )
        return loss.reshape(())

    def _checked(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        count, shape = len(targets), tuple(losses.shape)
        if losses.numel() == count and shape[:1] == (count,):
            return losses.flatten()
        known = outputs.shape, targets.shape, outputs.shape[:1] + outputs.shape[2:], outputs.shape[:-1]
        if shape[:1] != (count,) or shape not in {tuple(one) for one in known}:
            raise ExperimentError(
                f"the loss {self.name} returns the shape {shape} for {described(outputs, targets)}, expected"
                f" one loss for each of {count} samples: ({count},), or one for each target"
            )
        return losses

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Of targets that are 0 to C - 1, C the outputs' classes, or that were said to be classes."""
        if not has_classes(outputs, targets):
            return None
        outputs, targets = classes_second(outputs, targets, self.name)
        if self.classes is None and not self._count(targets) <= outputs.shape[1]:
            return None
        return class_errors(outputs, targets)

    def _count(self, targets: Tensor) -> float:
        """Classes that the targets count; infinitely many where they are none."""
        if self.class_count is not None:
            return self.class_count or float("inf")
        kept = targets[targets != IGNORED]
        none = not len(kept) or int(kept.min()) < 0
        return float("inf") if none else int(kept.max()) + 1


def own_loss(loss: Any, name: str) -> OwnLoss:
    """A user's function or module as a loss; a module is copied, in evaluation mode, with its parameters as
    constants.

    Raises:
        ExperimentError: it cannot be a function of outputs and targets.
    """
    try:
        _check_arguments(loss, name)
        whole = _still(loss) if isinstance(loss, nn.Module) else loss
        return OwnLoss(name=name, function=_without_reduction(whole), whole=whole)
    except ExperimentError:
        raise
    except Exception as error:  # whatever the user's object does
        raise ExperimentError(
            f"the loss {name} cannot be used: {reason(error)}; expected a function of outputs and targets"
        ) from None


def built(loss: Any, name: str) -> Any:
    """A class of losses, or a partial of one, called; anything else as it is.

    Raises:
        ExperimentError: it cannot be called without arguments, or has other weights every time.
    """
    kind = loss.func if isinstance(loss, partial) else loss
    if not isinstance(kind, type):
        return loss
    try:
        first, second = loss(), loss()
    except Exception as error:  # whatever the user's class does
        raise ExperimentError(
            f"the loss {name} cannot be used: {reason(error)}; expected a function of outputs and targets, or"
            " a class that is called without arguments"
        ) from None
    if isinstance(first, nn.Module) and not _alike(first, second):
        raise ExperimentError(
            f"the loss {name} has other weights every time it is made, expected the same ones; give"
            " package.module:object of a loss whose weights are loaded from a file, or hand it over in Python"
        )
    return first


def _alike(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def _still(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).eval().requires_grad_(False)


def _without_reduction(loss: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(loss, nn.Module):
        if not isinstance(getattr(loss, "reduction", None), str):
            return loss
        each: Any = copy.copy(loss)
        each.reduction = "none"
        return each  # type: ignore[no-any-return]
    try:
        takes = "reduction" in inspect.signature(loss).parameters
    except ValueError:  # written in C, without a signature
        return loss
    return partial(loss, reduction="none") if takes else loss


def _check_arguments(loss: Any, name: str) -> None:
    """Whether it is called with two arguments."""
    try:
        signature = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
    except ValueError:  # written in C, without a signature
        return
    try:
        signature.bind(None, None)
    except TypeError:
        takes = ", ".join(signature.parameters) or "nothing"
        raise ExperimentError(
            f"the loss {name} takes {takes}, expected a function of outputs and targets; write one of these"
            " two that calls it"
        ) from None


def _on(function: Callable[..., Any], outputs: Tensor) -> Callable[..., Any]:
    """The function where the outputs are."""
    return function.to(outputs.device) if isinstance(function, nn.Module) else function
