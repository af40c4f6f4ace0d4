"""What a packed data set contains: the contract between data preparation and everything after it."""

from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.config.frozen import Frozen

Split = Literal["train", "test"]


class Shard(Frozen):
    """One safetensors object: `images` (uint8, N x C x H x W) and `labels` (int64, N), or `inputs` and `targets` (N x …)."""

    key: str
    sha256: str
    count: PositiveInt


class Manifest(Frozen):
    """A packed data set.

    Attributes:
        digest: of the content; equal content, equal digest.
        source: where it came from.
        kind: images, or tensors of any type and shape.
        classes: names of what the targets count; empty where targets are no classes.
        shape: of one input: channels, height, width of an image.
        mean: by channel, over the training images scaled to [0, 1]; or what the experiment says. Empty for tensors, which are used as they are.
        deviation: likewise.
        train: shards of the training samples.
        test: shards of the test samples; tensors may come without any.
        train_counts: training targets of each class.
        test_counts: likewise.
    """

    digest: str
    source: str
    kind: Literal["images", "tensors"] = "images"
    classes: tuple[str, ...]
    shape: tuple[NonNegativeInt, ...]
    mean: tuple[float, ...]
    deviation: tuple[PositiveFloat, ...]
    train: tuple[Shard, ...]
    test: tuple[Shard, ...]
    train_counts: tuple[NonNegativeInt, ...]
    test_counts: tuple[NonNegativeInt, ...]

    @model_validator(mode="before")
    @classmethod
    def _channels_height_and_width_are_a_shape(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "channels" not in values:
            return values
        others = {name: value for name, value in values.items() if name not in ("channels", "height", "width")}
        return {**others, "shape": (values["channels"], values["height"], values["width"])}

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
