"""Images in a user's folder or zip, `train/<class>/*.png|jpg|jpeg` and `test/<class>/…`, on disk or in S3.

One folder may lie around both. Hidden files, __MACOSX, files with other endings, and whatever is outside the
class folders are passed over; an image in a folder below a class is refused.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.data import Data
from lossmap.components.config.manifest import Split
from lossmap.components.core.errors import DataError
from lossmap.components.data.choose import balanced_choice
from lossmap.components.data.decode import decode_all
from lossmap.components.data.files import Location, open_files

_ENDINGS = (".png", ".jpg", ".jpeg")
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_folder(
    data: Data, progress: Callable[[int, int], None]
) -> tuple[tuple[str, ...], dict[Split, Arrays]]:
    """Class names in order, and for each split its images (uint8 N x C x H x W) and labels.

    Raises:
        DataError: the first thing that is wrong, in one line.
    """
    with tempfile.TemporaryDirectory() as scratch:
        location = Location.of(data.source, Path(scratch))
        entries = _entries(open_files(location).names(), data.source)
        classes = _classes(entries, data.source)
        chosen = {split: _choose(entries[split], classes, data, split) for split in get_args(Split)}
        names = [name for entries_of_split in chosen.values() for name, _ in entries_of_split]
        pixels = decode_all(location, names, data.image_size, progress)
    start, splits = 0, {}
    for split, entries_of_split in chosen.items():
        labels = np.array([label for _, label in entries_of_split], dtype=np.int64)
        splits[split] = (pixels[start : start + len(entries_of_split)], labels)
        start += len(entries_of_split)
    return classes, splits


def _entries(names: Sequence[str], source: str) -> dict[Split, list[tuple[str, str]]]:
    """For each split the (name, class) of its images; a single folder around everything is looked through."""
    visible = sorted(name for name in names if not _hidden(name))
    tops = {PurePosixPath(name).parts[0] for name in visible if _is_image(name) and "/" in name}
    depth = 1 if len(tops) == 1 and not tops & set(get_args(Split)) else 0
    entries: dict[Split, list[tuple[str, str]]] = {split: [] for split in get_args(Split)}
    folders: set[tuple[Split, str]] = set()
    for name in visible:
        match PurePosixPath(name).parts[depth:]:
            case ("train" | "test") as split, label, _ if _is_image(name):
                entries[split].append((name, label))
            case ("train" | "test") as split, _, _, *_ if _is_image(name):
                raise DataError(
                    f"{name} in {source} is deeper than {split}/<class>/; move it up, or out of {split}/"
                )
            case ("train" | "test") as split, label, *below if below or name.endswith("/"):
                folders.add((split, label))
    for split, images in entries.items():
        if not images:
            raise DataError(
                f"{source} has no images under {split}/<class>/, expected {', '.join(_ENDINGS)} files there"
            )
        for label in sorted(
            {label for place, label in folders if place == split} - {label for _, label in images}
        ):
            raise DataError(
                f"class {label} has no images in {source} under {split}/; add some or remove its folder"
            )
    return entries


def _classes(entries: dict[Split, list[tuple[str, str]]], source: str) -> tuple[str, ...]:
    counts = {split: Counter(label for _, label in images) for split, images in entries.items()}
    for split, other in (("train", "test"), ("test", "train")):
        for label in sorted(counts[split]):  # type: ignore[index]
            if label not in counts[other]:  # type: ignore[index]
                raise DataError(
                    f"class {label} has images in {source} under {split}/ and none under {other}/; add some"
                    " or remove the class"
                )
    return tuple(
        sorted(
            counts["train"], key=lambda label: (0, int(label), label) if label.isdecimal() else (1, 0, label)
        )
    )


def _choose(
    images: Sequence[tuple[str, str]], classes: Sequence[str], data: Data, split: Split
) -> list[tuple[str, int]]:
    places = {label: index for index, label in enumerate(classes)}
    labels = np.array([places[label] for _, label in images], dtype=np.int64)
    limit = data.limit if split == "train" else data.test_limit
    return [
        (images[index][0], int(labels[index])) for index in balanced_choice(labels, limit, data.seed, split)
    ]


def _is_image(name: str) -> bool:
    return name.lower().endswith(_ENDINGS)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
