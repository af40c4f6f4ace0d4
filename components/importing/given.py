"""What is handed over in Python, and its samples as batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason
from lossmap.components.importing.arguments import Output
from lossmap.components.importing.loaders import is_dataset, read

AnyLoss = str | Callable[..., Any]


@dataclass(frozen=True)
class Given:
    """What was handed over.

    Attributes:
        network: stays as it is.
        loss: cross-entropy, mse, package.module:function, or a function or module of outputs and targets, or
            a function of network and batch.
        data: a DataLoader, a Dataset, inputs as a tensor or array, or a whole batch.
        targets: of inputs; or the key of the targets in a batch that is a dict.
        test: what the network was not trained on, as data, or a pair of inputs and targets.
        output: which part of the network's answer the loss takes.
        classes: whether integer targets are classes, as in an experiment.
        not_finite: whether NaN and infinity are kept.
    """

    network: nn.Module
    loss: AnyLoss
    data: Any
    targets: Any = None
    test: Any = None
    output: Output = None
    classes: bool | None = None
    not_finite: bool = False

    @property
    def loss_name(self) -> str:
        """As an experiment has it."""
        if isinstance(self.loss, str):
            return self.loss
        return f"{IN_PROCESS} {getattr(self.loss, '__qualname__', type(self.loss).__name__)}"


@dataclass(frozen=True)
class Batches:
    """Batches of the training samples and of the test samples, of which there may be none."""

    train: Sequence[Any]
    test: Sequence[Any]

    @classmethod
    def of(cls, given: Given) -> "Batches":
        """The samples of what was handed over, read once.

        Raises:
            DataError: they cannot be read, or are random.
            ExperimentError: they are nothing that has samples.
        """
        apart = given.targets is not None and not isinstance(given.targets, str)
        train = _batches(given.data, given.targets if apart else None, "data")
        if given.test is None:
            return cls(train, ())
        if apart and isinstance(given.test, tuple | list) and len(given.test) == 2:
            inputs, targets = given.test
            return cls(train, _batches(inputs, targets, "test"))
        return cls(train, _batches(given.test, None, "test"))

    @property
    def all(self) -> list[Any]:
        """Of both."""
        return [*self.train, *self.test]


def _batches(data: Any, targets: Any, name: str) -> list[Any]:
    if targets is not None:
        return [(_inputs(data, name), as_tensor(targets, "targets" if name == "data" else "test_targets"))]
    if isinstance(data, DataLoader) or is_dataset(data):
        return read(data, name)
    if isinstance(data, Mapping | tuple | list):
        return [data]
    if isinstance(data, Tensor) or hasattr(data, "__array__"):
        return [as_tensor(data, name)]
    raise ExperimentError(
        f"{name} is {type(data).__name__}, expected a DataLoader, a Dataset, or tensors: inputs and"
        " targets, or a batch of all samples as a tuple or a dict"
    )


def _inputs(data: Any, name: str) -> Any:
    """As they are where they are several."""
    several = isinstance(data, Mapping) or (
        isinstance(data, tuple | list) and bool(data) and all(hasattr(each, "shape") for each in data)
    )
    return data if several else as_tensor(data, "inputs" if name == "data" else "test_inputs")


def as_tensor(value: Any, name: str) -> Tensor:
    """A tensor or an array as a tensor on the CPU.

    Raises:
        ExperimentError: it is none.
    """
    try:
        # torch takes a data frame for a sequence of columns
        is_frame = hasattr(value, "__array__") and not isinstance(value, Tensor | np.ndarray)
        return torch.as_tensor(np.array(value) if is_frame else value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ExperimentError(
            f"{name} is {type(value).__name__}, expected a tensor or an array: {reason(error)}"
        ) from None
