"""Packed images in memory, and batches of them: which images, in which order, changed how."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from lossmap.components.config.manifest import Manifest, Shard, Split
from lossmap.components.config.training import Augmentation
from lossmap.components.core.errors import StoreError
from lossmap.components.core.randomness import stream
from lossmap.components.data.space import room
from lossmap.components.stores.objects import Store

Packed = tuple[Tensor, Tensor]  # inputs and targets as they were packed: images are uint8 pixels


@dataclass(frozen=True)
class Images:
    """A split in memory, as it was packed: `pixels` uint8 N x C x H x W, or the float32 rows of several
    tasks; `labels` int64 N.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Images":
        """The same images on another device."""
        return Images(self.pixels.to(device), self.labels.to(device))


def load_images(store: Store, manifest: Manifest, split: Split) -> Images:
    """A split of a packed data set that a network is trained on; every shard is checked against the
    manifest's SHA-256.
    """
    return Images(*load_packed(store, manifest, split))


def load_packed(store: Store, manifest: Manifest, split: Split) -> Packed:
    """Inputs and targets of a split. The first dimension of both is the sample."""
    inputs, targets = ("images", "labels") if manifest.kind == "images" else ("inputs", "targets")
    shards = (_load_shard(store, shard) for shard in manifest.shards(split))
    whole = _joined(((shard[inputs], shard[targets]) for shard in shards), manifest.count(split))
    return whole[0], whole[1]


def as_inputs(packed: Tensor, manifest: Manifest) -> Tensor:
    """What a network gets: images normalised, float32; tensors and the rows of tasks as they are."""
    return normalize(packed, manifest) if manifest.kind == "images" else packed


def normalize(pixels: Tensor, manifest: Manifest, dtype: torch.dtype = torch.float32) -> Tensor:
    """(pixels / 255 - mean) / deviation, by channel, of the manifest's mean and deviation."""
    mean, deviation = (
        torch.tensor(values, dtype=dtype, device=pixels.device).view(-1, 1, 1)
        for values in (manifest.mean, manifest.deviation)
    )
    return (pixels.to(dtype) / 255 - mean) / deviation


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the training images in an epoch, the same on every rank."""
    return torch.from_numpy(stream("order", seed, epoch).permutation(count))


def rank_share(batch: Tensor, rank: int, world: int) -> Tensor:
    """This rank's part of a global batch, whose length is a multiple of the number of ranks."""
    share = len(batch) // world
    return batch[rank * share : (rank + 1) * share]


def evaluation_share(count: int, rank: int, world: int) -> Tensor:
    """Indices of every world-th image: all ranks together have each exactly once."""
    return torch.arange(count)[rank::world]


def sample_indices(count: int, samples: int, seed: int) -> Tensor:
    """Indices of `samples` images drawn without replacement, rising; all of them where there are no more."""
    return torch.from_numpy(np.sort(stream("samples", seed).permutation(count)[:samples]))


def augment(
    pixels: Tensor, augmentation: Augmentation, manifest: Manifest, generator: np.random.Generator
) -> Tensor:
    """Crop and mirror each image at random, all at once.

    Args:
        pixels: uint8 N x C x H x W.
        augmentation: padding of the crop, whether to mirror.
        manifest: its channel means fill the border, which is zero after normalisation, as in He et al. 2016.
        generator: two offsets and one coin for each image are drawn from it.

    Returns:
        uint8, of the same shape.
    """
    count, _, height, width = pixels.shape
    padding = augmentation.crop_padding
    rows, columns = (
        torch.from_numpy(generator.integers(0, 2 * padding + 1, count)).to(pixels.device) for _ in range(2)
    )
    mirrored = torch.from_numpy(generator.random(count) < 0.5).to(pixels.device) & augmentation.flip
    if not padding and not augmentation.flip:
        return pixels
    row_index = rows[:, None] + torch.arange(height, device=pixels.device)
    column_index = torch.arange(width, device=pixels.device).expand(count, width)
    column_index = columns[:, None] + torch.where(mirrored[:, None], width - 1 - column_index, column_index)
    # Pixels last: one index then moves whole pixels, which is several times faster than an index for each
    # channel.
    padded = _padded(pixels, padding, manifest).permute(0, 2, 3, 1).contiguous()
    images = torch.arange(count, device=pixels.device)[:, None, None]
    return padded[images, row_index[:, :, None], column_index[:, None, :]].permute(0, 3, 1, 2)


def _padded(pixels: Tensor, padding: int, manifest: Manifest) -> Tensor:
    count, channels, height, width = pixels.shape
    mean = (torch.tensor(manifest.mean) * 255).round().to(torch.uint8).to(pixels.device)
    padded = mean.view(1, channels, 1, 1).repeat(count, 1, height + 2 * padding, width + 2 * padding)
    padded[:, :, padding : padding + height, padding : padding + width] = pixels
    return padded


def _joined(shards: Iterable[tuple[Tensor, ...]], count: int) -> tuple[Tensor, ...]:
    """Tensors one behind the other, of which one shard at a time is in memory beside the whole."""
    start, wholes = 0, list[Tensor]()
    for parts in shards:
        if len(parts[0]) == count:
            return parts
        wholes = wholes or [_room_for(part, count) for part in parts]
        for whole, part in zip(wholes, parts, strict=True):
            whole[start : start + len(part)] = part
        start += len(parts[0])
    return tuple(wholes)


def _room_for(part: Tensor, count: int) -> Tensor:
    """For that many samples like those of a part."""
    size = part[:1].nbytes * count
    return torch.from_numpy(room((size,))).view(part.dtype).view(count, *part.shape[1:])


def _load_shard(store: Store, shard: Shard) -> dict[str, Tensor]:
    content = store.read(shard.key)
    if hashlib.sha256(content).hexdigest() != shard.sha256:
        raise StoreError(
            f"{store.uri}/{shard.key} is damaged: its SHA-256 differs from the manifest's; `lossmap run"
            " --resume RUN` packs it again"
        )
    return load(content)
