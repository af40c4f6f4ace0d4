import io
import json

import numpy as np
import pytest
import torch
from reference.data import load_samples, png, write_folder
from safetensors.torch import save

from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.manifest import Manifest
from lossmap.components.core.errors import DataError
from lossmap.components.data import pack
from lossmap.components.data.batches import load_packed
from lossmap.components.data.decode import decode, resize_all
from lossmap.components.data.sources import load_source
from lossmap.components.data.tensors import load_tensors, tensor_source
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import load_manifest

BLOBS = Data(source="blobs", blobs=Blobs(classes=3, train_per_class=20, test_per_class=7, image_size=5))
TOKENS = {"inputs": np.arange(60).reshape(10, 6), "targets": np.arange(60).reshape(10, 6)[:, ::-1] % 50}


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def written(tmp_path):
    """Writes arrays as .npz and names the source."""

    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


def _refused(source, **settings):
    with pytest.raises(DataError) as refused:
        load_tensors(Data(source=source, **settings))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("inputs", "targets", "classes"),
    [
        (TOKENS["inputs"], TOKENS["targets"], 50),
        (np.linspace(0, 1, 30).reshape(10, 3), np.linspace(0, 1, 10), 0),
        (np.linspace(0, 1, 30, dtype=np.float32).reshape(10, 3), np.arange(10, dtype=np.int32) % 3, 3),
        (np.zeros((10, 2, 3, 4, 5), np.uint8), np.arange(10) - 1, 0),
        (np.zeros((10, 0)), np.ones((10, 2), bool), 2),
    ],
)
def test_tensors_of_any_type_and_shape_are_packed_and_come_back(inputs, targets, classes, store, written):
    manifest = pack.prepare(Data(source=written(inputs=inputs, targets=targets)), store)
    found, aims = load_samples(store, manifest, "train", torch.tensor([7, 2]))
    assert found.numpy().tobytes() == np.ascontiguousarray(inputs)[[7, 2]].tobytes()
    assert found.dtype == torch.from_numpy(np.zeros(0, inputs.dtype)).dtype
    np.testing.assert_array_equal(aims, targets[[7, 2]])
    assert aims.dtype == (torch.float64 if targets.dtype == np.float64 else torch.int64)
    assert (manifest.kind, manifest.shape, len(manifest.classes), manifest.count("train")) == (
        "tensors",
        inputs.shape[1:],
        classes,
        10,
    )
    assert load_manifest(store, manifest.digest) == manifest


def test_safetensors_and_npz_of_the_same_tensors_are_the_same_data_set(store, written, tmp_path):
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in TOKENS.items()}
    (tmp_path / "data.safetensors").write_bytes(save(tensors))
    assert (
        pack.prepare(Data(source=str(tmp_path / "data.safetensors")), store).digest
        == pack.prepare(Data(source=written(**TOKENS)), store).digest
    )


def test_many_samples_become_several_shards(store, written, monkeypatch):
    monkeypatch.setattr(pack, "SHARD_BYTES", 300)
    source = written(**TOKENS)
    manifest = pack.prepare(Data(source=source), store)
    assert [shard.count for shard in manifest.train] == [3, 3, 3, 1]
    np.testing.assert_array_equal(load_packed(store, manifest, "train")[0], TOKENS["inputs"])
    assert pack.is_whole(store, manifest)


def test_a_test_split_is_there_or_not(store, written):
    split = {f"test_{name}": array[:4] for name, array in TOKENS.items()}
    manifest = pack.prepare(Data(source=written(**TOKENS, **split)), store)
    assert (manifest.count("train"), manifest.count("test")) == (10, 4)
    without = pack.prepare(Data(source=written(**TOKENS)), store)
    assert (without.count("test"), without.test) == (0, ())


def test_a_limit_keeps_classes_even_and_anything_else_at_random(written):
    labels = np.repeat([0, 1, 2], [30, 5, 5])
    source = written(inputs=np.arange(40), targets=labels)
    inputs, targets = load_tensors(Data(source=source, limit=12)).splits["train"]
    assert np.bincount(targets).tolist() == [4, 4, 4]
    np.testing.assert_array_equal(targets, labels[inputs])
    source = written(inputs=np.arange(40), targets=np.arange(40.0))
    first, other = (load_tensors(Data(source=source, limit=12, seed=seed)).splits["train"] for seed in (0, 1))
    assert (len(first[0]), first[0].tolist()) == (12, sorted(first[1].tolist()))
    assert first[0].tolist() != other[0].tolist()


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        (
            {"inputs": [1]},
            "{source} holds inputs, expected inputs and targets, and perhaps test_inputs and test_targets",
        ),
        (
            {"x": [1], "targets": [1]},
            (
                "{source} holds targets, x, expected inputs and targets, and perhaps test_inputs and"
                " test_targets"
            ),
        ),
        (
            {"inputs": [1], "targets": [1], "test_inputs": [1]},
            (
                "{source} holds inputs, targets, test_inputs, expected inputs and targets, and perhaps"
                " test_inputs and test_targets"
            ),
        ),
        (
            {"inputs": [[1, 2]], "targets": [1, 2]},
            (
                "{source} has inputs (1, 2) and targets (2,), expected as many targets as inputs: the first"
                " dimension of both is the sample"
            ),
        ),
        (
            {"inputs": [], "targets": []},
            "{source} has inputs (0,) and targets (0,), expected at least one sample",
        ),
        (
            {"inputs": [[1]], "targets": [1], "test_inputs": [[1, 2]], "test_targets": [1]},
            (
                "{source} has inputs of (1,) int64 each and test_inputs of (2,) int64, expected one shape and"
                " one type"
            ),
        ),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(arrays, line, written):
    source = written(**{name: np.array(values) for name, values in arrays.items()})
    assert _refused(source) == line.format(source=source)


