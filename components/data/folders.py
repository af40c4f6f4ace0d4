"""Images in a user's folder or zip, on disk or in S3: `train/<class>/*` and `test/<class>/*` (or val/), or
`<class>/*` alone, of which a part is the test set.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from lossmap.components.config.data import Data
from lossmap.components.config.manifest import Split
from lossmap.components.core.errors import DataError
from lossmap.components.data.choose import balanced_choice, held_out
from lossmap.components.data.class_order import LISTS, order_notes, ordered
from lossmap.components.data.decode import decode_all
from lossmap.components.data.files import Files, Location, open_files
from lossmap.components.data.labelled import Labelled, Source
from lossmap.components.data.listing import Entry, check_classes, listing
from lossmap.components.data.sizing import Sizing

_SHARE = 0.2  # of a class that is its test set, where nobody says otherwise
_Labels = list[tuple[str, int]]  # name of a file, and the number of its class


def read_folder(data: Data, progress: Callable[[int, int], None]) -> Source:
    """The images that `data` asks for, limited to the number that it asks for.

    Raises:
        DataError: the first thing that is wrong, in one line.
    """
    with tempfile.TemporaryDirectory() as scratch:
        location = Location.of(data.source, Path(scratch))
        files = open_files(location)
        names = files.names()
        found = listing(names, data.source)
        check_classes(found.entries, data.source)
        classes = ordered(
            {label for images in found.entries.values() for _, label in images}, data.class_order
        )
        labelled, notes = _splits(found.entries, classes, data)
        chosen = {split: _chosen(images, data, split) for split, images in labelled.items()}
        pixels = decode_all(
            location, [name for images in chosen.values() for name, _ in images], Sizing.of(data), progress
        )
        lists = _lists(names, files)
    start, splits = 0, {}
    for split, images in chosen.items():
        labels = np.array([label for _, label in images], dtype=np.int64)
        splits[split] = Labelled(pixels[start : start + len(images)], labels)
        start += len(images)
    if data.channels is None and pixels.shape[1] == 1:
        notes.append(
            f"all images of {data.source} are grey and have one channel; torchvision's ImageFolder gives"
            " three equal ones, as data.channels=3 does"
        )
    notes = [*order_notes(classes, data.class_order, lists), *found.notes, *notes]
    return Source(classes, splits, data.class_order, found.passed_over, tuple(notes))


def _splits(
    entries: dict[Split, list[Entry]], classes: Sequence[str], data: Data
) -> tuple[dict[Split, _Labels], list[str]]:
    """Both splits, of which the second is drawn from the first where the source has one."""
    places = {label: index for index, label in enumerate(classes)}
    labelled = {split: [(name, places[label]) for name, label in of] for split, of in entries.items()}
    if "test" in labelled:
        if data.split:
            raise DataError(f"data.split is {data.split} and {data.source} has a test set, expected null")
        return labelled, []
    images = labelled["train"]
    share = data.split or _SHARE
    is_test = held_out(np.array([label for _, label in images]), share, "split", data.seed)
    if not is_test.any():
        raise DataError(
            f"{data.source} has no test set and too few images for one: {len(images)} in {len(classes)}"
            f" classes; add some, or set data.split above {share}"
        )
    parts: dict[Split, _Labels] = {
        "train": [image for image, held in zip(images, is_test, strict=True) if not held],
        "test": [image for image, held in zip(images, is_test, strict=True) if held],
    }
    note = (
        f"the test set is {len(parts['test'])} of the {len(images)} images of {data.source}, drawn by"
        " data.seed; data.split sets the share"
    )
    return parts, [note]


def _chosen(images: _Labels, data: Data, split: Split) -> _Labels:
    labels = np.array([label for _, label in images], dtype=np.int64)
    limit = data.limit if split == "train" else data.test_limit
    return [images[index] for index in balanced_choice(labels, limit, data.seed, split)]


def _lists(names: Iterable[str], files: Files) -> dict[str, bytes]:
    """Content of the files that may list the classes, by name."""
    found = [name for name in names if PurePosixPath(name).name in LISTS]
    return {name: files.read(name) for name in found[:4]}
