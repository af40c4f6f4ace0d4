"""Losses of a network and a batch, such as lambda network, batch: network(**batch).loss."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lossmap.components.core.copies import copied
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason
from lossmap.components.importing.averages import Weight
from lossmap.components.importing.batches import put_together
from lossmap.components.importing.rows import Part, Rows, in_order
from lossmap.components.landscape.calls import Call
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.losses.loss import Loss, described
from lossmap.components.landscape.objective import floating_type
from lossmap.components.landscape.outputs import are_close

PAIR = (
    "let it return a pair of tensors, the values v and the weights w of each sample: (N,) and (N,); the"
    " loss is then sum v / sum w"
)
BatchFunction = Callable[[nn.Module, Any], Any]
_ALIKE = 1e-5  # of weights in float32
_TOGETHER = 16  # samples that are asked at once, where the mean over them is checked


@dataclass(frozen=True, eq=False)
class BatchCall(Call):
    """Has a network's loss computed for each sample of some rows: N x 2, what it adds to the loss (v) and how
    much it counts (w).

    Attributes:
        rows: how batches are packed.
        function: of network and batch.
        name: of the loss, for messages.
        dtype: of the network as it was handed over: tensors of this type go along where its type changes.
        weight: how much a sample counts where the function averages over the batch by itself, each sample
            being asked alone; None where the function says it.
        mapped: whether those that are asked alone are so in one go, by torch.func.vmap.
    """

    rows: Rows
    function: BatchFunction
    name: str
    dtype: torch.dtype | None
    weight: Weight | None = None
    mapped: bool = False

    @property
    def whole_batches(self) -> bool:
        """Where samples have one shape, and none is asked alone."""
        return self.weight is None and not self.rows.ragged

    def __call__(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """N x 2, in the order of the inputs."""
        parts = list(self.parts(network, inputs))
        return in_order(parts, [self._pairs(network, part) for part in parts])

    def parts(self, network: nn.Module, inputs: Tensor) -> list[Part]:
        """The samples as batches of equal shapes, in the network's type."""
        kind = floating_type(network)
        return list(
            self.rows.parts(
                inputs, lambda tensor: tensor.to(kind) if tensor.dtype == self.dtype and kind else tensor
            )
        )

    def number(self, network: nn.Module, batch: Any) -> Tensor | tuple[Tensor, Tensor]:
        """What the function returns: one number for a batch, or values and weights of its samples.

        Raises:
            ExperimentError: it fails, or returns something else.
        """
        try:
            found = self.function(network, batch)
        except (ExperimentError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever the user's function does
            raise ExperimentError(
                f"the loss {self.name} fails on the network {type(network).__name__} and a batch:"
                f" {reason(error)}"
            ) from None
        return result(found, self.name)

    def check_average(self, network: nn.Module, inputs: Tensor, pairs: Tensor) -> None:
        """Whether what the function gives for a few samples at once is the mean of what it gave for each
        alone, to half of the digits of the largest: those that weigh otherwise may be rare.

        Args:
            network: in evaluation mode.
            inputs: rows of samples.
            pairs: what a call made of them, N x 2.

        Raises:
            ExperimentError: it is not.
        """
        if self.weight is None:
            return
        for part in self.parts(network, inputs):
            size = len(part.places)
            step = -(-size // _TOGETHER)
            for first in range(step):
                few = self.rows.some(part, list(range(first, size, step)))
                self._check_few(network, few, pairs)

    def _check_few(self, network: nn.Module, part: Part, pairs: Tensor) -> None:
        values, weights = pairs[part.places].double().unbind(1)
        if len(values) == 1 or not weights.any():
            return
        every = list(range(len(values)))
        found = without_gradients(network, lambda: self.one_number(network, part, every))
        number = float(found.detach())
        mean = float(values.sum() / weights.sum())
        largest = float((values / weights).nan_to_num(0, 0, 0).abs().max())
        tolerance = torch.finfo(pairs.dtype).eps ** 0.5 * largest
        if abs(number - mean) > tolerance and number != mean:
            raise ExperimentError(
                f"the loss {self.name} gives {number:.6g} for {len(values)} samples at once, and the mean of"
                f" its numbers for each alone is {mean:.6g}: it weighs some samples in another way, or a"
                f" sample's loss depends on the others in its batch; {PAIR}"
            )

    def _pairs(self, network: nn.Module, part: Part) -> Tensor:
        if self.weight is None:
            found = self.number(network, part.batch)
            if isinstance(found, Tensor) or found[0].shape != part.places.shape:
                raise ExperimentError(
                    f"the loss {self.name} returns one number for some batches and more for others, expected"
                    f" one for each of {len(part.places)} samples; {PAIR}"
                )
            return torch.stack([found[0], found[1].to(found[0])], dim=1)
        weights = self.weight.of(part.tensors)
        kept = weights.nonzero().flatten()
        if not len(kept):
            return weights.new_zeros(len(weights), 2)
        alone = self._mapped if self.mapped else self._one_by_one
        values = alone(network, self.rows.some(part, kept.tolist()))
        own = values.new_zeros(len(weights))
        own[kept] = values
        weights = weights.to(own)
        return torch.stack([own * weights, weights], dim=1)

    def _one_by_one(self, network: nn.Module, part: Part) -> Tensor:
        """The function's number for each sample of a part."""
        return torch.stack([self.one_number(network, part, [place]) for place in range(len(part.places))])

    def _mapped(self, network: nn.Module, part: Part) -> Tensor:
        """The same by one call of it, in which every operation does all samples."""

        def number(*tensors: Tensor) -> Any:
            one = put_together(self.rows.structure, [tensor[None] for tensor in tensors])
            return self.number(network, one)

        found: Tensor = torch.func.vmap(number)(*part.tensors)
        return found

    def one_number(self, network: nn.Module, part: Part, chosen: list[int]) -> Tensor:
        """The function's number for some samples of a part."""
        found = self.number(network, self.rows.some(part, chosen).batch)
        if not isinstance(found, Tensor):
            raise ExperimentError(
                f"the loss {self.name} returns one number for some batches and more for others, expected one"
                f" number for all; {PAIR}"
            )
        return found


def can_be_mapped(call: BatchCall, network: nn.Module, rows: Tensor) -> bool:
    """Whether torch.func.vmap gives what a function that averages by itself gives for samples alone, without
    a word: it cannot follow branches by values, operations that it does not know are slow in it, and of what
    a network keeps of a call nothing can be copied then.

    Args:
        call: with a weight.
        network: in evaluation mode; it stays as it is.
        rows: some samples, on which it is seen.
    """
    mapped, tried = replace(call, mapped=True), copied(network)
    try:
        with warnings.catch_warnings(action="error"):
            found = without_gradients(tried, lambda: mapped(tried, rows))
        copied(tried)
        return are_close(found, without_gradients(network, lambda: call(network, rows)), _ALIKE)
    except Exception:  # whatever a user's function does in it
        return False


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchLoss(Loss):
    """f = sum v_n / sum w_n of what a BatchCall makes of the samples. Their targets are the w_n."""

    def _own_number(self, outputs: Tensor, targets: Tensor) -> float | None:
        return None  # the function has been asked where it was handed over

    def _values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.dim() != 2 or outputs.shape[1] != 2:
            raise ExperimentError(f"the loss {self.name} has {described(outputs, targets)}, expected pairs")
        found = outputs[:, 1].detach().double()
        if not torch.allclose(found, targets.double(), rtol=_ALIKE, atol=0):
            raise ExperimentError(
                f"the weights of samples in the loss {self.name} change with the network's weights or from"
                " call to call, expected that they follow from the samples alone"
            )
        return outputs[:, 0].double()

    def _weights(self, targets: Tensor) -> Tensor:
        return targets.double()


def result(found: Any, name: str) -> Tensor | tuple[Tensor, Tensor]:
    """What a function of network and batch returned: one number (0 dimensions), or values and weights (N,);
    of a dict or another answer of a network its `loss`.

    Raises:
        ExperimentError: it is nothing of that.
    """
    if isinstance(found, Mapping):
        found = found.get("loss")
    elif not isinstance(found, Tensor | tuple | list):
        found = getattr(found, "loss", found)
    if isinstance(found, Tensor) and found.dim() <= 1 and not found.is_complex():
        return (found, torch.ones_like(found)) if found.dim() else found
    if isinstance(found, tuple | list) and len(found) == 2:
        values, weights = found
        pair = isinstance(values, Tensor) and isinstance(weights, Tensor) and values.dim() == 1
        if pair and values.shape == weights.shape:
            return values, weights.detach()
    what = f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    raise ExperimentError(
        f"the loss {name} of network and batch returns {what}, expected one number, or one for each"
        f" sample; or {PAIR}"
    )
