"""Inputs and targets of any type and shape, from one file: a table, token ids, whatever a network takes."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lossmap.components.config.data import Data
from lossmap.components.config.manifest import Split
from lossmap.components.core.errors import DataError
from lossmap.components.core.imports import reason
from lossmap.components.core.randomness import stream
from lossmap.components.data.choose import balanced_choice
from lossmap.components.data.files import read_file
from lossmap.components.landscape.losses.loss import IGNORED

_PREFIXES: dict[Split, str] = {"train": "", "test": "test_"}
_NAMES = tuple(f"{prefix}{name}" for prefix in _PREFIXES.values() for name in ("inputs", "targets"))
_MOST_CLASSES = 2**20  # greater integers are no classes
Pairs = dict[Split, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TensorSource:
    """Inputs and targets (N x … both) of each split; a test split that is absent has no samples."""

    splits: Pairs

    @property
    def classes(self) -> int:
        """Greatest target + 1 where targets are integers from 0 to a million, but for those of -100, which
        losses pass over; 0 where they are no classes.
        """
        targets = [targets for _, targets in self.splits.values()]
        if not all(_are_integers(part) for part in targets):
            return 0
        counted = [kept for part in targets if (kept := part[part != IGNORED]).numel()]
        if not counted or min(int(part.min()) for part in counted) < 0:
            return 0
        count = 1 + max(int(part.max()) for part in counted)
        return count if count <= _MOST_CLASSES else 0


def load_tensors(data: Data) -> TensorSource:
    """The tensors `inputs`, `targets`, and perhaps `test_inputs`, `test_targets` of a .safetensors or .npz
    file, limited as `data` asks.

    Integer targets become int64, which losses want; everything else stays as it is.

    Raises:
        DataError: with what is wrong and what would be right.
    """
    if data.image_size or data.mean:
        raise DataError(
            f"data.source is {data.source!r}, tensors that are used as they are; data.image_size, data.mean"
            " and data.deviation are for images"
        )
    return tensor_source(_read(data.source), data)


def tensor_source(tensors: dict[str, Tensor], data: Data) -> TensorSource:
    """Check tensors by name and limit them."""
    unknown = sorted(set(tensors) - set(_NAMES))
    missing = [name for name in _needed(tensors) if name not in tensors]
    if unknown or missing:
        raise DataError(
            f"{data.source} holds {', '.join(sorted(tensors)) or 'nothing'}, expected inputs and targets, and"
            " perhaps test_inputs and test_targets"
        )
    train = _checked(tensors["inputs"], tensors["targets"], "", data)
    test = (train[0][:0], train[1][:0])
    if "test_inputs" in tensors:
        test = _checked(tensors["test_inputs"], tensors["test_targets"], "test_", data)
        _alike(train, test, data.source)
    return TensorSource({"train": _limited(train, data, "train"), "test": _limited(test, data, "test")})


def _read(source: str) -> dict[str, Tensor]:
    content = read_file(source, "data.source")
    try:
        if source.lower().endswith(".safetensors"):
            tensors: dict[str, Tensor] = load(content)
            return tensors
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.ascontiguousarray(archive[name])) for name in archive.files}
    except (SafetensorError, OSError, ValueError, TypeError, EOFError, KeyError) as error:
        raise DataError(
            f"{source} cannot be read as tensors: {reason(error)}; write it with numpy.savez or"
            " safetensors.torch.save_file"
        ) from None
    except Exception as error:
        raise DataError(f"{source} is damaged: {reason(error)}") from None


def _needed(tensors: dict[str, Tensor]) -> tuple[str, ...]:
    return _NAMES if any(name.startswith("test_") for name in tensors) else _NAMES[:2]


def _checked(inputs: Tensor, targets: Tensor, prefix: str, data: Data) -> tuple[Tensor, Tensor]:
    shapes = f"{prefix}inputs {tuple(inputs.shape)} and {prefix}targets {tuple(targets.shape)}"
    if inputs.dim() == 0 or targets.dim() == 0 or len(inputs) != len(targets):
        raise DataError(
            f"{data.source} has {shapes}, expected as many targets as inputs: the first dimension of both is"
            " the sample"
        )
    if len(inputs) == 0:
        raise DataError(f"{data.source} has {shapes}, expected at least one sample")
    return inputs, targets.long() if _are_integers(targets) else targets


def _alike(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], source: str) -> None:
    for name, one, other in zip(("inputs", "targets"), train, test, strict=True):
        if one.dtype != other.dtype or one.shape[1:] != other.shape[1:]:
            described = [
                f"{tuple(tensor.shape[1:])} {str(tensor.dtype).removeprefix('torch.')}"
                for tensor in (one, other)
            ]
            raise DataError(
                f"{source} has {name} of {described[0]} each and test_{name} of {described[1]}, expected one"
                " shape and one type"
            )


def _limited(pair: tuple[Tensor, Tensor], data: Data, split: Split) -> tuple[Tensor, Tensor]:
    inputs, targets = pair
    limit = data.limit if split == "train" else data.test_limit
    if limit is None or limit >= len(targets):
        return pair
    if _are_integers(targets) and targets.dim() == 1:
        chosen = balanced_choice(targets.numpy(), limit, data.seed, split)
    else:
        chosen = np.sort(stream("choice", data.seed, split).permutation(len(targets))[:limit])
    return inputs[chosen], targets[chosen]


def _are_integers(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()
