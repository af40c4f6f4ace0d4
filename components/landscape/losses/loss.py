"""What a loss is: a ratio of two sums over samples, as torch's reduction `mean` is one."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
from torch import Tensor

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason

T = TypeVar("T")

IGNORED = -100  # the target that torch's losses of classes pass over, unless they are told another


@dataclass(frozen=True, eq=False, kw_only=True)
class Loss(ABC):
    """f = sum of v_n / sum of w_n over the samples, v_n what sample n adds to the loss, w_n how much it
    counts; without weights of classes and without ignored targets w_n = 1, and f is the mean of the v_n.

    The w_n follow from the targets alone. A loss that is `over` samples has the scale N / sum of w_n: f and
    its derivatives are then plain means over these N samples of scale * v_n, which is what a call gives.

    Attributes:
        name: as an experiment has it.
        classes: whether integer targets are classes; None: where loss, outputs and targets say so.
        class_count: classes that the data set's targets count, 0 where they are none; None: unknown.
        scale: factor on v_n and w_n.
    """

    name: str
    classes: bool | None = None
    class_count: int | None = None
    scale: float = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """scale * v_n of each sample of a batch: (N,), float64.

        Raises:
            ExperimentError: outputs and targets do not fit together, or the loss fails.
        """
        values = self._explained(self._values, outputs, targets)
        return values if self.scale == 1 else self.scale * values

    def weights(self, targets: Tensor) -> Tensor:
        """scale * w_n of each sample: (N,), float64."""
        return self.scale * self._weights(targets)

    def over(self, targets: Tensor) -> Self:
        """The same loss whose plain mean over the samples with these targets is f.

        Raises:
            ExperimentError: none of them counts.
        """
        total = float(self._weights(targets).sum())
        if not total > 0:
            raise ExperimentError(
                f"the weights of all {len(targets)} samples add up to {total:g} in the loss {self.name},"
                f" expected more than 0: targets that count, and are not ignored (as {IGNORED} is)"
            )
        return replace(self, scale=len(targets) / total)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Wrong answers as a share of each sample's targets, ignored ones being right: (N,), float64. None
        where outputs and targets are no classes or labels. What they are to be divided by: `answers`.

        Raises:
            ExperimentError: they were said to be classes and are none.
        """
        missed = None if self.classes is False else self._errors(outputs, targets)
        if missed is None and self.classes:
            raise ExperimentError(
                f"model.classes is true and the loss {self.name} has {described(outputs, targets)}, expected"
                " integer targets and outputs with an axis of classes; set model.classes=null"
            )
        return missed

    def own_number(self, outputs: Tensor, targets: Tensor) -> float | None:
        """What the loss itself, as it was handed over, makes of a whole batch; None where that is no
        number.

        Raises:
            ExperimentError: it fails.
        """
        return self._explained(self._own_number, outputs, targets)

    def answers(self, targets: Tensor) -> Tensor:
        """Share of each sample's targets that are not ignored: (N,), float64."""
        return torch.ones(len(targets), dtype=torch.float64, device=targets.device)

    def targets_per_sample(self, outputs: Tensor, targets: Tensor) -> float:
        """Targets with a probability of their own, over which a sample's loss is a mean; 1 where the loss is
        no likelihood.
        """
        return 1.0

    def is_likelihood(self, targets: Tensor) -> bool:
        """Whether v_n is minus the logarithm of a probability of labels whose second derivatives to the
        outputs do not depend on the labels, over the number of targets.
        """
        return False

    @abstractmethod
    def _own_number(self, outputs: Tensor, targets: Tensor) -> float | None:
        """As own_number."""

    @abstractmethod
    def _values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """v_n."""

    def _weights(self, targets: Tensor) -> Tensor:
        """w_n."""
        return torch.ones(len(targets), dtype=torch.float64, device=targets.device)

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        return None

    def _hint(self, outputs: Tensor, targets: Tensor) -> str:
        """What may help where the loss fails."""
        return "" if targets.is_floating_point() else "; save integer targets that are no classes as float32"

    def _explained(self, compute: Callable[[Tensor, Tensor], T], outputs: Tensor, targets: Tensor) -> T:
        try:
            return compute(outputs, targets)
        except (ExperimentError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a loss does
            raise ExperimentError(
                f"the loss {self.name} fails on {described(outputs, targets)}: {reason(error)}"
                f"{self._hint(outputs, targets)}"
            ) from None


def described(outputs: Tensor, targets: Tensor) -> str:
    """Shapes and types of both, for messages."""
    return f"outputs of {shape_and_type(outputs)} and targets of {shape_and_type(targets)}"


def shape_and_type(tensor: Tensor) -> str:
    """Of a tensor, for messages."""
    return f"the shape {tuple(tensor.shape)}, {str(tensor.dtype).removeprefix('torch.')}"


def mean_of_each(values: Tensor) -> Tensor:
    """The mean over each sample's numbers: (N, …) to (N,)."""
    return values.flatten(1).mean(dim=1) if values.dim() > 1 else values


def sum_of_each(values: Tensor) -> Tensor:
    """The sum over each sample's numbers: (N, …) to (N,)."""
    return values.flatten(1).sum(dim=1) if values.dim() > 1 else values
