"""What is handed over as the tensors that a run packs, and how its network is called with them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.core.errors import DataError
from lossmap.components.core.notes import tell
from lossmap.components.data.tensors import check_finite
from lossmap.components.importing.arguments import ArgumentsCall, answer, outputs_of
from lossmap.components.importing.averages import own_weight
from lossmap.components.importing.batch_losses import PAIR, BatchCall, can_be_mapped, result
from lossmap.components.importing.batches import taken_apart
from lossmap.components.importing.given import Batches, Given, as_tensor
from lossmap.components.importing.rows import rows_of
from lossmap.components.landscape.calls import Call
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.losses.loss import Loss
from lossmap.components.landscape.objective import floating_type, like_parameters, named_loss, users_loss

_FEW = 8  # samples on which network and loss are tried
_APART = 1e-3  # of two numbers that are no rounding of one
_ROWS = 256  # samples whose weights are computed at a time
_TARGETS = ("labels", "label", "targets", "target", "y")  # keys of a batch that is a dict
_NETWORK_NAMES = {"network", "net", "model", "module"}
_OUTPUT_NAMES = {"output", "outputs", "logits", "prediction", "predictions", "pred", "preds", "input"}
Tensors = dict[str, Tensor]  # inputs, targets, and perhaps test_inputs and test_targets


def tensors_and_call(given: Given, own: nn.Module, batches: Batches) -> tuple[Tensors, Call | None]:
    """The samples by name, and how the network is called with some; None: with the inputs as they are.

    Args:
        given: what was handed over.
        own: a copy of the network, in evaluation mode.
        batches: its samples.

    Raises:
        DataError: the samples cannot be read, or do not fit together.
        ExperimentError: the loss is no mean over them, or nobody can see which.
    """
    return _Meeting(given, own, batches).met()


@dataclass(frozen=True)
class _Meeting:
    """How network and loss meet the batches."""

    given: Given
    own: nn.Module
    batches: Batches

    def met(self) -> tuple[Tensors, Call | None]:
        """As tensors_and_call."""
        if callable(self.given.loss) and self._of_batches(self.given.loss):
            return self._by_batches(self.given.loss)
        pairs = [self._divided(batch) for batch in self.batches.all]
        whole = self._takes_the_whole_answer(pairs[0])
        return self._by_batches(whole) if whole else self._by_arguments(pairs)

    def _by_arguments(self, pairs: Sequence[tuple[Any, Tensor]]) -> tuple[Tensors, Call | None]:
        inputs, targets = [each for each, _ in pairs], [target for _, target in pairs]
        if len({tuple(target.shape[1:]) for target in targets}) > 1:
            shapes = sorted({str(tuple(target.shape[1:])) for target in targets})
            raise DataError(
                f"targets of samples have the shapes {', '.join(shapes[:3])}, expected one; pad them"
                f" alike, or hand over a loss of the network and a batch, and {PAIR}; a list of batches is"
                " handed over as DataLoader(batches, batch_size=None)"
            )
        self._check_counts(pairs)
        plain = (
            all(isinstance(each, Tensor) for each in inputs) and len({each.shape[1:] for each in inputs}) == 1
        )
        rows = None if plain else rows_of(inputs)
        if rows is not None:
            self._check_finite(inputs)
        tensors = self._named(torch.cat(inputs) if rows is None else rows.packed(inputs), torch.cat(targets))
        self._tell_of_another_loss()
        call = ArgumentsCall(rows, self.given.output)
        needed = rows is not None or self.given.output is not None
        return tensors, call if needed or not self._answers_a_tensor(tensors["inputs"][:2]) else None

    def _tell_of_another_loss(self) -> None:
        """Say where the network has a loss of its own for such a batch, which is another: a language model's
        labels, for instance, are those of the next token.
        """
        batch = self.batches.train[0]
        if not isinstance(batch, Mapping):
            return
        try:
            few = self._few(batch)
            own = self._number(lambda: result(answer(self.own, few), ""))
            inputs, targets = self._divided(few)
            loss = _loss(self.given).over(targets)
            other = self._number(
                lambda: loss(
                    outputs_of(answer(self.own, inputs), self.given.output, self.own), targets
                ).mean()
            )
        except Exception:  # it has none, or fails, which is told where it is asked again
            return
        if abs(own - other) > _APART * max(abs(own), abs(other)):
            tell(
                f"the network's own loss of {len(targets)} samples is {own:.4g}, and"
                f" {self.given.loss_name} of its"
                f" outputs and their targets is {other:.4g}; to survey its own, hand over"
                " lambda network, batch: network(**batch).loss"
            )

    def _number(self, compute: Callable[[], Any]) -> float:
        return float(without_gradients(self.own, compute).detach())

    def _by_batches(self, function: Callable[..., Any]) -> tuple[Tensors, Call]:
        rows = rows_of(self.batches.all)
        self._check_finite(self.batches.all)
        call = BatchCall(rows, function, self.given.loss_name, floating_type(self.own))
        every = rows.packed(self.batches.all)
        if self._returns_one_number(call, every):
            call = replace(call, weight=own_weight(call, self.own, every, PAIR))
            few = torch.cat([kind[:_FEW] for kind in call.rows.alike(every)[:_FEW]])
            call = replace(call, mapped=can_be_mapped(call, self.own, every[few]))
        weights = torch.cat([self._weights(call, some) for some in every.split(_ROWS)])
        return self._named(every, weights), call

    def _named(self, inputs: Tensor, targets: Tensor) -> Tensors:
        """Those of all samples by their splits."""
        count = sum(map(_count, self.batches.train))
        tensors = {"inputs": inputs[:count], "targets": targets[:count]}
        if self.batches.test:
            tensors |= {"test_inputs": inputs[count:], "test_targets": targets[count:]}
        return tensors

    def _returns_one_number(self, call: BatchCall, rows: Tensor) -> bool:
        kind = max(call.rows.alike(rows), key=len)[:_FEW]
        [part] = call.parts(self.own, rows[kind])
        return isinstance(without_gradients(self.own, lambda: call.number(self.own, part.batch)), Tensor)

    def _weights(self, call: BatchCall, rows: Tensor) -> Tensor:
        if call.weight:
            parts = list(call.rows.parts(rows))
            found = torch.cat([call.weight.of(part.tensors) for part in parts])
            return found[torch.cat([part.places for part in parts]).argsort()]
        return without_gradients(self.own, lambda: call(self.own, rows)).detach()[:, 1].double()

    def _of_batches(self, loss: Callable[..., Any]) -> bool:
        """Whether the loss is a function of network and batch, by the names of its arguments, or else by
        trying it.
        """
        if isinstance(loss, nn.Module | type):
            return False
        first, second = _argument_names(loss)
        if first in _NETWORK_NAMES or second == "batch":
            return True
        if first in _OUTPUT_NAMES:
            return False
        return self._works(lambda: loss(self.own, self._few(self.batches.train[0])))

    def _takes_the_whole_answer(self, pair: tuple[Any, Tensor]) -> Callable[..., Any] | None:
        """A function of network and batch, where the loss takes the network's answer as it is, which is no
        tensor.
        """
        loss = self.given.loss
        if isinstance(loss, str | nn.Module | type) or self.given.output is not None:
            return None
        if not self._works(lambda: not isinstance(self._answer(pair), Tensor), true=True):
            return None

        def whole(network: nn.Module, batch: Any) -> Any:
            inputs, targets = self._divided(batch)
            return loss(answer(network, inputs), targets)

        return whole if self._works(lambda: whole(self.own, self._few(self.batches.train[0]))) else None

    def _answer(self, pair: tuple[Any, Tensor]) -> Any:
        return answer(self.own, self._few(pair[0]))

    def _works(self, compute: Callable[[], Any], true: bool = False) -> bool:
        try:
            found = without_gradients(self.own, compute)
        except Exception:  # whatever the user's function does; it is told where it is asked again
            return False
        return bool(found) if true else found is not None

    def _answers_a_tensor(self, inputs: Tensor) -> bool:
        """Whether the network's answer is a tensor, or fails, which is told where it is asked again."""
        try:
            found = without_gradients(self.own, lambda: self.own(like_parameters(inputs.clone(), self.own)))
        except Exception:
            return True
        if not isinstance(found, Tensor):
            outputs_of(found, None, self.own)
        return isinstance(found, Tensor)

    def _few(self, batch: Any) -> Any:
        """The first samples of a batch, in a copy."""
        rows = rows_of([batch])
        some = rows.packed([batch])[:_FEW]
        return next(rows.parts(some, lambda tensor: like_parameters(tensor, self.own))).batch

    def _divided(self, batch: Any) -> tuple[Any, Tensor]:
        """Inputs and targets of a batch."""
        if isinstance(batch, Mapping):
            key = self._key(batch)
            known = {name: value for name, value in batch.items() if name != key}
            return self._argument(known), _target(batch[key], repr(key))
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise DataError(
                f"a batch is {type(batch).__name__}, expected inputs and targets: a tuple whose last part"
                " are the targets, or a dict; or hand over a loss of the network and a batch"
            )
        *inputs, targets = batch
        single = inputs[0] if len(inputs) == 1 else tuple(inputs)
        return _array_as_tensor(single), _target(targets, "the last part of a batch")

    def _argument(self, inputs: Mapping[Any, Any]) -> Any:
        """Keywords of the network; a single one that it does not know is its one argument."""
        names = list(inputs)
        if len(names) != 1 or _takes(self.own.forward, names[0]):
            return inputs
        return _array_as_tensor(inputs[names[0]])

    def _key(self, batch: Mapping[Any, Any]) -> Any:
        asked = self.given.targets
        names = [asked] if isinstance(asked, str) else [name for name in _TARGETS if name in batch]
        if len(names) != 1 or names[0] not in batch:
            raise DataError(
                f"a batch has {', '.join(map(repr, batch))}, expected one key of the targets"
                f"{f', {asked!r}' if isinstance(asked, str) else ''}; name it, for example"
                " targets='labels', or hand over a loss of the network and a batch"
            )
        return names[0]

    def _check_counts(self, pairs: Sequence[tuple[Any, Tensor]]) -> None:
        for inputs, targets in pairs:
            for name, tensor in taken_apart(inputs, "inputs")[1].items():
                if tensor.shape[:1] != targets.shape[:1]:
                    raise DataError(
                        f"{name} {tuple(tensor.shape)} and targets {tuple(targets.shape)}, expected as"
                        " many targets as inputs: the first dimension of both is the sample"
                    )

    def _check_finite(self, batches: Sequence[Any]) -> None:
        if self.given.not_finite:
            return
        for batch in batches:
            for name, tensor in taken_apart(batch)[1].items():
                check_finite(tensor, name, IN_PROCESS)


