"""Samples of any structure as rows of bytes, which are packed, kept and drawn as any inputs are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from lossmap.components.core.errors import DataError
from lossmap.components.importing.batches import Structure, put_together, taken_apart

Convert = Callable[[Tensor], Tensor]
_HINT = "the first dimension of every tensor is the sample"


@dataclass(frozen=True)
class Field:
    """A tensor of each sample.

    Attributes:
        name: its place in a batch.
        dtype: of its numbers.
        shape: of one sample; where samples differ, the greatest size along every dimension.
        ragged: whether they differ: its sizes then stand before its numbers.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    ragged: bool

    @property
    def sizes_bytes(self) -> int:
        """Of its sizes in a row."""
        return 8 * len(self.shape) if self.ragged else 0

    @property
    def number_bytes(self) -> int:
        """Of its numbers in a row."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Part:
    """Samples whose tensors have equal shapes.

    Attributes:
        places: where they are among the rows (n,).
        tensors: n x …, in the order of the fields.
        batch: the same as a batch.
    """

    places: Tensor
    tensors: tuple[Tensor, ...]
    batch: Any


@dataclass(frozen=True)
class Rows:
    """How samples lie in rows, uint8 N x B: every field's sizes where it is ragged, then its numbers, the
    rest up to its greatest shape being zero. Nothing of that rest reaches a network.

    Attributes:
        structure: of a batch.
        fields: of its tensors, in order.
    """

    structure: Structure
    fields: tuple[Field, ...]

    @property
    def ragged(self) -> bool:
        """Whether samples differ in shape."""
        return any(field.ragged for field in self.fields)

    def packed(self, batches: Sequence[Any]) -> Tensor:
        """Batches as rows: N x B."""
        return torch.cat([self._row_bytes(_tensors(batch)) for batch in batches])

    def parts(self, rows: Tensor, converted: Convert = lambda tensor: tensor) -> Iterator[Part]:
        """The samples of some rows, those of equal shapes together, on the device of the rows.

        Args:
            rows: N x B.
            converted: called for every tensor.
        """
        sizes = self._sizes(rows)
        for places in self.alike(rows):
            tensors = tuple(map(converted, self._tensors(rows[places], sizes[places[0]].tolist())))
            yield Part(places, tensors, put_together(self.structure, tensors))

    def some(self, part: Part, places: list[int]) -> Part:
        """Some samples of a part."""
        tensors = tuple(tensor[places] for tensor in part.tensors)
        return Part(part.places[places], tensors, put_together(self.structure, tensors))

    def alike(self, rows: Tensor) -> list[Tensor]:
        """The places of samples whose tensors have equal shapes, for each kind of shapes."""
        sizes = self._sizes(rows)
        if not sizes.shape[1]:
            return [torch.arange(len(rows), device=rows.device)]
        kinds, kind_of = sizes.unique(dim=0, return_inverse=True)
        return [(kind_of == number).nonzero().flatten() for number in range(len(kinds))]

    def _row_bytes(self, tensors: Sequence[Tensor]) -> Tensor:
        count, parts = len(tensors[0]), list[Tensor]()
        for field, tensor in zip(self.fields, tensors, strict=True):
            if field.ragged:
                parts.append(_as_bytes(torch.tensor(tensor.shape[1:]).expand(count, -1)))
                whole = tensor.new_zeros(count, *field.shape)
                whole[tuple(slice(size) for size in tensor.shape)] = tensor
                parts.append(_as_bytes(whole))
            else:
                parts.append(_as_bytes(tensor))
        return torch.cat(parts, dim=1)

    def _sizes(self, rows: Tensor) -> Tensor:
        """Of the ragged fields, one behind the other: N x …, int64."""
        start, parts = 0, [rows.new_zeros(len(rows), 0, dtype=torch.int64)]
        for field in self.fields:
            parts.append(_from_bytes(rows[:, start : start + field.sizes_bytes], torch.int64))
            start += field.sizes_bytes + field.number_bytes
        return torch.cat(parts, dim=1)

    def _tensors(self, rows: Tensor, sizes: list[int]) -> Iterator[Tensor]:
        start, known = 0, iter(sizes)
        for field in self.fields:
            start += field.sizes_bytes
            whole = _from_bytes(rows[:, start : start + field.number_bytes], field.dtype)
            whole = whole.reshape(len(rows), *field.shape)
            start += field.number_bytes
            if field.ragged:
                whole = whole[(slice(None), *(slice(next(known)) for _ in field.shape))].contiguous()
            yield whole


def in_order(parts: Sequence[Part], answers: Sequence[Tensor]) -> Tensor:
    """What was found for the samples of each part, n x …, in the order of the rows.

    Raises:
        DataError: the parts' answers differ in shape.
    """
    shapes = {tuple(answer.shape[1:]) for answer in answers}
    if len(shapes) > 1:
        raise DataError(
            f"outputs of the network have the shapes {', '.join(map(str, sorted(shapes)))} for samples of"
            " several shapes, expected one; pad them alike, or hand over a loss of the network and a batch"
        )
    places = torch.cat([part.places for part in parts])
    return torch.cat(list(answers))[places.argsort()]


def rows_of(batches: Sequence[Any]) -> Rows:
    """How the samples of all these batches lie in rows.

    Raises:
        DataError: they do not have one structure, or no samples.
    """
    structure, first = taken_apart(batches[0])
    shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in first}
    for batch in batches:
        other, tensors = taken_apart(batch)
        if other != structure:
            raise DataError(
                f"batches of the data are not alike: {_described(structure, first)} and"
                f" {_described(other, tensors)}, expected one structure, with equal values where they are no"
                " tensors; leave out what is not for the network or the loss"
            )
        _check(first, tensors)
        for name, tensor in tensors.items():
            shapes[name].append(tuple(tensor.shape[1:]))
    fields = [_field(name, tensor.dtype, shapes[name]) for name, tensor in first.items()]
    return Rows(structure, tuple(fields))


def _field(name: str, dtype: torch.dtype, shapes: Sequence[tuple[int, ...]]) -> Field:
    greatest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    return Field(name, dtype, greatest, len(set(shapes)) > 1)


def _check(first: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    counts = {name: len(tensor) if tensor.dim() else None for name, tensor in tensors.items()}
    if not counts or None in counts.values() or len(set(counts.values())) > 1:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise DataError(
            f"a batch has the tensors {shapes or '(none)'}, expected as many samples in each: {_HINT}"
        )
    for name, tensor in tensors.items():
        other = first[name]
        if (tensor.dtype, tensor.dim()) != (other.dtype, other.dim()):
            raise DataError(
                f"{name} is {_kind(other)} in one batch and {_kind(tensor)} in another, expected one type and"
                " one number of dimensions"
            )


def _tensors(batch: Any) -> list[Tensor]:
    return list(taken_apart(batch)[1].values())


def _as_bytes(tensor: Tensor) -> Tensor:
    """N x …, of whatever type, as uint8 N x B."""
    flat = tensor.contiguous().reshape(len(tensor), -1)
    return flat.view(torch.uint8) if flat.numel() else flat.new_zeros(flat.shape, dtype=torch.uint8)


def _from_bytes(rows: Tensor, dtype: torch.dtype) -> Tensor:
    flat = rows.clone(memory_format=torch.contiguous_format)  # which begins where that type may
    return flat.view(dtype) if flat.numel() else flat.new_zeros(flat.shape, dtype=dtype)


def _described(structure: Structure, tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {_kind(tensor)}" for name, tensor in tensors.items()) or repr(structure)


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
