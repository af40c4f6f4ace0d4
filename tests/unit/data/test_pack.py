import io

import numpy as np
import pytest
import torch
from PIL import Image
from reference.data import png, write_folder
from safetensors.torch import load

from lossmap.components.config.data import Blobs, Data
from lossmap.components.core.errors import StoreError
from lossmap.components.data import pack
from lossmap.components.data.batches import load_images
from lossmap.components.data.choose import balanced_choice
from lossmap.components.data.sources import load_source
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import load_manifest

BLOBS = Data(source="blobs", blobs=Blobs(classes=3, train_per_class=20, test_per_class=7, image_size=5))


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(pack, "SHARD_IMAGES", 25)


def _times(store):
    return {path: path.stat().st_mtime_ns for path in store.folder.rglob("*") if path.is_file()}


def test_what_is_packed_is_loaded(store, small_shards):
    source, manifest = load_source(BLOBS, lambda _done, _total: None), pack.prepare(BLOBS, store)
    assert [shard.count for shard in manifest.train] == [25, 25, 10]
    assert [shard.count for shard in manifest.test] == [21]
    for split in ("train", "test"):
        images = load_images(store, manifest, split)
        np.testing.assert_array_equal(images.pixels.numpy(), source.splits[split].pixels)
        np.testing.assert_array_equal(images.labels.numpy(), source.splits[split].labels)
        assert (images.pixels.dtype, images.labels.dtype) == (torch.uint8, torch.int64)
        assert len(images) == manifest.count(split)


def test_packing_again_writes_nothing(store):
    first, times = pack.prepare(BLOBS, store), _times(store)
    assert pack.prepare(BLOBS, store) == first
    assert _times(store) == times


def test_two_stores_get_the_same_bytes(store, tmp_path):
    other = open_store(str(tmp_path / "other"))
    assert pack.prepare(BLOBS, store) == pack.prepare(BLOBS, other)
    assert [(key, store.read(key)) for key in store.keys("")] == [
        (key, other.read(key)) for key in other.keys("")
    ]


@pytest.mark.parametrize("change", [{"seed": 1}, {"limit": 59}, {"test_limit": 20}])
def test_other_images_have_another_digest(store, change):
    assert pack.prepare(BLOBS.model_copy(update=change), store).digest != pack.prepare(BLOBS, store).digest


def test_other_class_names_have_another_digest(store, tmp_path):
    digests = set()
    for label in ("cat", "dog"):
        names = [f"{split}/{other}/0.png" for split in ("train", "test") for other in (label, "zebra")]
        folder = write_folder(tmp_path / label, {name: png(np.zeros((2, 2), np.uint8)) for name in names})
        digests.add(pack.prepare(Data(source=str(folder)), store).digest)
    assert len(digests) == 2


def test_the_manifest_is_read_as_it_was_written(store):
    manifest = pack.prepare(BLOBS, store)
    assert load_manifest(store, manifest.digest) == manifest


def test_a_damaged_manifest_is_one_line_and_packing_again_mends_it(store):
    manifest = pack.prepare(BLOBS, store)
    key = layout.dataset(manifest.digest)
    store.write(key, store.read(key)[:100])
    with pytest.raises(StoreError) as caught:
        load_manifest(store, manifest.digest)
    assert (
        str(caught.value)
        == f"{store.uri}/{key} is damaged: it is no JSON; `lossmap run --resume RUN` makes it again"
    )
    pack.prepare(BLOBS, store)
    assert load_manifest(store, manifest.digest) == manifest


def test_the_manifest_counts_what_is_there(store):
    manifest = pack.prepare(BLOBS.model_copy(update={"limit": 31}), store)
    assert (manifest.channels, manifest.height, manifest.width) == (1, 5, 5)
    assert manifest.classes == ("blob-0", "blob-1", "blob-2")
    assert (manifest.count("train"), manifest.count("test")) == (31, 21)
    train, test = (load_images(store, manifest, split).labels.bincount() for split in ("train", "test"))
    assert sorted(train.tolist()) == [10, 10, 11]
    assert test.tolist() == [7, 7, 7]


