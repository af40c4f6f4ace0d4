"""What a packed data set contains: the contract between data preparation and everything after it."""

from math import log, prod
from typing import Literal

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from lossmap.components.core.frozen import Frozen

Split = Literal["train", "test"]
Modality = Literal["image", "tokens", "table"]


class Shard(Frozen):
    """One safetensors object: `images` (uint8, N x C x H x W) and `labels` (int64, N), or `inputs` and
    `targets` (N x …).
    """

    key: str
    sha256: str
    count: PositiveInt


class PackedTask(Frozen):
    """One of several tasks in a data set. A packed sample is a float32 row: the number of its task, its
    features, zeros up to the longest task's length.

    Attributes:
        name: of the task.
        modality: what its features are: pixels, tokens as whole numbers, or the columns of a table.
        shape: of one sample: channels, height, width of an image; the number of tokens, or of columns.
        classes: by name.
        vocabulary: number of different tokens; None for other modalities.
        train_count: training samples.
        test_count: test samples.
    """

    name: str
    modality: Modality
    shape: tuple[PositiveInt, ...]
    classes: tuple[str, ...]
    vocabulary: PositiveInt | None = None
    train_count: NonNegativeInt
    test_count: NonNegativeInt

    @property
    def features(self) -> int:
        """Numbers in one sample."""
        return prod(self.shape)

    def count(self, split: Split) -> int:
        """Number of samples in a split."""
        return self.train_count if split == "train" else self.test_count


class Manifest(Frozen):
    """A packed data set. Fields that an earlier lossmap wrote and this one does not know are passed over.

    Attributes:
        digest: of the content; equal content, equal digest.
        source: where it came from.
        kind: images, tensors of any type and shape, or the rows of several tasks.
        classes: names of what the targets count; empty where targets are no classes, and where every task has
            its own.
        shape: of one input: channels, height, width of an image.
        mean: by channel, over the training images scaled to [0, 1]; or what the experiment says. Empty for
            tensors, which are used as they are.
        deviation: standard deviation by channel, as the mean.
        train: shards of the training samples.
        test: shards of the test samples; tensors may come without any.
        tasks: in the order of their numbers; empty for other kinds.
        class_order: by what the classes of a folder are ordered, as data.class_order; None for other sources.
        passed_over: how many files of a folder are not in the data set, by what they are: an ending, hidden,
            or a folder.
        notes: lines for people on what was chosen and passed over.
    """

    model_config = ConfigDict(extra="ignore")

    digest: str
    source: str
    kind: Literal["images", "tensors", "tasks"] = "images"
    classes: tuple[str, ...]
    shape: tuple[NonNegativeInt, ...]
    mean: tuple[float, ...]
    deviation: tuple[PositiveFloat, ...]
    train: tuple[Shard, ...]
    test: tuple[Shard, ...]
    tasks: tuple[PackedTask, ...] = ()
    class_order: str | None = None
    passed_over: dict[str, NonNegativeInt] = Field({})
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Of an image."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Of an image, in pixels."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """Of an image, in pixels."""
        return self.shape[2]

    def shards(self, split: Split) -> tuple[Shard, ...]:
        """The shards of a split, in order."""
        return self.train if split == "train" else self.test

    def count(self, split: Split) -> int:
        """Number of samples in a split."""
        return sum(shard.count for shard in self.shards(split))

    def rows(self, split: Split, task: str | None) -> range:
        """Where the samples of a task lie among those of a split: one task comes after the other. Without
        a task all of them.
        """
        if task is None:
            return range(self.count(split))
        number = [one.name for one in self.tasks].index(task)
        start = sum(one.count(split) for one in self.tasks[:number])
        return range(start, start + self.tasks[number].count(split))

    def guessing_loss(self, split: Split, task: str | None = None) -> float | None:
        """Cross-entropy of guessing uniformly: ln C for C classes; of several tasks the mean of theirs
        over the split's samples; None without classes.
        """
        if not self.tasks:
            return log(len(self.classes)) if len(self.classes) > 1 else None
        tasks = [one for one in self.tasks if task in (None, one.name)]
        return sum(one.count(split) * log(len(one.classes)) for one in tasks) / sum(
            one.count(split) for one in tasks
        )
