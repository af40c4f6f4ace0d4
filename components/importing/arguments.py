"""Networks that are called with several inputs or keywords, or that answer with more than one tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.core.imports import reason
from lossmap.components.importing.rows import Part, Rows, in_order
from lossmap.components.landscape.calls import Call
from lossmap.components.landscape.objective import like_parameters

_LOGITS = "logits"
Output = str | int | None  # by which key or at which place of the answer the outputs are; None: by itself


@dataclass(frozen=True, eq=False)
class ArgumentsCall(Call):
    """Calls a network with its arguments, and takes the outputs out of its answer.

    Attributes:
        rows: how the arguments are packed; None for one tensor, which is packed as it is.
        output: where the outputs are.
    """

    rows: Rows | None
    output: Output = None

    @property
    def whole_batches(self) -> bool:
        """Where samples have one shape."""
        return self.rows is None or not self.rows.ragged

    def __call__(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """N x …, in the order of the inputs."""
        if self.rows is None:
            return outputs_of(network(inputs), self.output, network)
        parts = list(self.rows.parts(inputs, lambda tensor: like_parameters(tensor, network)))
        answers = [self._outputs(self.rows, network, part) for part in parts]
        if len(parts) == 1:
            return answers[0]
        whole = [
            each if each.shape[:1] == part.places.shape else each[None]
            for part, each in zip(parts, answers, strict=True)
        ]
        return in_order(parts, whole)

    def _outputs(self, rows: Rows, network: nn.Module, part: Part) -> Tensor:
        try:
            return outputs_of(answer(network, part.batch), self.output, network)
        except (LossmapError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever the user's network does
            pairs = zip(rows.fields, part.tensors, strict=True)
            shapes = ", ".join(f"{field.name} {tuple(tensor.shape)}" for field, tensor in pairs)
            raise ExperimentError(
                f"the network {type(network).__name__} fails on {shapes}: {reason(error)}"
            ) from None


def answer(network: nn.Module, arguments: Any) -> Any:
    """What a network answers: a dict are its keywords, a tuple or list its arguments, anything else is its
    one argument.
    """
    if isinstance(arguments, Mapping):
        return network(**arguments)
    return network(*arguments) if isinstance(arguments, tuple | list) else network(arguments)


def outputs_of(found: Any, output: Output, network: nn.Module) -> Tensor:
    """The one tensor of an answer that the loss takes: the one that `output` names, `logits`, or the only
    one there is.

    Raises:
        ExperimentError: there is no such tensor, or several and nothing says which.
    """
    if isinstance(found, Tensor) and output is None:
        return found
    parts = _parts(found)
    tensors = {key: value for key, value in parts.items() if isinstance(value, Tensor)}
    chosen = output if output is not None else _only(tensors)
    if chosen in tensors:
        return tensors[chosen]
    listed = ", ".join(map(repr, tensors)) or "none"
    example = f"output={next(iter(tensors))!r}" if tensors else "a network that returns one"
    raise ExperimentError(
        f"the network {type(network).__name__} returns {type(found).__name__} with the tensors {listed},"
        f" expected {'one' if output is None else f'{output!r} among them'}; say which the loss takes, for"
        f" example {example}, or hand over a loss of the network and a batch"
    )


def _parts(found: Any) -> dict[Any, Any]:
    if isinstance(found, Mapping):
        return dict(found)
    if isinstance(found, tuple | list):
        names = getattr(found, "_fields", range(len(found)))
        return dict(zip(names, found, strict=True))
    return dict(vars(found)) if hasattr(found, "__dict__") and not isinstance(found, Tensor) else {}


def _only(tensors: Mapping[Any, Tensor]) -> Any:
    if _LOGITS in tensors:
        return _LOGITS
    return next(iter(tensors)) if len(tensors) == 1 else None
