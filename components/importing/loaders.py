"""The samples of a Dataset or a DataLoader: read once, every sample once, in an order of their own."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    default_collate,
)

from lossmap.components.core.errors import DataError, LossmapError
from lossmap.components.core.imports import reason
from lossmap.components.importing.batches import taken_apart

_READ_AGAIN = 2048  # samples at most
_EACH_ONCE = "expected every sample once; hand over its Dataset, which is surveyed as it is"
_FIXED = (
    "what draws at random, as augmentation, masking and an IterableDataset that shuffles do, cannot be"
    " surveyed;"
    " hand over data without that, or batches that were drawn once: DataLoader(list(loader), batch_size=None)"
)
Order = Sequence[Any]  # what is read: indices of samples, or lists of them


def is_dataset(data: Any) -> bool:
    """Whether it is a Dataset, or like one: with items by number. What holds tensors is a batch."""
    if isinstance(data, torch.utils.data.Dataset):
        return True
    if isinstance(data, Tensor | np.ndarray | Mapping | tuple | str) or hasattr(data, "__array__"):
        return False
    if isinstance(data, list):
        return not data or not all(isinstance(each, Tensor | np.ndarray) for each in data)
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def read(data: Any, name: str) -> list[Any]:
    """Batches that hold every sample once, tensors on the CPU. Random states stay as they are.

    A DataLoader's own order is none of the data's: samples come in that of its Dataset, also those that
    drop_last would leave out; its collate_fn, its workers and the size of its batches are used. Of a Dataset
    every sample is a batch of its own.

    Args:
        data: a DataLoader or a Dataset.
        name: of the data, for messages.

    Raises:
        DataError: it has no samples, fails, draws samples several times, or differs when it is read again.
    """
    with _random_states(data):
        try:
            order, batches = _reader(data, name)
            whole = list(batches(order))
            if not whole:
                raise DataError(f"{name} has no samples, expected at least one")
            _read_again(order, batches, whole, name)
        except LossmapError:
            raise
        except Exception as error:  # whatever the user's Dataset does
            raise DataError(f"{name} cannot be read: {reason(error)}") from None
    return whole


def _reader(data: Any, name: str) -> tuple[Order | None, Callable[[Order | None], Iterable[Any]]]:
    """In which order it is read, None where it has one alone; and how."""
    if not isinstance(data, DataLoader):
        if isinstance(data, IterableDataset):
            return None, lambda _order: (_single(item) for item in data)
        return range(len(data)), lambda order: (_single(data[index]) for index in order or ())
    options = {
        "collate_fn": data.collate_fn,
        "num_workers": data.num_workers,
        "worker_init_fn": data.worker_init_fn,
        "multiprocessing_context": data.multiprocessing_context,
    }
    if isinstance(data.dataset, IterableDataset):
        # by this process alone: each of several workers would go through all samples of one that does not
        # ask which of them it is
        return None, lambda _order: DataLoader(data.dataset, data.batch_size, collate_fn=data.collate_fn)
    if data.batch_sampler is None:
        return _once(data.sampler, name), lambda order: DataLoader(
            data.dataset, batch_size=None, sampler=order, **options
        )
    return _groups(data, name), lambda order: DataLoader(data.dataset, batch_sampler=order, **options)


def _single(item: Any) -> Any:
    """A sample as a batch; lists of numbers, as tokenizers make them, are tensors."""
    if isinstance(item, Mapping):
        item = {key: _listed(value) for key, value in item.items()}
    elif isinstance(item, tuple) and not hasattr(item, "_fields"):
        item = tuple(_listed(value) for value in item)
    return default_collate([item])


def _listed(value: Any) -> Any:
    return torch.as_tensor(value) if isinstance(value, list) and _holds_numbers(value) else value


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_holds_numbers, value))
    return isinstance(value, bool | int | float)


def _groups(loader: "DataLoader[Any]", name: str) -> list[list[int]]:
    """The indices of every batch."""
    sampler = loader.batch_sampler
    if type(sampler) is BatchSampler:
        return _chunks(_once(loader.sampler, name), sampler.batch_size)
    first, second = ([list(group) for group in sampler or ()] for _ in range(2))
    flat = [index for group in first for index in group]
    _check_once(flat, [index for group in second for index in group], name)
    return first if first == second else _chunks(sorted(flat), max(map(len, first)))


def _once(sampler: Any, name: str) -> list[int]:
    """The indices that a sampler draws, each once; rising where it draws them in a random order."""
    if isinstance(sampler, DistributedSampler) and sampler.num_replicas > 1:
        raise DataError(
            f"{name} draws for one of {sampler.num_replicas} processes (DistributedSampler), {_EACH_ONCE}"
        )
    if isinstance(sampler, SequentialSampler | RandomSampler):
        count = len(sampler.data_source)
        if isinstance(sampler, RandomSampler) and (sampler.replacement or sampler.num_samples < count):
            raise DataError(f"{name} draws some of its samples at random (RandomSampler), {_EACH_ONCE}")
        return list(range(count))
    if isinstance(sampler, SubsetRandomSampler):
        return sorted(int(index) for index in sampler.indices)
    first, second = list(sampler), list(sampler)
    _check_once(first, second, name)
    return first if first == second else sorted(first)


def _check_once(first: list[int], second: list[int], name: str) -> None:
    if len(set(first)) < len(first):
        raise DataError(
            f"{name} draws samples several times ({len(first)} of {len(set(first))}), {_EACH_ONCE}"
        )
    if set(first) != set(second):
        raise DataError(f"{name} draws other samples every time that it is read, {_EACH_ONCE}")


def _chunks(indices: list[int], size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _read_again(
    order: Order | None,
    batches: Callable[[Order | None], Iterable[Any]],
    whole: Sequence[Any],
    name: str,
) -> None:
    """Whether samples are the same in a second reading: all, or some from everywhere where there are many."""
    chosen = range(len(whole)) if order is None else _spread(whole)
    again = batches(None if order is None else [order[place] for place in chosen])
    count = 0
    for place, other in zip(chosen, again, strict=False):
        _compare(whole[place], other, name)
        count += 1
    if count < len(chosen):
        raise DataError(
            f"{name} has {len(chosen)} batches when it is read once and {count} when it is read again,"
            f" expected the same; {_FIXED}"
        )


def _spread(whole: Sequence[Any]) -> list[int]:
    each = max(1, len(next(iter(taken_apart(whole[0])[1].values()))))
    count = max(1, min(len(whole), _READ_AGAIN // each))
    return [int(place) for place in np.linspace(0, len(whole) - 1, count)]


def _compare(one: Any, other: Any, name: str) -> None:
    structure, first = taken_apart(one, name)
    again, second = taken_apart(other, name)
    for place, tensor in first.items():
        found = second.get(place)
        if structure != again or found is None or not _equal(tensor, found):
            raise DataError(f"{place} differs when it is read again{_by(tensor, found)}: {_FIXED}")
    if structure != again:
        raise DataError(f"{name} differs when it is read again: {_FIXED}")


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    same = one == other
    return bool((same | (one.isnan() & other.isnan())).all() if one.is_floating_point() else same.all())


def _by(one: Tensor, other: Tensor | None) -> str:
    if other is None or one.shape != other.shape:
        return f", in its shape: {tuple(one.shape)} and {tuple(other.shape) if other is not None else 'none'}"
    return f", by up to {float((one.double() - other.double()).abs().nan_to_num().max()):.3g}"


@contextmanager
def _random_states(data: Any) -> Iterator[None]:
    """Put back at the end what reading draws from: Python's, numpy's and torch's random numbers, and the
    generators of a DataLoader.
    """
    own = [getattr(data, "generator", None), getattr(getattr(data, "sampler", None), "generator", None)]
    generators = [each for each in own if isinstance(each, torch.Generator)]
    states = [each.get_state() for each in generators]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for each, state in zip(generators, states, strict=True):
            each.set_state(state)
