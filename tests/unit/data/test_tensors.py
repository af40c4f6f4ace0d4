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
from lossmap.components.data.sizing import Sizing
from lossmap.components.data.sources import load_source
from lossmap.components.data.tensors import load_tensors, tensor_source
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import load_manifest

BLOBS = Data(source="blobs", blobs=Blobs(classes=3, train_per_class=20, test_per_class=7, image_size=5))
TOKENS = {"inputs": np.arange(60).reshape(10, 6), "targets": np.arange(60).reshape(10, 6)[:, ::-1] % 50}


NAMES = (
    "expected inputs and targets, and perhaps test_inputs and test_targets (or x and y, images and labels,"
    " features and target, each with train, val or test before or behind)"
)


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
        ({"inputs": [1]}, "{source} holds inputs, {names}"),
        ({"a": [1], "targets": [1]}, "{source} holds a, targets, {names}"),
        ({"x": [1], "inputs": [1], "targets": [1]}, "{source} holds inputs, targets, x, {names}"),
        ({"test_x": [1], "test_y": [1]}, "{source} holds test_x, test_y, {names}"),
        (
            {"inputs": [1], "targets": [1], "test_inputs": [1]},
            "{source} holds inputs, targets, test_inputs, {names}",
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
            {"inputs": [[1]], "targets": np.array([2**63], dtype=np.uint64)},
            (
                "{source} has inputs (1, 1) and targets (1,) of the type uint64, some of 2**63 and more,"
                " expected int64"
            ),
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
    assert _refused(source) == line.format(source=source, names=NAMES)


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
        "data.image_size, data.crop, data.mean and data.deviation are for images: uint8 with data.layout"
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
    expected = np.stack([decode(file, "x", Sizing(9)) for file in files]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(resize_all(pixels, Sizing(9), "x"), expected)


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


X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    "names",
    [
        ("x", "y"),
        ("X", "Y"),
        ("images", "labels"),
        ("features", "target"),
        ("data", "labels"),
        ("X_train", "y_train"),
        ("train_images", "train_labels"),
        ("xtrain", "ytrain"),
    ],
)
def test_pairs_have_the_names_that_people_give_them(names, written):
    found = load_tensors(Data(source=written(**dict(zip(names, (X, Y), strict=True))))).splits["train"]
    np.testing.assert_array_equal(found[0], X)
    np.testing.assert_array_equal(found[1], Y)


def test_val_is_the_test_set_where_there_is_no_other_and_is_told(written):
    pairs = {"x_train": X, "y_train": Y, "x_val": X[:2], "y_val": Y[:2]}
    source = written(**pairs)
    found = load_tensors(Data(source=source))
    assert (len(found.splits["test"][1]), found.notes) == (2, (f"the test set is val of {source}",))
    found = load_tensors(Data(source=written(**pairs, x_test=X[:3], y_test=Y[:3])))
    assert len(found.splits["test"][1]) == 3
    assert found.notes == (f"val of {source} is passed over; the test set is test",)


def _saved(path, value):
    torch.save(value, path)
    return str(path)


INPUTS, TARGETS = torch.from_numpy(X), torch.from_numpy(Y)


@pytest.mark.parametrize(
    "value",
    [
        (INPUTS, TARGETS),
        [INPUTS, TARGETS],
        {"x": INPUTS, "y": TARGETS},
        {"train": (INPUTS, TARGETS)},
        {"train": {"images": INPUTS, "labels": TARGETS}},
        [(one, int(target)) for one, target in zip(INPUTS, TARGETS, strict=True)],
        (X, Y),
        (INPUTS.clone().requires_grad_(), TARGETS),
        (INPUTS.to_sparse(), TARGETS),
        ((INPUTS, TARGETS), (INPUTS[:2], TARGETS[:2])),
        [[INPUTS, TARGETS], [INPUTS, TARGETS]],  # no two samples
    ],
)
def test_what_torch_save_wrote_of_pairs_is_taken(value, tmp_path):
    inputs, targets = load_tensors(Data(source=_saved(tmp_path / "a.pt", value))).splits["train"]
    assert torch.equal(inputs, INPUTS)
    assert torch.equal(targets, TARGETS)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (INPUTS, "cannot be read as tensors: TypeError: it holds Tensor, expected (inputs, targets), "),
        ([INPUTS] * 3, "cannot be read as tensors: TypeError: it holds list of Tensor, expected (inputs"),
        ({"x": INPUTS}, "holds x, expected inputs and targets"),
        (torch.nn.Linear(1, 1), "holds more than tensors, and to read it could run code "),
    ],
)
def test_what_is_no_pair_is_one_line(value, line, tmp_path):
    source = _saved(tmp_path / "a.pt", value)
    assert _refused(source).startswith(f"{source} {line}")


def test_two_npy_files_are_inputs_and_targets_by_their_names_or_their_order(tmp_path):
    for name, array in {"y": Y, "X": X, "a": X, "b": Y, "X_test": X[:2], "y_test": Y[:2]}.items():
        np.save(tmp_path / f"{name}.npy", array)

    def read(*names):
        return load_tensors(Data(source=",".join(f"{tmp_path}/{name}.npy" for name in names))).splits

    for names in (("X", "y"), ("y", "X"), ("a", "b"), ("X", "y", "X_test", "y_test")):
        np.testing.assert_array_equal(read(*names)["train"][0], X)
        np.testing.assert_array_equal(read(*names)["train"][1], Y)
    assert len(read("X", "y", "X_test", "y_test")["test"][1]) == 2
    assert "holds X, expected inputs and targets" in _refused(f"{tmp_path}/X.npy")


