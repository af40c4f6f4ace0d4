"""Which files of tensors a source is, and what is in them by name."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from lossmap.components.config.data import TENSOR_FILES, Data
from lossmap.components.core.errors import DataError
from lossmap.components.core.imports import reason
from lossmap.components.data.files import read_file
from lossmap.components.data.formats.arrays import read_npy, read_npz, read_safetensors
from lossmap.components.data.formats.found import Found, Value
from lossmap.components.data.formats.table import read_table
from lossmap.components.data.formats.torch_file import read_torch
from lossmap.components.data.roles import by_role, split_of

_READERS: dict[str, Callable[[bytes], Found]] = {
    ".safetensors": read_safetensors,
    ".npz": read_npz,
    ".npy": read_npy,
    ".pt": read_torch,
    ".pth": read_torch,
}
_TABLES = (".csv", ".tsv")
_IN_ORDER = ("inputs", "targets", "test_inputs", "test_targets")


def is_tensor_folder(source: str) -> bool:
    """Whether a source is a folder of this machine with files of tensors and no folders in it."""
    try:
        folder = Path(source).expanduser()
        visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except (OSError, RuntimeError):
        return False
    return not any(entry.is_dir() for entry in visible) and any(map(_is_tensor_file, visible))


def read_tensor_files(data: Data) -> tuple[dict[str, Tensor], tuple[str, ...], list[str]]:
    """Tensors under inputs, targets, and perhaps test_inputs and test_targets; names of the classes where
    targets are texts; and lines for people.

    Raises:
        DataError: with the file and what is wrong with it.
    """
    places = _places(data)
    found = {place: _read(place, data) for place in places}
    _check_columns(found)
    values: dict[str, Value] = {}
    for place, one in found.items():
        values |= {_name(place, name, len(places)): value for name, value in one.values.items()}
    chosen, told = by_role(_in_order(values, data), data.source)
    tensors, classes = _with_numbers(chosen, data.source)
    return tensors, classes, [*(line for one in found.values() for line in one.notes), *told]


def _places(data: Data) -> tuple[str, ...]:
    if data.holds_tensors:
        return data.places
    folder = Path(data.source).expanduser()
    return tuple(str(file) for file in sorted(folder.iterdir()) if _is_tensor_file(file))


def _is_tensor_file(file: Path) -> bool:
    return file.name.lower().endswith(TENSOR_FILES) and not file.name.startswith(".")


def _read(place: str, data: Data) -> Found:
    content = read_file(place, "data.source")
    ending = PurePosixPath(place).suffix.lower()
    if ending in _TABLES:
        return read_table(content, place, data.target, data.not_finite == "keep")
    try:
        return _READERS[ending](content)
    except (SafetensorError, OSError, ValueError, TypeError, EOFError, KeyError) as error:
        raise DataError(
            f"{place} cannot be read as tensors: {reason(error)}; write it with numpy.savez or"
            " safetensors.torch.save_file"
        ) from None
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":
            raise DataError(
                f"{place} holds more than tensors, and to read it could run code that is hidden in it; where"
                " you trust it, write its tensors alone: torch.save((inputs, targets), FILE)"
            ) from None
        raise DataError(f"{place} is damaged: {reason(error)}; write it with numpy.savez") from None


def _name(place: str, name: str, count: int) -> str:
    """What an array is called: by its own name, ahead of it the split that its file is called, or by that of
    a file that gives it none.
    """
    stem = PurePosixPath(place).stem
    if not name:
        return stem
    return f"{stem}_{name}" if count > 1 and split_of(stem) else name


def _in_order(values: dict[str, Value], data: Data) -> dict[str, Value]:
    """Arrays of several files whose names say nothing are inputs and targets as they are listed."""
    listed = len(data.places) in (2, 4)
    if not listed:
        return values
    try:
        by_role(values, data.source)
    except DataError:
        return dict(zip(_IN_ORDER, values.values(), strict=False))
    return values


def _check_columns(found: dict[str, Found]) -> None:
    tables = [(place, one.columns) for place, one in found.items() if one.columns]
    for place, columns in tables[1:]:
        if columns != tables[0][1]:
            raise DataError(f"{tables[0][0]} and {place} differ in their columns, expected the same in both")


def _with_numbers(values: dict[str, Value], source: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Targets that are texts as places in the sorted list of all that there are."""
    texts = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    if any(name.endswith("inputs") for name in texts):
        raise DataError(f"{source} has texts as inputs, expected numbers; encode them")
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if not texts:
        return tensors, ()
    if len(texts) < sum(name.endswith("targets") for name in values):
        raise DataError(f"{source} has texts as some targets and numbers as others, expected one kind")
    classes = sorted({str(text) for value in texts.values() for text in value.ravel()})
    numbers = {name: np.searchsorted(np.array(classes), value) for name, value in texts.items()}
    return tensors | {name: torch.from_numpy(value) for name, value in numbers.items()}, tuple(classes)
