"""Packs a data set as uint8 shards with a manifest. The same images give the same digest, wherever they came from."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from lossmap.components.config.errors import DataError
from lossmap.components.config.experiment import Data, canonical_json
from lossmap.components.config.manifest import Manifest, Shard, Split
from lossmap.components.data.sources import Count, Labelled, Source, load_source
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store

SHARD_IMAGES = 10_000
_LEAST_DEVIATION = 1 / 255  # of a channel that is the same everywhere: one grey level, so that it can be divided by


def prepare(data: Data, store: Store, progress: Count = lambda _done, _total: None) -> Manifest:
    """Read, check and pack the data set; what the store already holds undamaged is not written again.

    Args:
        data: what to read.
        store: gets the shards, and the manifest after them.
        progress: called with (done, total) while images are decoded.
    """
    source = load_source(data, progress)
    contents = {split: _shards(images) for split, images in source.splits.items()}
    digest = _digest(source, contents)
    shards = {split: _write(store, digest, split, parts) for split, parts in contents.items()}
    manifest = _manifest(data, source, digest, shards)
    _write_if_changed(store, layout.dataset(digest), manifest.model_dump_json().encode())
    return manifest


def is_whole(store: Store, manifest: Manifest) -> bool:
    """Whether the store holds every shard, undamaged."""
    return all(store.exists(shard.key) and _sha256(store.read(shard.key)) == shard.sha256 for shard in (*manifest.train, *manifest.test))


def _shards(images: Labelled) -> list[tuple[int, bytes]]:
    """Count and content of each shard."""
    parts = []
    for start in range(0, len(images.labels), SHARD_IMAGES):
        pixels, labels = images.pixels[start : start + SHARD_IMAGES], images.labels[start : start + SHARD_IMAGES]
        tensors = {"images": torch.from_numpy(np.ascontiguousarray(pixels)), "labels": torch.from_numpy(labels)}
        parts.append((len(labels), save(tensors)))
    return parts


def _digest(source: Source, contents: dict[Split, list[tuple[int, bytes]]]) -> str:
    parts = {split: [_sha256(content) for _, content in shards] for split, shards in contents.items()}
    return _sha256(canonical_json({"classes": source.classes, **parts}).encode())


def _write(store: Store, digest: str, split: Split, parts: list[tuple[int, bytes]]) -> tuple[Shard, ...]:
    shards = []
    for index, (count, content) in enumerate(parts):
        key = layout.dataset_shard(digest, split, index)
        _write_if_changed(store, key, content)
        shards.append(Shard(key=key, sha256=_sha256(content), count=count))
    return tuple(shards)


def _manifest(data: Data, source: Source, digest: str, shards: dict[Split, tuple[Shard, ...]]) -> Manifest:
    train = source.splits["train"].pixels
    if len(train) == 0:
        raise DataError(f"{data.source} has no training images")
    mean, deviation = _channel_statistics(train)
    counts = {split: np.bincount(images.labels, minlength=len(source.classes)).tolist() for split, images in source.splits.items()}
    return Manifest(
        digest=digest,
        source=data.source,
        classes=source.classes,
        shape=train.shape[1:],
        mean=tuple(mean.tolist()),
        deviation=tuple(np.maximum(deviation, _LEAST_DEVIATION).tolist()),
        train=shards["train"],
        test=shards["test"],
        train_counts=tuple(counts["train"]),
        test_counts=tuple(counts["test"]),
    )


def _channel_statistics(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation by channel of pixels / 255, exactly, from the counts of the 256 levels."""
    parts = [pixels[start : start + SHARD_IMAGES] for start in range(0, len(pixels), SHARD_IMAGES)]  # bincount makes eight bytes of each pixel
    counts = np.stack([sum(np.bincount(part[:, channel].ravel(), minlength=256) for part in parts) for channel in range(pixels.shape[1])])
    levels = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    return mean, np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total)


def _write_if_changed(store: Store, key: str, content: bytes) -> None:
    if not (store.exists(key) and store.read(key) == content):
        store.write(key, content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