@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_a_folder_of_files_of_tensors_is_one_data_set(ending, tmp_path, store):
    if ending == "npy":
        for name, array in {"X_train": X, "y_train": Y, "X_test": X[:2], "y_test": Y[:2]}.items():
            np.save(tmp_path / f"{name}.npy", array)
    else:
        rows = "".join(f"{a},{b},{c},{y}\n" for (a, b, c), y in zip(X.tolist(), Y.tolist(), strict=True))
        (tmp_path / "train.csv").write_text(f"a,b,c,y\n{rows}")
        (tmp_path / "test.csv").write_text("a,b,c,y\n0,1,2,0\n3,4,5,1\n")
    manifest = pack.prepare(Data(source=str(tmp_path)), store)
    assert (manifest.kind, manifest.count("train"), manifest.count("test")) == ("tensors", 4, 2)
    np.testing.assert_array_equal(load_packed(store, manifest, "train")[0], X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["inputs", "targets", "test_inputs", "test_targets"])
def test_values_that_are_not_finite_are_refused_by_name_and_place_and_can_be_kept(
    name, value, written, store
):
    arrays = {"inputs": X, "targets": X[:, 0], "test_inputs": X, "test_targets": X[:, 0]}
    arrays[name] = arrays[name].copy()
    arrays[name][2:] = value
    source, place = written(**arrays), "sample 2, column 0" if "inputs" in name else "sample 2"
    count, kind = 6 if "inputs" in name else 2, "NaN" if np.isnan(value) else "infinite"
    assert _refused(source) == (
        f"{name} of {source} has values that are not finite: {count} {kind}, the first in {place} (counted"
        " from"
        " 0); leave these samples out or fill them in, or keep them by data.not_finite=keep"
    )
    kept = pack.prepare(Data(source=source, not_finite="keep"), store)
    assert kept.count("train") == 4


def test_a_share_of_tensors_is_the_test_set(written):
    labels = np.repeat([0, 1], [10, 20])
    source = written(inputs=np.arange(30), targets=labels)
    found = load_tensors(Data(source=source, split=0.3))
    assert np.bincount(found.splits["test"][1]).tolist() == [3, 6]
    assert sorted(torch.cat([pair[0] for pair in found.splits.values()]).tolist()) == list(range(30))
    for inputs, targets in found.splits.values():
        np.testing.assert_array_equal(targets, labels[inputs])
    assert found.notes == (f"the test set is 9 of the 30 samples of {source}, drawn by data.seed",)
    assert "has a test set, expected null" in _refused(
        written(inputs=X, targets=Y, test_inputs=X, test_targets=Y), split=0.3
    )


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)  # N x H x W x C
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("layout", "array", "expected"),
    [
        ("NHWC", IMAGES, IMAGES.transpose(0, 3, 1, 2)),
        ("NCHW", IMAGES.transpose(0, 3, 1, 2), IMAGES.transpose(0, 3, 1, 2)),
        ("NHW", IMAGES[..., 0], IMAGES[:, None, :, :, 0]),
    ],
)
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None].astype(np.uint8)])
def test_uint8_with_a_layout_is_images(layout, array, expected, labels, written, store):
    manifest = pack.prepare(
        Data(
            source=written(images=array, labels=labels),
            layout=layout,
            mean=(0.5,) * expected.shape[1],
            deviation=(0.25,) * expected.shape[1],
        ),
        store,
    )
    assert (manifest.kind, manifest.shape, manifest.classes) == (
        "images",
        expected.shape[1:],
        ("0", "1", "2"),
    )
    inputs, targets = load_samples(store, manifest, "train", torch.arange(6))
    # three roundings of float32
    np.testing.assert_allclose(inputs, (expected / 255 - 0.5) / 0.25, atol=1e-6)
    assert targets.tolist() == LABELS.tolist()


def test_uint8_without_a_layout_is_as_it_is_and_told(written, store):
    manifest = pack.prepare(Data(source=written(images=IMAGES, labels=LABELS)), store)
    assert (manifest.kind, manifest.shape) == ("tensors", (5, 4, 3))
    assert "are uint8, N x 5 x 4 x 3, and given to the network as they are" in manifest.notes[0]
    assert "data.layout=NHWC" in manifest.notes[0]


def test_floats_with_a_layout_only_change_places(written):
    source = written(inputs=IMAGES / 255, targets=LABELS)
    inputs, _ = load_tensors(Data(source=source, layout="NHWC")).splits["train"]
    np.testing.assert_array_equal(inputs, IMAGES.transpose(0, 3, 1, 2) / 255)
    assert _refused(source, layout="NHW").endswith("are (6, 5, 4, 3), expected 3 dimensions")


def test_images_in_tensors_are_resized_and_cropped(written, store):
    source = written(inputs=IMAGES, targets=LABELS)
    manifest = pack.prepare(Data(source=source, layout="NHWC", image_size=8, crop=6), store)
    images, _ = load_packed(store, manifest, "train")
    expected = [decode(png(image), "x", Sizing(8, 6)).transpose(2, 0, 1) for image in IMAGES]
    np.testing.assert_array_equal(images, np.stack(expected))


def test_texts_are_classes_in_the_order_of_their_names(written, store):
    manifest = pack.prepare(
        Data(source=written(x=X, y=np.array(["b", "a", "b", "c"]), x_test=X[:1], y_test=np.array(["c"]))),
        store,
    )
    assert manifest.classes == ("a", "b", "c")
    assert load_packed(store, manifest, "train")[1].tolist() == [1, 0, 1, 2]
    assert load_packed(store, manifest, "test")[1].tolist() == [2]


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
    found = tensor_source(tensors, Data(source="t.npz")).classes
    assert found == tuple(map(str, range(classes)))
