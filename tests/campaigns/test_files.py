"""Files of strangers, damaged and made up: every reader takes or refuses them in one line, within bounded
time and memory.
"""

import csv
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from support.campaigns import bounded_memory, campaign, damaged, survived

from lossmap.components.config.data import Data
from lossmap.components.data.decode import decode
from lossmap.components.data.folders import read_folder
from lossmap.components.data.tensors import load_tensors
from lossmap.components.models.checkpoint_file import read_checkpoint

_STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([1.0, float("nan")])}
_PAIR = {"inputs": torch.arange(12.0).reshape(4, 3), "targets": torch.tensor([0, 1, 1, 0])}


def _bytes(write, *arguments, **options):
    buffer = io.BytesIO()
    write(*arguments, buffer, **options)
    return buffer.getvalue()


def _torch(value, **options):
    return _bytes(lambda file: torch.save(value, file, **options))


def _npz(write, **arrays):
    return _bytes(lambda file: write(file, **arrays))


def _image(kind, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    return _bytes(lambda file: Image.fromarray(pixels).convert(mode).save(file, kind))


def _zip(names, compression=zipfile.ZIP_STORED):
    def write(file):
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, content in names.items():
                archive.writestr(name, content)

    return _bytes(write)


def _tar(content):
    def write(file):
        with tarfile.open(fileobj=file, mode="w") as archive:
            entry = tarfile.TarInfo("storages")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    return _bytes(write)


_ARRAYS = {name: tensor.numpy() for name, tensor in _PAIR.items()}
_CHECKPOINTS = [
    _torch(_STATE),
    _torch({"state_dict": _STATE, "epoch": 3, "lr": [0.1]}),
    _torch(_STATE, _use_new_zipfile_serialization=False),
    _tar(pickle.dumps(3)),
]
_TENSORS = {
    ".npz": [_npz(np.savez, **_ARRAYS), _npz(np.savez_compressed, **_ARRAYS)],
    ".safetensors": [save(_PAIR), save(_PAIR, {"made": "by hand"}), save(_STATE)],
    ".pt": [_torch((_PAIR["inputs"], _PAIR["targets"])), _torch(_PAIR), *_CHECKPOINTS],
    ".csv": [b"a,b,target\n1,2,0\n3,4.5,1\n", b"x;y\n1;one\n2;two\n", b"1,2\n3,4\n"],
    ".tsv": [b"a\tb\tlabel\n1\t2\t0\n3\t4\t1\n"],
}
_KINDS = [("PNG", "RGB"), ("PNG", "L"), ("JPEG", "RGB"), ("PPM", "RGB"), ("BMP", "RGB"), ("TIFF", "RGB")]
_IMAGES = [_image(*kind) for kind in [*_KINDS, ("WEBP", "RGB"), ("PNG", "P"), ("GIF", "P")]]
_FOLDER = {
    f"{split}/{name}/{index}.png": _IMAGES[1]
    for split in ("train", "test")
    for name in "ab"
    for index in "12"
}
_ZIPS = [_zip(_FOLDER), _zip(_FOLDER, zipfile.ZIP_DEFLATED), _zip({**_FOLDER, "classes.txt": b"a\nb\n"})]


@pytest.fixture(autouse=True, scope="module")
def memory():
    with bounded_memory():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Writes a file and gives the data set that is in it."""
    folder = tmp_path_factory.mktemp("hostile")

    def write(content, name, **fields):
        file = folder / name
        file.write_bytes(content)
        return Data(source=str(file), **fields)

    return write


@pytest.mark.parametrize("ending", list(_TENSORS))
def test_damaged_tensors(place, ending):
    @campaign(40)
    @given(damaged(_TENSORS[ending]))
    def run(content):
        survived(f"damaged {ending}", load_tensors, place(content, f"file{ending}"))

    run()


_CELLS = st.sampled_from(
    ["1", "-1", "0.5", "nan", "", "?", "inf", "1e999", "1" * 400, "1" * 5000, "x", "+-1"]
)


@campaign(40)
@given(st.lists(st.lists(_CELLS | st.text(max_size=6), min_size=1, max_size=4), max_size=5))
def test_any_table(place, rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    content = text.getvalue().encode("utf-8", "surrogatepass")
    survived("any .csv", load_tensors, place(content, "any.csv"))
    survived("any .csv", load_tensors, place(content, "any.csv", not_finite="keep"))


_TYPES = st.sampled_from(["F32", "I64", "BOOL", "U8", "F8_E4M3", "F64", "X", ""])
_SIZES = st.lists(st.sampled_from([0, 1, 3, 4, 10**9, 2**63, -1, 2**70]), max_size=4)
_OFFSETS = st.lists(st.sampled_from([0, 4, 8, 12, 48, 10**12, -1]), min_size=1, max_size=3)
_ENTRIES = st.fixed_dictionaries({"dtype": _TYPES, "shape": _SIZES, "data_offsets": _OFFSETS})
_HEADERS = st.dictionaries(st.sampled_from(["inputs", "targets", "__metadata__", "w", "\x1b[2J"]), _ENTRIES)


@campaign(60)
@given(_HEADERS, st.sampled_from([0, 1, -1, 2**40, 2**62]), st.integers(0, 64))
def test_any_header_of_safetensors(place, header, wrong, size):
    text = json.dumps(header).encode()
    content = struct.pack("<Q", max(0, len(text) + wrong)) + text + bytes(size)
    survived("any header of safetensors", load_tensors, place(content, "any.safetensors"))
    survived("any header of safetensors", read_checkpoint, content, "any.safetensors")


@campaign(40)
@given(st.sampled_from(["<f8", "<i8", "|O", "<U9", "|V9", ">f4", "<M8[s]", "<f9"]), _SIZES, st.booleans())
def test_any_header_of_npy(place, kind, shape, fortran):
    header = f"{{'descr': {kind!r}, 'fortran_order': {fortran}, 'shape': {tuple(shape)}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(96)
    survived("any header of .npy", load_tensors, place(content, "any.npy"))
    both = _zip({"inputs.npy": content, "targets.npy": content})
    survived("any header of .npy", load_tensors, place(both, "any.npz"))


@campaign(60)
@given(damaged([*_CHECKPOINTS, *_TENSORS[".safetensors"]]), st.sampled_from(["w.pt", "w.safetensors", "w"]))
def test_damaged_checkpoints(content, name):
    survived("damaged checkpoints", read_checkpoint, content, name)


@campaign(60)
@given(st.binary(max_size=60), st.booleans())
def test_any_pickle(content, whole):
    """Of the opcodes of pickle, in torch's zip and alone."""
    body = b"\x80\x02" + content + b"."
    archive = {"archive/data.pkl": body, "archive/version": b"3\n", "archive/byteorder": b"little"}
    survived("any pickle", read_checkpoint, _zip(archive) if whole else body, "w.pt")


@campaign(100)
@given(damaged(_IMAGES))
def test_damaged_images(content):
    survived("damaged images", decode, content, "image")


@campaign(40)
@given(damaged(_ZIPS))
def test_damaged_zips(place, content):
    survived("damaged zips", read_folder, place(content, "images.zip"), lambda _done, _total: None)


_NAMES = st.sampled_from(
    ["train", "test", "a", "b", "..", ".", "", "con", "a\x1b[2J", "\u202egnp", "C:", "\\", "/"]
)


@campaign(30)
@given(st.lists(st.lists(_NAMES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_zips_with_any_names(place, names):
    files = {f"{'/'.join(parts)}/{index}.png": _IMAGES[1] for index, parts in enumerate(names)}
    survived("zips with any names", read_folder, place(_zip(files), "names.zip"), lambda _done, _total: None)


def _bomb(name, size=2 * 2**30):
    """A zip whose one file unpacks to that many zeros."""

    def write(file):
        with (
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open(name, "w", force_zip64=True) as inner,
        ):
            inner.write(_head(size))
            for _ in range(size // 2**24):
                inner.write(bytes(2**24))

    return _bytes(write)


def _head(size):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def _png(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_bombs(place):
    bomb = _bomb("inputs.npy", 2**28)
    small = bomb.replace(struct.pack("<I", 2**28 + len(_head(2**28))), struct.pack("<I", 100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lossmap.components.core.archives.MOST_UNPACKED", 2**24)
        for content in (bomb, small):
            assert not survived("bombs", load_tensors, place(content, "bomb.npz"))
            assert not survived("bombs", load_tensors, place(content, "bomb.pt"))
            assert not survived("bombs", read_checkpoint, content, "bomb.pt")
    images = _zip({f"{name}/1.png": _bomb("x", 2**28) for name in ("train/a", "test/a")})
    assert not survived("bombs", read_folder, place(images, "bomb.zip"), lambda _done, _total: None)
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (10**9, 10**9)):
        assert not survived("bombs", decode, _png(width, height), "image.png")
    assert not survived("bombs", load_tensors, place(b"a,b\n" + b"1," * 10**6, "wide.csv"))
    assert not survived("bombs", load_tensors, place(b'"' + b"1" * 2**20, "long.csv"))
    deep = b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."
    archive = {"archive/data.pkl": deep, "archive/version": b"3\n"}
    assert not survived("bombs", read_checkpoint, _zip(archive), "deep.pt")
