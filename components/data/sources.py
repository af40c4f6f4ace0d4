"""Labelled images from a named data set, or from a user's folder or zip."""

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lossmap.components.config.data import NAMED_SOURCES, TAKEN, TASKS, Data
from lossmap.components.config.manifest import Split
from lossmap.components.core.errors import DataError
from lossmap.components.core.randomness import stream
from lossmap.components.data.choose import balanced_choice, one_fifth
from lossmap.components.data.decode import resize_all
from lossmap.components.data.folders import read_folder
from lossmap.components.data.labelled import Labelled, Source
from lossmap.components.data.sizing import Sizing

Count = Callable[[int, int], None]  # done, total


def load_source(data: Data, progress: Count) -> Source:
    """The images that `data` asks for, limited to the number that it asks for.

    Args:
        data: a known name, or the path or URI of a folder or zip `train/<class>/*`, `test/<class>/*`.
        progress: called with (done, total) while images are decoded.
    """
    if data.source in NAMED_SOURCES:
        source = _LOADERS[data.source](data)
        return Source(
            source.classes, {split: _limited(data, split, images) for split, images in source.splits.items()}
        )
    if "://" not in data.source and not _is_there(data.source):
        near = difflib.get_close_matches(data.source, [*NAMED_SOURCES, TASKS], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        accepted = f"expected {', '.join(NAMED_SOURCES)}, tasks, or the path or s3:// URI of {TAKEN}"
        raise DataError(f"data.source is {data.source!r}, which is no data set and no file; {hint}{accepted}")
    return read_folder(data, progress)


def _is_there(source: str) -> bool:
    try:
        return Path(source).expanduser().exists()
    except PermissionError:  # perhaps it is; reading it will tell
        return True
    except (OSError, RuntimeError):  # a name too long, or the home of nobody
        return False


def _limited(data: Data, split: Split, images: Labelled) -> Labelled:
    chosen = balanced_choice(
        images.labels, data.limit if split == "train" else data.test_limit, data.seed, split
    )
    pixels = images.pixels[chosen]
    sizing = Sizing.of(data)
    if not sizing.is_plain or sizing.channels not in (None, pixels.shape[1]):
        pixels = resize_all(pixels, sizing, data.source)
    return Labelled(np.ascontiguousarray(pixels), images.labels[chosen])


def _digits(data: Data) -> Source:
    """scikit-learn's 1,797 scans of 8 x 8 grey values 0 … 16, scaled to round(255 v / 16); of each class
    one fifth, drawn by the seed, is test.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    is_test = one_fifth(labels, "digits", data.seed)
    train, test = Labelled(pixels[~is_test], labels[~is_test]), Labelled(pixels[is_test], labels[is_test])
    return Source(tuple(str(label) for label in range(10)), {"train": train, "test": test})


def _blobs(data: Data) -> Source:
    """For each class a random pattern in [0, 1], plus Gaussian noise, clipped and scaled to 0 … 255."""
    blobs = data.blobs
    patterns = stream("blobs", data.seed).random((blobs.classes, 1, blobs.image_size, blobs.image_size))

    def split(name: Split, per_class: int) -> Labelled:
        labels = np.repeat(np.arange(blobs.classes), per_class)
        noise = stream("blobs", data.seed, name).normal(0, blobs.noise, (len(labels), *patterns.shape[1:]))
        return Labelled(
            (np.clip(patterns[labels] + noise, 0, 1) * 255).round().astype(np.uint8), labels.astype(np.int64)
        )

    classes = tuple(f"blob-{label}" for label in range(blobs.classes))
    return Source(
        classes, {"train": split("train", blobs.train_per_class), "test": split("test", blobs.test_per_class)}
    )


def _torchvision(name: str) -> Callable[[Data], Source]:
    """One of torchvision's data sets, downloaded once into LOSSMAP_CACHE, or ~/.cache/lossmap."""

    def load(data: Data) -> Source:
        from torchvision import datasets

        folder = Path(os.environ.get("LOSSMAP_CACHE") or Path.home() / ".cache" / "lossmap")
        kind = getattr(datasets, name)
        try:
            train, test = (kind(folder / data.source, train=train, download=True) for train in (True, False))
        except (
            OSError,
            RuntimeError,
            ValueError,
            AssertionError,
        ) as error:  # the last two are of files cut short after their check
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise DataError(
                f"{data.source} cannot be downloaded to {folder / data.source} or read there: {reason}; "
                "remove that folder and run again, or set data.source to a folder of its images"
            ) from None
        return Source(
            tuple(train.classes), {"train": _from_torchvision(train), "test": _from_torchvision(test)}
        )

    return load


def _from_torchvision(dataset: Any) -> Labelled:
    pixels = np.asarray(dataset.data)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return Labelled(pixels, np.asarray(dataset.targets, dtype=np.int64))


# torchvision reads CIFAR's own files by pickle, after checking their MD5 sums against those it carries:
# nobody's files but the authors' get there.
_LOADERS: dict[str, Callable[[Data], Source]] = {
    "digits": _digits,
    "cifar10": _torchvision("CIFAR10"),
    "cifar100": _torchvision("CIFAR100"),
    "fashion-mnist": _torchvision("FashionMNIST"),
    "blobs": _blobs,
}