def _loss(given: Given) -> Loss:
    return named_loss(given.loss) if isinstance(given.loss, str) else users_loss(given.loss, given.loss_name)


def _count(batch: Any) -> int:
    """Of the samples of a batch."""
    return len(next(iter(taken_apart(batch)[1].values())))


def _target(value: Any, name: str) -> Tensor:
    _, tensors = taken_apart(value, name)
    if list(tensors) != [name]:
        raise DataError(
            f"targets are {type(value).__name__} ({name}), expected one tensor; hand over a loss of the"
            f" network and a batch, and {PAIR}"
        )
    return tensors[name]


def _array_as_tensor(value: Any) -> Any:
    """Anything else as it is."""
    is_array = hasattr(value, "__array__") and not isinstance(value, Tensor)
    return as_tensor(value, "inputs") if is_array else value


def _takes(function: Callable[..., Any], name: Any) -> bool:
    """Whether a function has an argument of that name, or nobody can tell."""
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of TorchScript
        return True
    return name in known or any(each.kind is each.VAR_KEYWORD for each in known.values())


def _argument_names(loss: Callable[..., Any]) -> tuple[str, str]:
    try:
        names = [*inspect.signature(loss).parameters, "", ""]
    except (TypeError, ValueError):  # written in C
        return "", ""
    return names[0], names[1]
