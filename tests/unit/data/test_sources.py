import gzip
import hashlib
import io
import pickle
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torchvision import datasets

from lossmap.components.config.data import TAKEN, Blobs, Data
from lossmap.components.core.errors import DataError
from lossmap.components.data.sources import load_source

ACCEPTED = (
    f"expected digits, cifar10, cifar100, fashion-mnist, blobs, tasks, or the path or s3:// URI of {TAKEN}"
)


def _load(**settings):
    return load_source(Data(**settings), lambda _done, _total: None)


def _message(**settings):
    with pytest.raises(DataError) as caught:
        _load(**settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _rows(labelled):
    return sorted(
        zip(labelled.labels.tolist(), (pixels.tobytes() for pixels in labelled.pixels), strict=True)
    )


def test_digits_are_scikit_learns_numbers_scaled_by_255_over_16():
    source, digits = _load(source="digits"), load_digits()
    expected = [
        (int(label), bytes(int(255 * value / 16 + 0.5) for row in image for value in row))
        for image, label in zip(digits.images, digits.target, strict=True)
    ]
    assert sorted(_rows(source.splits["train"]) + _rows(source.splits["test"])) == sorted(expected)
    assert source.splits["train"].pixels.shape[1:] == (1, 8, 8)
    assert source.splits["train"].pixels.dtype == np.uint8
    assert (source.splits["train"].pixels.min(), source.splits["train"].pixels.max()) == (0, 255)


def test_a_fifth_of_each_digit_is_for_testing():
    source, target = _load(source="digits"), load_digits().target
    assert source.classes == tuple("0123456789")
    assert (len(source.splits["train"].labels), len(source.splits["test"].labels)) == (1438, 359)
    for label in range(10):
        assert (source.splits["test"].labels == label).sum() == round((target == label).sum() / 5)


def test_digits_are_split_by_the_seed():
    first, again, other = (_load(source="digits", seed=seed) for seed in (0, 0, 1))
    assert _rows(first.splits["test"]) == _rows(again.splits["test"])
    assert _rows(first.splits["test"]) != _rows(other.splits["test"])


def test_a_limit_keeps_the_same_number_of_each_class():
    source = _load(source="digits", limit=25, test_limit=10)
    assert sorted(np.bincount(source.splits["train"].labels).tolist()) == [2] * 5 + [3] * 5
    assert np.bincount(source.splits["test"].labels).tolist() == [1] * 10


def test_blobs_have_the_counts_that_are_asked_for():
    source = _load(source="blobs", blobs=Blobs(classes=3, train_per_class=20, test_per_class=5, image_size=6))
    assert source.classes == ("blob-0", "blob-1", "blob-2")
    for split, each in (("train", 20), ("test", 5)):
        labelled = source.splits[split]
        assert (labelled.pixels.shape, labelled.pixels.dtype) == ((3 * each, 1, 6, 6), np.uint8)
        assert np.bincount(labelled.labels).tolist() == [each] * 3


def test_blobs_are_one_pattern_for_each_class_and_noise_of_the_deviation_that_is_asked_for():
    blobs = _load(
        source="blobs", blobs=Blobs(classes=2, train_per_class=2000, image_size=4, noise=0.05)
    ).splits
    for label in range(2):
        train, test = (
            blobs[split].pixels[blobs[split].labels == label].astype(np.float64) / 255
            for split in ("train", "test")
        )
        # where four deviations of noise are not clipped
        inside = (train.mean(axis=0) > 0.2) & (train.mean(axis=0) < 0.8)
        assert inside.any()
        # 2000 numbers: 1.6 % each, and the largest of sixteen
        assert train.std(axis=0)[inside] == pytest.approx(0.05, rel=0.12)
        assert test.mean(axis=0) == pytest.approx(train.mean(axis=0), abs=0.05)  # 50 numbers: 0.007


def test_blobs_differ_by_seed_and_by_split():
    first, again, other = (_load(source="blobs", seed=seed).splits for seed in (0, 0, 1))
    assert _rows(first["train"]) == _rows(again["train"])
    assert _rows(first["train"]) != _rows(other["train"])
    assert not set(_rows(first["train"])) & set(_rows(first["test"]))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Served(NamedTuple):
    """A folder whose files are at an address."""

    folder: Path
    address: str


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing on the terminal."""

    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, cache):
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Served(tmp_path / "served", f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        thread.join()


def _md5(content):
    return hashlib.md5(content).hexdigest()


def _cifar(monkeypatch, served, kind, labels_key):
    """An archive as the authors of CIFAR publish it, at an address that torchvision will download from."""
    images, contents, meta = {}, {}, kind.meta["filename"]
    for index, (name, _) in enumerate([*kind.train_list, *kind.test_list]):
        images[name] = np.random.default_rng(index).integers(0, 256, (6, 3, 32, 32)).astype(np.uint8)
        contents[name] = pickle.dumps(
            {"data": images[name].reshape(6, -1), labels_key: [index, 1, 2, 3, 4, 5]}
        )
    contents[meta] = pickle.dumps({kind.meta["key"]: [f"class-{index}" for index in range(6)]})
    archive = served.folder / kind.filename
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(kind, "url", served.address + kind.filename)
    monkeypatch.setattr(kind, "tgz_md5", _md5(archive.read_bytes()))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(kind, part, [[name, _md5(contents[name])] for name, _ in getattr(kind, part)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": _md5(contents[meta])})
    return images


@pytest.mark.parametrize(
    ("name", "kind", "labels_key"),
    [("cifar10", datasets.CIFAR10, "labels"), ("cifar100", datasets.CIFAR100, "fine_labels")],
)
def test_cifar_is_read_from_the_archive_of_its_authors(monkeypatch, served, name, kind, labels_key):
    images = _cifar(monkeypatch, served, kind, labels_key)
    source = _load(source=name)
    train, test = [part for part, _ in kind.train_list], kind.test_list[0][0]
    assert source.classes == tuple(f"class-{index}" for index in range(6))
    np.testing.assert_array_equal(
        source.splits["train"].pixels, np.concatenate([images[part] for part in train])
    )
    np.testing.assert_array_equal(source.splits["test"].pixels, images[test])
    assert source.splits["test"].labels.tolist() == [len(train), 1, 2, 3, 4, 5]
    assert source.splits["train"].labels.tolist() == [
        label for index in range(len(train)) for label in [index, 1, 2, 3, 4, 5]
    ]
    assert (source.splits["train"].pixels.dtype, source.splits["train"].labels.dtype) == (np.uint8, np.int64)


def test_what_is_downloaded_once_needs_no_network_again(monkeypatch, served):
    _cifar(monkeypatch, served, datasets.CIFAR10, "labels")
    first = _load(source="cifar10")
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/nothing")
    assert _rows(_load(source="cifar10").splits["train"]) == _rows(first.splits["train"])


def test_fashion_mnist_is_read_from_the_files_of_its_authors(monkeypatch, served):
    kind, images, resources = datasets.FashionMNIST, {}, []
    for part, count in (("train", 7), ("t10k", 4)):
        images[part] = np.random.default_rng(count).integers(0, 256, (count, 28, 28)).astype(np.uint8)
        header = b"".join(number.to_bytes(4, "big") for number in (2051, count, 28, 28))
        labels = b"".join(number.to_bytes(4, "big") for number in (2049, count)) + bytes(range(count))
        for name, content in (
            (f"{part}-images-idx3-ubyte.gz", header + images[part].tobytes()),
            (f"{part}-labels-idx1-ubyte.gz", labels),
        ):
            (served.folder / name).write_bytes(gzip.compress(content))
            resources.append((name, _md5((served.folder / name).read_bytes())))
    monkeypatch.setattr(kind, "mirrors", [served.address])
    monkeypatch.setattr(kind, "resources", resources)
    source = _load(source="fashion-mnist")
    assert source.classes[:2] == ("T-shirt/top", "Trouser")
    np.testing.assert_array_equal(source.splits["train"].pixels, images["train"][:, None])
    np.testing.assert_array_equal(source.splits["test"].pixels, images["t10k"][:, None])
    assert source.splits["train"].labels.tolist() == list(range(7))
    assert source.splits["test"].labels.dtype == np.int64


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "invalid literal for int() with base 16: b''"),
        (
            b"".join(number.to_bytes(4, "big") for number in (2051, 7, 28, 28)) + b"abc",
            "shape '[7, 28, 28]' is invalid for input of size 3",
        ),
    ],
)
def test_unpacked_files_that_were_cut_short_are_told(cache, content, reason):
    raw = cache / "fashion-mnist" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(content)
    assert (
        _message(source="fashion-mnist")
        == f"fashion-mnist cannot be downloaded to {cache}/fashion-mnist or read there: {reason}; "
        "remove that folder and run again, or set data.source to a folder of its images"
    )


def test_a_download_that_fails_says_where_and_what_to_do(monkeypatch, cache):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/x.tar.gz")
    assert (
        _message(source="cifar10")
        == f"cifar10 cannot be downloaded to {cache}/cifar10 or read there: <urlopen error [Errno 111]"
        " Connection refused>; remove that folder and run again, or set data.source to a folder of its"
        " images"
    )


def test_an_archive_of_somebody_else_is_not_read(monkeypatch, served, cache):
    kind = datasets.CIFAR10
    _cifar(monkeypatch, served, kind, "labels")
    (served.folder / kind.filename).write_bytes(b"something else")
    assert (
        _message(source="cifar10")
        == f"cifar10 cannot be downloaded to {cache}/cifar10 or read there: File not found or corrupted; "
        "remove that folder and run again, or set data.source to a folder of its images"
    )


def test_a_file_that_was_changed_after_the_download_is_not_unpickled(monkeypatch, served, tmp_path, cache):
    kind = datasets.CIFAR10
    _cifar(monkeypatch, served, kind, "labels")
    expected = _load(source="cifar10").splits["train"].pixels
    (cache / "cifar10" / kind.base_folder / "data_batch_1").write_bytes(
        pickle.dumps(Exploding(str(tmp_path / "exploded")))
    )
    np.testing.assert_array_equal(_load(source="cifar10").splits["train"].pixels, expected)
    assert not (tmp_path / "exploded").exists()


class Exploding:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


def test_a_name_that_is_nearly_right_gets_a_hint():
    assert (
        _message(source="cifar-10")
        == f"data.source is 'cifar-10', which is no data set and no file; did you mean cifar10? {ACCEPTED}"
    )


def test_a_name_that_is_no_file_either_is_refused():
    assert (
        _message(source="/no/such/place")
        == f"data.source is '/no/such/place', which is no data set and no file; {ACCEPTED}"
    )


@pytest.mark.parametrize("name", ["a" * 300, "~nobody-of-this-name/images"])
def test_a_name_that_can_be_no_file_is_refused(name):
    assert _message(source=name) == f"data.source is {name!r}, which is no data set and no file; {ACCEPTED}"


def test_a_name_with_a_null_character_is_refused():
    assert _message(source="a\0b").startswith("data.source is 'a\\x00b', which is no data set and no file; ")
