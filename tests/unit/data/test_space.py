import numpy as np
import pytest
import torch
from reference.data import png, write_folder

from lossmap.components.config.data import Data
from lossmap.components.core.errors import DataError
from lossmap.components.data import pack, space, statistics
from lossmap.components.data.batches import load_packed
from lossmap.components.stores.objects import open_store


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(space, "MOST_IN_MEMORY", 100)


def _folder(place, coloured_from=0):
    random = np.random.default_rng(0)
    names = [
        f"{split}/{label}/{index}.png" for split in ("train", "test") for label in "ab" for index in range(9)
    ]
    shapes = [(7, 6, 3) if index >= coloured_from else (7, 6) for index in range(len(names))]
    files = zip(names, shapes, strict=True)
    return write_folder(
        place, {name: png(random.integers(0, 256, shape).astype(np.uint8)) for name, shape in files}
    )


@pytest.mark.parametrize("coloured_from", [0, 5, 99])
def test_samples_in_a_temporary_file_are_packed_to_the_same_digest(tmp_path, monkeypatch, coloured_from):
    data = Data(source=str(_folder(tmp_path / "x", coloured_from)))
    store = open_store(str(tmp_path / "store"))
    expected = pack.prepare(data, store)
    monkeypatch.setattr(space, "MOST_IN_MEMORY", 100)
    monkeypatch.setattr(statistics, "_PART", 50)
    assert pack.prepare(data, store) == expected


def test_large_images_are_fewer_in_a_shard_and_come_back_from_a_temporary_file(
    tmp_path, monkeypatch, little_memory
):
    store = open_store(str(tmp_path / "store"))
    monkeypatch.setattr(pack, "SHARD_IMAGE_BYTES", 5 * 7 * 6 * 3)
    folder = _folder(tmp_path / "x")
    manifest = pack.prepare(Data(source=str(folder)), store)
    assert [shard.count for shard in manifest.train] == [5, 5, 5, 3]
    pixels, labels = load_packed(store, manifest, "train")
    assert isinstance(space.room((200,)), np.memmap)
    monkeypatch.undo()
    whole = pack.prepare(Data(source=str(folder)), store)
    assert len(whole.train) == 1
    assert all(map(torch.equal, (pixels, labels), load_packed(store, whole, "train")))


def test_a_full_disk_is_one_line(monkeypatch, little_memory):
    def full(_file, _start, _size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(space.os, "posix_fallocate", full)
    with pytest.raises(DataError) as refused:
        space.room((1000, 3))
    assert "has no room for 3000 bytes of samples: No space left on device; free some, or name" in str(
        refused.value
    )
