"""What a file of weights holds: every tensor in it, by its dotted name. Nothing in it is ever executed."""

import argparse
import datetime
import io
import pathlib
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from lossmap.components.core.archives import check_unpacked
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason

TOP = "."  # the key of what lies in the file itself, not in one of its parts
_DEEPEST = 8
_LFS = b"version https://git-lfs."
_PICKLES = (b"PK", b"\x80")  # how files of torch.save begin, and pickles
_SHOWN = 8
# what numpy makes its numbers and arrays of, by the name that files have
_NUMPY = {"scalar": np.float64().__reduce__()[0], "_reconstruct": np.empty(0).__reduce__()[0]}
# beside the weights in many files; each only holds values, and making one runs nothing of the file's
_PLAIN: tuple[Any, ...] = (
    argparse.Namespace,
    types.SimpleNamespace,
    datetime.datetime,
    datetime.timedelta,
    (pathlib.PosixPath, "pathlib.PosixPath"),
    (pathlib.PosixPath, "pathlib._local.PosixPath"),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefd"},
    *(
        (function, f"numpy.{core}.multiarray.{name}")
        for name, function in _NUMPY.items()
        for core in ("core", "_core")
    ),
)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Attributes:
        tensors: by dotted name: state_dict.layer1.weight.
        holders: for each name, that of the mapping in which it lies: state_dict.
    """

    tensors: Mapping[str, Tensor]
    holders: Mapping[str, str]

    def keys(self) -> dict[str, int]:
        """How many tensors lie in each mapping; of the file itself the key is TOP."""
        counts: dict[str, int] = {}
        for holder in self.holders.values():
            counts[holder or TOP] = counts.get(holder or TOP, 0) + 1
        return counts

    def below(self, key: str, name: str) -> "Checkpoint":
        """Only what lies under a key, whose whole path or end is given: state_dict_ema, or generator for
        state_dict.generator.

        Args:
            key: TOP for what lies in the file itself.
            name: of the file, for messages.

        Raises:
            ExperimentError: nothing lies there, or under several keys that end so.
        """
        if key == TOP:
            return self._part(lambda tensor: not self.holders[tensor], "")
        roots = {root for tensor in self.tensors for root in _roots(tensor, key)}
        root = key if key in roots else next(iter(sorted(roots)), None)
        if root is None:
            raise ExperimentError(f"{name} has no weights under {key}; it holds {self.described()}")
        if root != key and len(roots) > 1:
            raise ExperimentError(
                f"{name} has weights under {' and '.join(sorted(roots))}, expected one of them as the key,"
                f" and not {key}"
            )
        return self._part(lambda tensor: tensor.startswith(f"{root}."), f"{root}.")

    def described(self) -> str:
        """The keys, and how many tensors each has."""
        keys = [f"{key} ({count} tensors)" for key, count in self.keys().items()]
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        return f"{', '.join(keys[:_SHOWN])}{more}"

    def _part(self, chosen: Callable[[str], bool], prefix: str) -> "Checkpoint":
        names = [name for name in self.tensors if chosen(name)]
        return Checkpoint(
            {name.removeprefix(prefix): self.tensors[name] for name in names},
            {name.removeprefix(prefix): self.holders[name].removeprefix(prefix[:-1]) for name in names},
        )


def read_checkpoint(content: bytes, name: str, key: str | None = None) -> Checkpoint:
    """The tensors by name in a .safetensors file, or in what torch.save wrote.

    Args:
        content: of the file.
        name: of the file; its ending tells the format.
        key: under which the weights lie; without it everything in the file.

    Raises:
        ExperimentError: it is damaged, holds no weights, or can only be read by pickle.
    """
    try:
        found = _load(content, name)
    except ExperimentError:
        raise
    except Exception as error:  # of a damaged file it can be any
        if content.startswith(_LFS):
            raise ExperimentError(
                f"{name} is a pointer of Git LFS, expected the file that it stands for: git lfs pull"
            ) from None
        if what := _other_archive(content):
            raise ExperimentError(f"{name} is {what}") from None
        begins_well = content.startswith(_PICKLES)
        if type(error).__name__ == "UnpicklingError" and begins_well:
            raise ExperimentError(
                f"{name} holds more than tensors, and to read it could run code that is hidden in it; where"
                " you trust it, write its weights alone: torch.save(model.state_dict(), FILE) or"
                " safetensors.torch.save_model(model, FILE)"
            ) from None
        is_torchs = begins_well or name.lower().endswith(".safetensors")
        cause = reason(error) if is_torchs else f"it begins with {content[:12]!r}"
        raise ExperimentError(
            f"{name} cannot be read as weights: {cause}; expected .safetensors, or what torch.save"
            " writes of a state dict"
        ) from None
    checkpoint = held(found, name)
    return checkpoint if key is None else checkpoint.below(key, name)


def _other_archive(content: bytes) -> str | None:
    """What a zip is that torch.save did not write, and how weights are made of it."""
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        return (
            "a TorchScript archive, which holds code besides its weights; write these alone:"
            " torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    if "data.pkl" in inner:
        return None
    if "models/model.json" in inner:
        return (
            "what torch.export wrote, a graph besides its weights; write these alone:"
            " torch.save(torch.export.load(FILE).state_dict, OTHER)"
        )
    if names and all(name.endswith(".npy") for name in names):
        return (
            "an archive of numpy's; where its names are those of the network's weights, write"
            " torch.save({name: torch.from_numpy(each) for name, each in numpy.load(FILE).items()}, OTHER)"
        )
    listed = ", ".join(names[:_SHOWN]) or "nothing"
    return f"a zip archive that torch.save did not write ({listed}), expected the file of weights alone"


def _load(content: bytes, name: str) -> Any:
    return load(content) if name.lower().endswith(".safetensors") else load_plain(content)


def load_plain(content: bytes) -> Any:
    """What torch.save wrote, read without running anything of it: tensors, arrays, numbers, texts, and the
    collections and settings that hold them.
    """
    check_unpacked(content)
    with (
        warnings.catch_warnings(action="ignore"),  # of old formats; what cannot be read is an error
        torch.serialization.safe_globals(list(_PLAIN)),
    ):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def held(found: Any, name: str) -> Checkpoint:
    """The tensors in what a file held, or in a state that was handed over.

    Raises:
        ExperimentError: there are none.
    """
    leaves = list(_leaves(found, "", _DEEPEST)) if isinstance(found, Mapping) else []
    if not leaves:
        held = (
            ", ".join(map(str, list(found)[:_SHOWN])) if isinstance(found, Mapping) else type(found).__name__
        )
        raise ExperimentError(
            f"{name} holds {held or 'nothing'}, expected tensors by name, perhaps under a key such as"
            " state_dict"
        )
    if any("fp32_flat_groups" in path for path, _, _ in leaves):
        raise ExperimentError(
            f"{name} is one process's part of a DeepSpeed checkpoint; make one file of all parts by its"
            " zero_to_fp32.py"
        )
    return Checkpoint(
        {path: tensor for path, _, tensor in leaves}, {path: holder for path, holder, _ in leaves}
    )


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, str, Tensor]]:
    """Dotted name, name of the mapping around it, and tensor."""
    if not depth:
        return
    for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
        place = f"{path}.{key}" if path else str(key)
        if isinstance(inner, Tensor):
            yield place, path, _dense(inner.detach(), place)
        elif isinstance(inner, np.ndarray) and inner.dtype.kind in "biufc":
            yield place, path, torch.from_numpy(np.ascontiguousarray(inner)).reshape(inner.shape)
        elif isinstance(inner, (Mapping, list, tuple)):
            yield from _leaves(inner, place, depth - 1)


def _dense(tensor: Tensor, place: str) -> Tensor:
    if tensor.is_meta:
        raise ExperimentError(f"{place} is on the device meta, where it has no values; write it from the CPU")
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def _roots(tensor: str, key: str) -> list[str]:
    """The beginnings of a name that are the key or end in it."""
    parts, wanted = tensor.split("."), key.split(".")
    ends = range(len(wanted), len(parts))
    return [".".join(parts[:end]) for end in ends if parts[end - len(wanted) : end] == wanted]
