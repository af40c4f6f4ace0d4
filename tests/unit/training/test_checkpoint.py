"""Which checkpoint processes go on from."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.processes import as_ranks
from support.training import only_rank

from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.models import Mlp
from lossmap.components.config.training import Training
from lossmap.components.core.errors import StoreError
from lossmap.components.data import pack
from lossmap.components.data.batches import load_images
from lossmap.components.models import build
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.training.checkpoint import load_checkpoint, save_checkpoint
from lossmap.components.training.distributed import Group, process_group
from lossmap.components.training.loop import Trainer

_DATA = Data(source="blobs", blobs=Blobs(classes=2, train_per_class=8, test_per_class=2, image_size=4))
_TRAINING = Training(epochs=2, batch_size=4, processes=1)
_NEWEST = layout.checkpoint("run", 3, "state.json")


def _trainer(store, group):
    manifest = pack.prepare(_DATA, store)
    images = load_images(store, manifest, "train")
    return Trainer(_TRAINING, manifest, build(Mlp(hidden=(3,)), manifest), images, group)


@pytest.fixture
def saved(tmp_path):
    """A store with checkpoints after two steps and after three. The group that wrote them is gone."""
    store = open_store(str(tmp_path / "0"))
    with only_rank(), process_group("cpu") as group:
        trainer = _trainer(store, group)
        for step in range(3):
            trainer.train_step()
            if step:
                save_checkpoint(store, "run", trainer, trainer.sums, seconds=1.0)
    return store


def _go_on(rank, folder):
    place = f"file://{folder}/meeting"
    dist.init_process_group(
        "gloo", init_method=place, rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    store = open_store(f"{folder}/{rank}")
    trainer = _trainer(store, Group(rank, 2, torch.device("cpu")))
    _, told = load_checkpoint(store, "run", trainer)
    Path(f"{folder}/{rank}.json").write_text(json.dumps([trainer.step, told]))
    dist.destroy_process_group()


def test_all_processes_go_on_from_one_step(saved, tmp_path):
    """Of the newest checkpoint one of them has a damaged file."""
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    open_store(str(tmp_path / "1")).write(_NEWEST, b"{}")
    as_ranks(2, _go_on, str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == [2, ["the checkpoint of step 3 is not what another process has"]]
    assert second[0] == 2
    assert second[1][0].endswith("state.json is damaged: its SHA-256 differs from the one written")


@pytest.mark.parametrize("content", [b"", b"[{}]", b'[{"step": "3", "files": {}}]', b"[[1]]", b"\xff", b"3"])
def test_a_list_of_checkpoints_that_cannot_be_read_is_told(saved, group, content):
    latest = layout.latest_checkpoint("run")
    saved.write(latest, content)
    resumed = _trainer(saved, group)
    line = f"{saved.uri}/{latest} is damaged: it does not name checkpoints"
    assert load_checkpoint(saved, "run", resumed) == (0.0, [line])
    assert resumed.step == 0


def test_a_checkpoint_that_is_there_and_cannot_be_read_is_no_damage(saved, group, monkeypatch):
    read = saved.read

    def refused(key):
        if key == _NEWEST:
            raise StoreError("the store is away")
        return read(key)

    monkeypatch.setattr(saved, "read", refused)
    with pytest.raises(StoreError, match=r"^the store is away$"):
        load_checkpoint(saved, "run", _trainer(saved, group))
