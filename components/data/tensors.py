"""Inputs and targets of any type and shape: a table, token ids, whatever a network takes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lossmap.components.config.data import Data
from lossmap.components.config.manifest import Split
from lossmap.components.core.errors import DataError
from lossmap.components.core.randomness import stream
from lossmap.components.data.choose import balanced_choice, held_out
from lossmap.components.data.tensor_files import read_tensor_files

_IGNORED = -100  # as torch's losses have it
_MOST_CLASSES = 2**20  # greater integers are no classes
Pair = tuple[Tensor, Tensor]
Pairs = dict[Split, Pair]
_DIMENSIONS = {"NCHW": (4, (0, 1, 2, 3)), "NHWC": (4, (0, 3, 1, 2)), "NHW": (3, (0, 1, 2))}


@dataclass(frozen=True)
class TensorSource:
    """Inputs and targets (N x … both) of each split; a test split that is absent has no samples.

    Attributes:
        splits: by name.
        names: of the classes, where the source has them.
        notes: lines for people on what was chosen.
    """

    splits: Pairs
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what targets count, or 0 to the greatest where they are integers from 0 to a million, but
        for those of -100, which losses pass over; none where they are no classes.
        """
        targets = [targets for _, targets in self.splits.values()]
        if self.names or not all(_are_integers(part) for part in targets):
            return self.names
        counted = [kept for part in targets if (kept := part[part != _IGNORED]).numel()]
        if not counted or min(int(part.min()) for part in counted) < 0:
            return ()
        count = 1 + max(int(part.max()) for part in counted)
        return tuple(str(label) for label in range(count)) if count <= _MOST_CLASSES else ()


def load_tensors(data: Data) -> TensorSource:
    """The tensors `inputs`, `targets`, and perhaps `test_inputs`, `test_targets` of files, limited as `data`
    asks.

    Integer targets become int64, which losses want; everything else stays as it is, but for data.layout.

    Raises:
        DataError: with what is wrong and what would be right.
    """
    tensors, names, notes = read_tensor_files(data)
    source = tensor_source(tensors, data)
    return TensorSource(source.splits, names, (*notes, *source.notes))


def tensor_source(tensors: dict[str, Tensor], data: Data) -> TensorSource:
    """Check inputs, targets, and perhaps test_inputs and test_targets, and limit them.

    Raises:
        DataError: they do not belong together, or have values that are not finite.
    """
    _check_settings(tensors["inputs"], data)
    train = _checked(tensors["inputs"], tensors["targets"], "", data)
    notes = _as_they_are(train[0], data)
    test = (train[0][:0], train[1][:0])
    if "test_inputs" in tensors:
        test = _checked(tensors["test_inputs"], tensors["test_targets"], "test_", data)
        _alike(train, test, data.source)
    if data.split:
        if len(test[1]):
            raise DataError(f"data.split is {data.split} and {data.source} has a test set, expected null")
        train, test = _divided(train, data)
        notes.append(
            f"the test set is {len(test[1])} of the {len(train[1]) + len(test[1])} samples of {data.source},"
            f" drawn by data.seed"
        )
    splits: Pairs = {"train": _limited(train, data, "train"), "test": _limited(test, data, "test")}
    return TensorSource(splits, notes=tuple(notes))


def _check_settings(inputs: Tensor, data: Data) -> None:
    images = data.layout and inputs.dtype == torch.uint8
    if (data.image_size or data.crop or data.mean) and not images:
        raise DataError(
            f"data.source is {data.source!r}, tensors that are used as they are; data.image_size, data.crop,"
            " data.mean and data.deviation are for images: uint8 with data.layout"
        )


def _as_they_are(inputs: Tensor, data: Data) -> list[str]:
    if data.layout or inputs.dtype != torch.uint8 or inputs.dim() < 3:
        return []
    shape = " x ".join(["N", *map(str, inputs.shape[1:])])
    return [
        f"the inputs of {data.source} are uint8, {shape}, and given to the network as they are; to give it"
        " images, scaled and channels first: data.layout=NHWC, NCHW or NHW"
    ]


def _checked(inputs: Tensor, targets: Tensor, prefix: str, data: Data) -> Pair:
    shapes = f"{prefix}inputs {tuple(inputs.shape)} and {prefix}targets {tuple(targets.shape)}"
    if inputs.dim() == 0 or targets.dim() == 0 or len(inputs) != len(targets):
        raise DataError(
            f"{data.source} has {shapes}, expected as many targets as inputs: the first dimension of both is"
            " the sample"
        )
    if len(inputs) == 0:
        raise DataError(f"{data.source} has {shapes}, expected at least one sample")
    if data.not_finite == "refuse":
        for name, tensor in (("inputs", inputs), ("targets", targets)):
            check_finite(tensor, f"{prefix}{name}", data.source)
    if targets.dtype == torch.uint64 and bool((targets.long() < 0).any()):
        raise DataError(
            f"{data.source} has {shapes} of the type uint64, some of 2**63 and more, expected int64"
        )
    inputs = _laid_out(inputs, f"{prefix}inputs", data)
    return inputs, targets.long() if _are_integers(targets) else targets


def check_finite(tensor: Tensor, name: str, source: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        DataError: with how many there are, and where the first is.
    """
    if _are_integers(tensor) or bool(torch.isfinite(tensor).all()):
        return
    nan, wrong = int(torch.isnan(tensor).sum()), ~torch.isfinite(tensor)
    first = wrong.nonzero()[0].tolist()
    kinds = {"NaN": nan, "infinite": int(wrong.sum()) - nan}
    counts = " and ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    places = {1: "", 2: f", column {first[-1]}"}
    where = f"sample {first[0]}{places.get(len(first), f', place {tuple(first[1:])}')}"
    raise DataError(
        f"{name} of {source} has values that are not finite: {counts}, the first in {where} (counted from 0);"
        " leave these samples out or fill them in, or keep them by data.not_finite=keep"
    )


def _laid_out(inputs: Tensor, name: str, data: Data) -> Tensor:
    """N x C x H x W."""
    if data.layout is None:
        return inputs
    count, order = _DIMENSIONS[data.layout]
    if inputs.dim() != count:
        raise DataError(
            f"data.layout is {data.layout} and {name} of {data.source} are {tuple(inputs.shape)}, expected"
            f" {count} dimensions"
        )
    inputs = inputs.permute(order)
    return (inputs if count == 4 else inputs[:, None]).contiguous()


def _alike(train: Pair, test: Pair, source: str) -> None:
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


def _divided(pair: Pair, data: Data) -> tuple[Pair, Pair]:
    inputs, targets = pair
    classes = _are_integers(targets) and targets.dim() == 1
    labels = targets.numpy() if classes else np.zeros(len(targets), dtype=np.int64)
    is_test = torch.from_numpy(held_out(labels, data.split or 0, "split", data.seed))
    if is_test.all() or not is_test.any():
        raise DataError(
            f"data.split is {data.split}, which leaves one of the splits of {data.source} without samples"
        )
    return (inputs[~is_test], targets[~is_test]), (inputs[is_test], targets[is_test])


def _limited(pair: Pair, data: Data, split: Split) -> Pair:
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