def test_mean_and_deviation_are_those_of_the_training_images_in_float64(store, tmp_path):
    random = np.random.default_rng(0)
    names = [
        f"{split}/{label}/{index}.png" for split in ("train", "test") for label in "ab" for index in range(9)
    ]
    images = {name: (random.random((7, 7, 3)) * [256, 40, 9]).astype(np.uint8) for name in names}
    manifest = pack.prepare(
        Data(source=str(write_folder(tmp_path / "x", {name: png(image) for name, image in images.items()}))),
        store,
    )
    train = (
        np.stack([image for name, image in images.items() if name.startswith("train")]).astype(np.float64)
        / 255
    )
    # sums of 882 numbers in float64: 1e-16 each, and far below one grey level of 4e-3
    np.testing.assert_allclose(manifest.mean, train.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(manifest.deviation, train.std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_channel_without_contrast_has_the_deviation_of_one_grey_level(store, tmp_path):
    names = [f"{split}/{label}/0.png" for split in ("train", "test") for label in "ab"]
    image = np.dstack([np.full((2, 2), 7), np.arange(4).reshape(2, 2) * 50, np.zeros((2, 2))]).astype(
        np.uint8
    )
    manifest = pack.prepare(
        Data(source=str(write_folder(tmp_path / "x", {name: png(image) for name in names}))), store
    )
    assert manifest.deviation[0] == manifest.deviation[2] == 1 / 255
    assert manifest.deviation[1] > 0.1
    assert manifest.mean[0] == pytest.approx(7 / 255, rel=1e-12)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:100],
        lambda content: b"",
    ],
)
def test_a_damaged_shard_is_refused_and_preparing_again_mends_it(store, damage):
    manifest = pack.prepare(BLOBS, store)
    key = manifest.train[0].key
    whole = store.read(key)
    store.write(key, damage(whole))
    with pytest.raises(StoreError) as caught:
        load_images(store, manifest, "train")
    assert (
        str(caught.value)
        == f"{store.uri}/{key} is damaged: its SHA-256 differs from the manifest's; `lossmap run --resume"
        " RUN` packs it again"
    )
    assert pack.prepare(BLOBS, store) == manifest
    assert store.read(key) == whole


def test_a_missing_shard_is_named(store):
    manifest = pack.prepare(BLOBS, store)
    store.delete(manifest.test[0].key)
    with pytest.raises(StoreError) as caught:
        load_images(store, manifest, "test")
    assert str(caught.value) == f"{store.uri} has no object {manifest.test[0].key}"


def test_the_manifest_is_written_after_the_shards_that_it_names(store, monkeypatch):
    written = []
    write = store.write
    monkeypatch.setattr(store, "write", lambda key, content: (written.append(key), write(key, content)))
    manifest = pack.prepare(BLOBS, store)
    assert written == [manifest.train[0].key, manifest.test[0].key, layout.dataset(manifest.digest)]


def test_shards_are_safetensors_with_images_and_labels(store):
    tensors = load(store.read(pack.prepare(BLOBS, store).test[0].key))
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()} == {
        "images": (torch.uint8, (21, 1, 5, 5)),
        "labels": (torch.int64, (21,)),
    }


def test_packing_says_how_far_it_is(store, tmp_path):
    file = io.BytesIO()
    Image.new("L", (3, 3)).save(file, "JPEG")
    names = [
        f"{split}/{label}/{index}.jpg"
        for split in ("train", "test")
        for label in "ab"
        for index in range(150)
    ]
    said = []
    folder = write_folder(tmp_path / "x", dict.fromkeys(names, file.getvalue()))
    pack.prepare(Data(source=str(folder)), store, lambda done, total: said.append((done, total)))
    assert said == [(500, 600), (600, 600)]


def test_images_go_to_s3_and_come_back(s3):
    store = open_store(s3)
    manifest = pack.prepare(BLOBS, store)
    np.testing.assert_array_equal(
        load_images(store, manifest, "train").pixels,
        load_source(BLOBS, lambda _done, _total: None).splits["train"].pixels,
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 14, 33, 34, 35])
def test_a_limit_takes_as_many_of_each_class_as_there_are(limit):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [2, 5, 8, 20]))
    chosen = balanced_choice(labels, limit, 0, "train")
    counts = np.bincount(labels[chosen], minlength=4)
    assert (len(set(chosen.tolist())), counts.sum()) == (limit, limit)
    assert chosen.tolist() == sorted(chosen.tolist())
    for label, available in enumerate([2, 5, 8, 20]):
        assert counts[label] == available or counts[label] >= counts.max() - 1


def test_a_limit_is_drawn_by_its_seed_and_its_split():
    labels = np.repeat(np.arange(4), 50)
    first = balanced_choice(labels, 40, 0, "train").tolist()
    assert balanced_choice(labels, 40, 0, "train").tolist() == first
    assert balanced_choice(labels, 40, 1, "train").tolist() != first
    assert balanced_choice(labels, 40, 0, "test").tolist() != first


@pytest.mark.parametrize("limit", [None, 200, 201])
def test_without_a_limit_that_matters_all_are_kept(limit):
    assert balanced_choice(np.repeat(np.arange(4), 50), limit, 0, "train").tolist() == list(range(200))
