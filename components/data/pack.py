"""Packs a data set as shards with a manifest. The same samples give the same digest, wherever they came
from.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from lossmap.components.config.data import TASKS, Data
from lossmap.components.config.manifest import Manifest, Shard, Split
from lossmap.components.core.errors import DataError, StoreError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.data.labelled import Labelled, Source
from lossmap.components.data.sources import Count, load_source
from lossmap.components.data.statistics import Statistics, channel_statistics
from lossmap.components.data.tasks import LoadedTask, load_tasks, packed_task, rows
from lossmap.components.data.tensor_files import is_tensor_folder
from lossmap.components.data.tensor_images import are_images, as_images
from lossmap.components.data.tensors import TensorSource, load_tensors
from lossmap.components.stores import layout
from lossmap.components.stores.documents import write_document
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import load_manifest

SHARD_IMAGES = 10_000  # at most, and fewer where they are more than
SHARD_IMAGE_BYTES = 256 * 2**20
SHARD_BYTES = 32 * 2**20  # of tensors


@dataclass(frozen=True)
class Parts:
    """What the shards of a split hold: tensors by name, so many samples in each shard. Every walk through
    them makes the contents anew, so that one at a time is in memory.
    """

    tensors: Mapping[str, Tensor]
    size: int

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        count = len(next(iter(self.tensors.values())))
        for start in range(0, count, self.size):
            part = {name: tensor[start : start + self.size] for name, tensor in self.tensors.items()}
            yield min(self.size, count - start), save({name: _whole(tensor) for name, tensor in part.items()})


Contents = dict[Split, Parts]


def prepare(data: Data, store: Store, progress: Count = lambda _done, _total: None) -> Manifest:
    """Read, check and pack the data set; what the store already holds undamaged is not written again.

    Args:
        data: what to read.
        store: gets the shards, and the manifest after them.
        progress: called with (done, total) while images are decoded.
    """
    if data.source == TASKS:
        return pack_tasks(load_tasks(data, progress), store)
    if not data.holds_tensors and not is_tensor_folder(data.source):
        return _pack_images(data, load_source(data, progress), store)
    tensors = load_tensors(data)
    if are_images(tensors, data):
        return _pack_images(data, as_images(tensors, data), store)
    return pack_tensors(data.source, tensors, store)


def _pack_images(data: Data, source: Source, store: Store) -> Manifest:
    contents = {split: _image_parts(images) for split, images in source.splits.items()}
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
    contents = {split: _tensor_parts(*pair) for split, pair in source.splits.items()}
    named = {"classes": source.names} if source.names else {}
    digest = _sha256(canonical_json({"kind": "tensors", **named, **_digests(contents)}).encode())
    shards = {split: _write(store, digest, split, parts) for split, parts in contents.items()}
    manifest = Manifest(
        digest=digest,
        source=name,
        kind="tensors",
        classes=source.classes,
        shape=tuple(source.splits["train"][0].shape[1:]),
        mean=(),
        deviation=(),
        train=shards["train"],
        test=shards["test"],
        notes=source.notes,
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
    contents = {split: _tensor_parts(*pair) for split, pair in pairs.items()}
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
    """Whether the store holds the manifest and every shard, undamaged."""
    return _is_described(store, manifest) and all(
        store.exists(shard.key) and _sha256(store.read(shard.key)) == shard.sha256
        for shard in (*manifest.train, *manifest.test)
    )


def _image_parts(images: Labelled) -> Parts:
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    bytes_each = pixels.nbytes // max(1, len(pixels))
    size = max(1, min(SHARD_IMAGES, SHARD_IMAGE_BYTES // max(1, bytes_each)))
    return Parts({"images": pixels, "labels": labels}, size)


def _tensor_parts(inputs: Tensor, targets: Tensor) -> Parts:
    size = max(1, SHARD_BYTES * max(1, len(inputs)) // max(1, inputs.nbytes + targets.nbytes))
    return Parts({"inputs": inputs, "targets": targets}, size)


def _whole(part: Tensor) -> Tensor:
    """For itself, without what lies around it in memory."""
    return part.clone(memory_format=torch.contiguous_format)


def _digest(source: Source, contents: Contents, data: Data) -> str:
    stated = {"mean": data.mean, "deviation": data.deviation} if data.mean else {}
    return _sha256(canonical_json({"classes": source.classes, **_digests(contents), **stated}).encode())


def _digests(contents: Contents) -> dict[Split, list[str]]:
    return {split: [_sha256(content) for _, content in parts] for split, parts in contents.items()}


def _write(store: Store, digest: str, split: Split, parts: Parts) -> tuple[Shard, ...]:
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
        class_order=source.class_order,
        passed_over=source.passed_over or {},
        notes=source.notes,
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
    if not (store.exists(layout.dataset(manifest.digest)) and _is_described(store, manifest)):
        write_document(store, layout.dataset(manifest.digest), manifest)
    return manifest


def _is_described(store: Store, manifest: Manifest) -> bool:
    """Whether the manifest lies beside the shards, undamaged."""
    try:
        return load_manifest(store, manifest.digest) == manifest
    except StoreError:
        return False


def _write_if_changed(store: Store, key: str, content: bytes) -> None:
    if not (store.exists(key) and store.read(key) == content):
        store.write(key, content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
