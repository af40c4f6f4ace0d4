""".pt and .pth: what torch.save wrote of a pair, a dictionary, or a list of samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossmap.components.data.formats.found import Found, Value, as_value
from lossmap.components.models.checkpoint_file import load_plain

_PAIR = ("inputs", "targets")
_EXPECTED = (
    "expected (inputs, targets), a dictionary of tensors with these names, or a list of such pairs, as"
    " torch.save writes them"
)


def read_torch(content: bytes) -> Found:
    """Inputs and targets by name, read without running anything of the file.

    Raises:
        TypeError: it holds something else.
    """
    return Found(_named(load_plain(content), ""))


def _named(value: Any, prefix: str) -> dict[str, Value]:
    if isinstance(value, Mapping):
        parts = [_named_or_value(inner, f"{prefix}{key}") for key, inner in value.items()]
        return {name: inner for part in parts for name, inner in part.items()}
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise TypeError(f"it holds {type(value).__name__}, {_EXPECTED}")
    if len(value) in (2, 4) and all(isinstance(part, (Tensor, np.ndarray)) for part in value):
        names = [f"{split}{name}" for split in ("", "test_") for name in _PAIR]
        return {f"{prefix}{name}": as_value(part) for name, part in zip(names, value, strict=False)}
    if len(value) == 2 and all(map(_is_split, value)):
        return _named([*value[0], *value[1]], prefix)
    if all(isinstance(sample, (tuple, list)) and len(sample) == 2 for sample in value):
        inputs, targets = zip(*value, strict=True)
        return {f"{prefix}inputs": _stacked(inputs), f"{prefix}targets": _stacked(targets)}
    raise TypeError(f"it holds {type(value).__name__} of {type(value[0]).__name__}, {_EXPECTED}")


def _is_split(value: Any) -> bool:
    """Whether it is inputs and targets of many samples, and no sample itself."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(part, (Tensor, np.ndarray)) and part.ndim for part in value)
        and len(value[0]) == len(value[1])
    )


def _named_or_value(value: Any, name: str) -> dict[str, Value]:
    if isinstance(value, (Tensor, np.ndarray)):
        return {name: as_value(value)}
    if isinstance(value, list) and value and isinstance(value[0], (str, int, float)):
        return {name: as_value(value)}
    return _named(value, f"{name}_")


def _stacked(samples: Sequence[Any]) -> Value:
    if all(isinstance(sample, Tensor) for sample in samples):
        return as_value(torch.stack(list(samples)))
    return as_value(np.stack([np.asarray(sample) for sample in samples]))
