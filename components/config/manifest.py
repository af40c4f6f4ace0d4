"""What a packed data set contains: the contract between data preparation and everything after it."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from lossmap.components.config.experiment import Frozen

Split = Literal["train", "test"]


class Shard(Frozen):
    """One safetensors object with `images` (uint8, N x C x H x W) and `labels` (int64, N)."""

    key: str
    sha256: str
    count: PositiveInt


class Manifest(Frozen):
    """A packed data set. `mean` and `deviation` are by channel, over the training images scaled to [0, 1]."""

    digest: str
    source: str
    classes: tuple[str, ...]
    channels: PositiveInt
    height: PositiveInt
    width: PositiveInt
    mean: tuple[float, ...]
    deviation: tuple[PositiveFloat, ...]
    train: tuple[Shard, ...]
    test: tuple[Shard, ...]
    train_counts: tuple[NonNegativeInt, ...]
    test_counts: tuple[NonNegativeInt, ...]

    def shards(self, split: Split) -> tuple[Shard, ...]:
        """The shards of a split, in order."""
        return self.train if split == "train" else self.test

    def count(self, split: Split) -> int:
        """Number of images in a split."""
        return sum(shard.count for shard in self.shards(split))
