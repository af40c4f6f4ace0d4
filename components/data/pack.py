"""Packs a data set as shards with a manifest. The same samples give the same digest, wherever they came
from.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from lossmap.components.config.data import TASKS, Data
from lossmap.components.config.manifest import Manifest, Shard, Split
from lossmap.components.core.errors import DataError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.data.sources import Count, Labelled, Source, load_source
from lossmap.components.data.statistics import Statistics, channel_statistics
from lossmap.components.data.tasks import LoadedTask, load_tasks, packed_task, rows
from lossmap.components.data.tensors import TensorSource, load_tensors
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store

SHARD_IMAGES = 10_000
SHARD_BYTES = 32 * 2**20  # of tensors
Contents = dict[Split, list[tuple[int, bytes]]]


def prepare(data: Data, store: Store, progress: Count = lambda _done, _total: None) -> Manifest:
    """Read, check and pack the data set; what the store already holds undamaged is not written again.

    Args:
        data: what to read.
        store: gets the shards, and the manifest after them.
        progress: called with (done, total) while images are decoded.
    """
    if data.holds_tensors:
        return pack_tensors(data.source, load_tensors(data), store)
    if data.source == TASKS:
        return pack_tasks(load_tasks(data, progress), store)
    source = load_source(data, progress)
    contents = {split: _shards(images) for split, images in source.splits.items()}
    digest = _digest(source, contents, data)
    shards = {split: _write(store, digest, split, parts) for split, parts in contents.items()}
    return _keep(store, _manifest(data, source, digest, shards))


def pack_tensors(name: str, source: TensorSource, store: Store) -> Manifest:
    """Pack inputs and targets of any type and shape.

    Args:
        name: where they came from, for people.
        source: the tensors.
        store: gets the shards, and the manifest after them.
    """
    contents = {split: _tensor_shards(*pair) for split, pair in source.splits.items()}
    digest = _sha256(canonical_json({"kind": "tensors", **_digests(contents)}).encode())
    shards = {split: _write(store, digest, split, parts) for split, parts in contents.items()}
    manifest = Manifest(
        digest=digest,
        source=name,
        kind="tensors",
        classes=tuple(str(label) for label in range(source.classes)),
        shape=tuple(source.splits["train"][0].shape[1:]),
        mean=(),
        deviation=(),
        train=shards["train"],
        test=shards["test"],
    )
    return _keep(store, manifest)


def pack_tasks(loaded: Sequence[LoadedTask], store: Store) -> Manifest:
    """Pack several tasks as one data set of rows (see PackedTask); targets are classes within their tasks.

    Args:
        loaded: the tasks, in the order of their numbers.
        store: gets the shards, and the manifest after them.
    """
    splits: tuple[Split, ...] = ("train", "test")
    pairs = {split: rows(loaded, split) for split in splits}
    contents = {split: _tensor_shards(*pair) for split, pair in pairs.items()}
    tasks = tuple(packed_task(task) for task in loaded)
    described = [task.model_dump(mode="json") for task in tasks]
    digest = _sha256(canonical_json({"kind": "tasks", "tasks": described, **_digests(contents)}).encode())
    shards = {split: _write(store, digest, split, parts) for split, parts in contents.items()}
    manifest = Manifest(
        digest=digest,
        source=TASKS,
        kind="tasks",
        classes=(),
        shape=tuple(pairs["train"][0].shape[1:]),
        mean=(),
        deviation=(),
        train=shards["train"],
        test=shards["test"],
        tasks=tasks,
    )
    return _keep(store, manifest)


def is_whole(store: Store, manifest: Manifest) -> bool:
    """Whether the store holds every shard, undamaged."""
    return all(
        store.exists(shard.key) and _sha256(store.read(shard.key)) == shard.sha256
        for shard in (*manifest.train, *manifest.test)
    )


def _shards(images: Labelled) -> list[tuple[int, bytes]]:
    """Count and content of each shard."""
    parts = []
    for start in range(0, len(images.labels), SHARD_IMAGES):
        pixels, labels = (
            images.pixels[start : start + SHARD_IMAGES],
            images.labels[start : start + SHARD_IMAGES],
        )
        tensors = {
            "images": torch.from_numpy(np.ascontiguousarray(pixels)),
            "labels": torch.from_numpy(labels),
        }
        parts.append((len(labels), save(tensors)))
    return parts


def _tensor_shards(inputs: Tensor, targets: Tensor) -> list[tuple[int, bytes]]:
    """Count and content of each shard."""
    size = max(1, SHARD_BYTES * max(1, len(inputs)) // max(1, inputs.nbytes + targets.nbytes))
    pairs = zip(inputs.split(size), targets.split(size), strict=True)
    return [
        (len(part), save({"inputs": part.clone(), "targets": aims.clone()}))
        for part, aims in pairs
        if len(part)
    ]


def _digest(source: Source, contents: Contents, data: Data) -> str:
    stated = {"mean": data.mean, "deviation": data.deviation} if data.mean else {}
    return _sha256(canonical_json({"classes": source.classes, **_digests(contents), **stated}).encode())


def _digests(contents: Contents) -> dict[Split, list[str]]:
    return {split: [_sha256(content) for _, content in shards] for split, shards in contents.items()}


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
    mean, deviation = _stated_statistics(data, train.shape[1]) or channel_statistics(train)
    return Manifest(
        digest=digest,
        source=data.source,
        classes=source.classes,
        shape=train.shape[1:],
        mean=mean,
        deviation=deviation,
        train=shards["train"],
        test=shards["test"],
    )


def _stated_statistics(data: Data, channels: int) -> Statistics | None:
    if data.mean is None or data.deviation is None:
        return None
    if len(data.mean) != channels:
        raise DataError(
            f"data.mean has {len(data.mean)} numbers and the images of {data.source} {channels} channels,"
            " expected one number for each"
        )
    return data.mean, data.deviation


def _keep(store: Store, manifest: Manifest) -> Manifest:
    _write_if_changed(store, layout.dataset(manifest.digest), manifest.model_dump_json().encode())
    return manifest


def _write_if_changed(store: Store, key: str, content: bytes) -> None:
    if not (store.exists(key) and store.read(key) == content):
        store.write(key, content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
