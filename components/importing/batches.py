"""Batches as people have them: tensors in tuples, lists, dicts, dataclasses, whatever is made of these."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossmap.components.core.errors import DataError

_SIMPLE = (bool, int, float, type(None))


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in a batch."""


@dataclass(frozen=True)
class Constant:
    """What is the same in every batch, such as None or a flag."""

    value: Any


@dataclass(frozen=True)
class Node:
    """A container of further ones.

    Attributes:
        kind: its class.
        keys: of a mapping, or the names of a dataclass's fields; empty for a sequence.
        children: what it holds, in order.
    """

    kind: type
    keys: tuple[Any, ...]
    children: tuple["Structure", ...]


Structure = Place | Constant | Node


def taken_apart(batch: Any, name: str = "batch") -> tuple[Structure, dict[str, Tensor]]:
    """The structure of a batch, and its tensors by their places, in order, such as `batch['labels']`.

    Raises:
        DataError: it holds something else.
    """
    tensors: dict[str, Tensor] = {}
    return _taken_apart(batch, name, tensors), tensors


def put_together(structure: Structure, tensors: Sequence[Tensor]) -> Any:
    """The batch of that structure with these tensors."""
    return _put_together(structure, iter(tensors))


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Structure:
    if isinstance(value, Tensor | np.ndarray | np.generic) or _is_numbers(value):
        tensors[name] = _tensor(value, name)
        return Place()
    if isinstance(value, _SIMPLE):
        return Constant(value)
    parts = _parts(value)
    if parts is None:
        raise DataError(
            f"{name} is {type(value).__name__}, expected tensors, in tuples, lists, dicts or dataclasses"
            " perhaps; let the Dataset or its collate_fn make tensors of it"
        )
    keyed = not isinstance(value, Sequence)
    children = [_taken_apart(part, _path(name, key, value), tensors) for key, part in parts]
    return Node(type(value), tuple(key for key, _ in parts) if keyed else (), tuple(children))


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """What a container holds, by keys; None of what is no container."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _path(name: str, key: Any, container: Any) -> str:
    return f"{name}.{key}" if dataclasses.is_dataclass(container) else f"{name}[{key!r}]"


def _is_numbers(value: Any) -> bool:
    """Whether it is a list of numbers, one for each sample."""
    plain = isinstance(value, list) and bool(value)
    return plain and all(isinstance(each, bool | int | float) for each in value)


def _tensor(value: Any, name: str) -> Tensor:
    try:
        tensor = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} cannot be made a tensor: {error}") from None
    if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
        kind = "complex" if tensor.is_complex() else "sparse, nested or quantized"
        raise DataError(f"{name} is {kind}, expected a dense tensor of real numbers; convert it")
    return tensor


def _put_together(structure: Structure, tensors: Iterator[Tensor]) -> Any:
    if isinstance(structure, Place):
        return next(tensors)
    if isinstance(structure, Constant):
        return structure.value
    parts = [_put_together(child, tensors) for child in structure.children]
    if issubclass(structure.kind, Mapping):
        whole = dict(zip(structure.keys, parts, strict=True))
        return whole if structure.kind is dict else structure.kind(whole)  # type: ignore[call-arg]
    if dataclasses.is_dataclass(structure.kind):
        return structure.kind(**dict(zip(structure.keys, parts, strict=True)))
    if hasattr(structure.kind, "_fields"):
        return structure.kind(*parts)
    return structure.kind(parts)  # type: ignore[call-arg]
