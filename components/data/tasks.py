"""Several tasks at once, of several kinds of samples: real data that scikit-learn brings along, and any
set of images beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossmap.components.config.data import Data, TaskName
from lossmap.components.config.manifest import Modality, PackedTask, Split
from lossmap.components.core.errors import DataError
from lossmap.components.data.choose import balanced_choice, one_fifth
from lossmap.components.data.sources import Count, load_source
from lossmap.components.data.statistics import channel_statistics

_GREY_LEVELS = 17
Pair = tuple[NDArray[np.float32], NDArray[np.int64]]  # features N x F, classes N


@dataclass(frozen=True)
class LoadedTask:
    """A task in memory. Attributes are as in PackedTask; `splits` holds features (float32, N x F) and
    classes (int64, N).
    """

    name: TaskName
    modality: Modality
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    vocabulary: int | None
    splits: dict[Split, Pair]


def load_tasks(data: Data, progress: Count) -> tuple[LoadedTask, ...]:
    """The tasks that `data` asks for, in its order, each limited as it asks. Of each class of a task of
    scikit-learn's one fifth, drawn by the seed, is test.

    Args:
        data: its tasks are some of

            images          those of data.images, with their own test set; each channel standardised on the
                            training images
            digits-images   scikit-learn's 1,797 scans of 8 x 8 grey values, standardised by mean and
                            deviation of all training pixels
            digits-tokens   the same scans, row by row, as sequences of 64 tokens: the grey value, 0 … 16;
                            the same scans are test
            breast-cancer   569 samples of 30 measurements, benign or malignant; each column standardised on
                            the training samples
            wine            178 samples of 13 measurements, from three cultivars; scaled in the same way

        progress: called with (done, total) while images are decoded.
    """
    return tuple(
        _images(data, progress) if name == "images" else _embedded(name, data) for name in data.tasks
    )


def packed_task(task: LoadedTask) -> PackedTask:
    """What the manifest says of a task."""
    counts = {split: len(labels) for split, (_, labels) in task.splits.items()}
    return PackedTask(
        name=task.name,
        modality=task.modality,
        shape=task.shape,
        classes=task.classes,
        vocabulary=task.vocabulary,
        train_count=counts["train"],
        test_count=counts["test"],
    )


def rows(tasks: Sequence[LoadedTask], split: Split) -> tuple[Tensor, Tensor]:
    """One row for each sample, task by task: float32 N x (1 + F), F of the task that has most; and the
    classes, int64 N.
    """
    width = max(task.splits[split][0].shape[1] for task in tasks)
    parts = []
    for number, task in enumerate(tasks):
        features = task.splits[split][0]
        padding = width - features.shape[1]
        parts.append(np.pad(features, ((0, 0), (1, padding))))
        parts[-1][:, 0] = number
    labels = np.concatenate([task.splits[split][1] for task in tasks])
    return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(labels)


def _images(data: Data, progress: Count) -> LoadedTask:
    source = load_source(data.model_copy(update={"source": data.images}), progress)
    train = source.splits["train"].pixels
    if len(train) == 0:
        raise DataError(f"{data.images} has no training images")
    mean, deviation = (
        np.array(values, dtype=np.float32).reshape(-1, 1, 1) for values in channel_statistics(train)
    )
    splits = {
        split: (
            ((np.float32(found.pixels) / 255 - mean) / deviation).reshape(len(found.labels), -1),
            found.labels,
        )
        for split, found in source.splits.items()
    }
    return LoadedTask(
        name="images",
        modality="image",
        shape=train.shape[1:],
        classes=source.classes,
        vocabulary=None,
        splits=splits,
    )


def _embedded(name: TaskName, data: Data) -> LoadedTask:
    bunch = _bunch(name)
    features, labels = bunch.data.astype(np.float64), bunch.target.astype(np.int64)
    digits = name.startswith("digits")
    is_test = one_fifth(labels, "digits" if digits else name, data.seed)
    if name == "digits-images":
        features = (features - features[~is_test].mean()) / features[~is_test].std()
    elif not digits:
        features = (features - features[~is_test].mean(axis=0)) / features[~is_test].std(axis=0)
    shape = (1, 8, 8) if name == "digits-images" else features.shape[1:]
    vocabulary = _GREY_LEVELS if name == "digits-tokens" else None
    return LoadedTask(
        name=name,
        modality={"digits-images": "image", "digits-tokens": "tokens"}.get(name, "table"),  # type: ignore[arg-type]
        shape=shape,
        classes=tuple(map(str, bunch.target_names)),
        vocabulary=vocabulary,
        splits={
            "train": _limited(features[~is_test], labels[~is_test], data.limit, data.seed, "train"),
            "test": _limited(features[is_test], labels[is_test], data.test_limit, data.seed, "test"),
        },
    )


def _bunch(name: TaskName) -> Any:
    from sklearn import datasets

    load = {"breast-cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}.get(
        name, datasets.load_digits
    )
    return load()


def _limited(
    features: NDArray[np.float64], labels: NDArray[np.int64], limit: int | None, seed: int, split: Split
) -> Pair:
    chosen = balanced_choice(labels, limit, seed, split)
    return features[chosen].astype(np.float32), labels[chosen]