def test_objects_damaged_and_missing_files_are_refused(written, tmp_path):
    source = written(inputs=np.array([{}, 1], dtype=object), targets=np.zeros(2))
    assert _refused(source).startswith(
        f"{source} cannot be read as tensors: ValueError: Object arrays cannot be loaded"
    )
    for name in ("damaged.npz", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing of the kind")
        assert _refused(str(tmp_path / name)).startswith(f"{tmp_path / name} ")
    assert (
        _refused(str(tmp_path / "no.npz"))
        == f"data.source is '{tmp_path / 'no.npz'}', which cannot be read: No such file or directory"
    )
    assert _refused(written(**TOKENS), image_size=3).endswith(
        "data.image_size, data.mean and data.deviation are for images"
    )


def test_tensors_come_from_s3(s3, store, tmp_path):
    file = io.BytesIO()
    np.savez(file, **TOKENS)
    open_store(s3).write("a/data.npz", file.getvalue())
    (tmp_path / "data.npz").write_bytes(file.getvalue())
    assert (
        pack.prepare(Data(source=f"{s3}/a/data.npz"), store).digest
        == pack.prepare(Data(source=str(tmp_path / "data.npz")), store).digest
    )


def test_digests_of_images_are_those_of_lossmap_0_1(store):
    # computed by commit c9fae92, before there were tensors
    assert (
        pack.prepare(BLOBS, store).digest
        == "4ede25f264a37dae91c189da04bbdf7a02bd1213ba4bb8a77a4c5f521c11b186"
    )
    assert (
        pack.prepare(Data(source="digits"), store).digest
        == "9a0ef8772fea7105da351f9c7308241c95deee105b0a8cba8f97ce78b6667d6c"
    )


def test_a_manifest_with_fields_of_an_earlier_lossmap_is_read(store):
    manifest = pack.prepare(BLOBS, store)
    earlier = {**json.loads(manifest.model_dump_json()), "train_counts": [15, 15, 15]}
    assert Manifest.model_validate_json(json.dumps(earlier)) == manifest
    assert (manifest.channels, manifest.height, manifest.width) == (1, 5, 5)


def test_a_stated_mean_and_deviation_replace_the_measured_ones(store):
    stated = BLOBS.model_copy(update={"mean": (0.25,), "deviation": (0.5,)})
    manifest = pack.prepare(stated, store)
    pixels, labels = load_packed(store, manifest, "test")
    inputs, targets = load_samples(store, manifest, "test", torch.arange(21))
    # one rounding of float32 for each of the three operations
    np.testing.assert_allclose(inputs.double(), (pixels.double() / 255 - 0.25) / 0.5, rtol=0, atol=4e-7)
    assert torch.equal(targets, labels)
    measured = pack.prepare(BLOBS, store)
    assert manifest.digest != measured.digest
    assert load_manifest(store, measured.digest).mean != manifest.mean


def test_a_mean_for_other_channels_is_refused(store):
    with pytest.raises(DataError) as refused:
        pack.prepare(BLOBS.model_copy(update={"mean": (0.5,) * 3, "deviation": (0.5,) * 3}), store)
    assert (
        str(refused.value)
        == "data.mean has 3 numbers and the images of blobs 1 channels, expected one number for each"
    )


def test_mean_and_deviation_come_together():
    with pytest.raises(ValueError, match="expected one number for each channel in both, or neither"):
        Data(mean=(0.5,))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_in_memory_are_resized_as_files_are(channels, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, channels, 5, 5), dtype=np.uint8)
    files = [png(image[0] if channels == 1 else image.transpose(1, 2, 0)) for image in pixels]
    expected = np.stack([decode(file, "x", 9) for file in files]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(resize_all(pixels, 9), expected)


def test_named_data_sets_are_resized_too():
    source = load_source(BLOBS.model_copy(update={"image_size": 12}), lambda _done, _total: None)
    assert {split: labelled.pixels.shape for split, labelled in source.splits.items()} == {
        "train": (60, 1, 12, 12),
        "test": (21, 1, 12, 12),
    }


def test_load_samples_takes_images_in_the_order_that_is_asked_for(store, tmp_path):
    names = [
        f"{split}/{label}/{index}.png" for split in ("train", "test") for label in "ab" for index in range(3)
    ]
    images = {name: np.full((4, 4), 20 * index, np.uint8) for index, name in enumerate(names)}
    manifest = pack.prepare(
        Data(source=str(write_folder(tmp_path / "x", {name: png(image) for name, image in images.items()}))),
        store,
    )
    inputs, targets = load_samples(store, manifest, "train", torch.tensor([5, 0, 3]))
    grey = inputs[:, 0, 0, 0] * manifest.deviation[0] + manifest.mean[0]
    np.testing.assert_allclose(grey, np.array([100, 0, 60]) / 255, atol=1e-6)  # float32
    assert targets.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        ([0, 2, 1], 3),
        ([0, -100, 1], 2),
        ([[-100, -100], [4, -100], [0, 1]], 5),
        ([-100, -100, -100], 0),
        ([0, -1, 1], 0),
        ([300_000_000_000, 1, 2], 0),
    ],
)
def test_classes_are_counted_without_ignored_targets_and_only_where_there_can_be_so_many(targets, classes):
    tensors = {"inputs": torch.zeros(3, 2), "targets": torch.tensor(targets)}
    assert tensor_source(tensors, Data(source="t.npz")).classes == classes
