"""Weights in several files, as Hugging Face's libraries and torch.distributed.checkpoint write them."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint import save as save_distributed
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from lossmap.components.config.models import Checkpoint
from lossmap.components.core.errors import DataError, ExperimentError
from lossmap.components.importing.digests import with_digest
from lossmap.components.importing.places import weight_file, weight_files
from lossmap.components.importing.trajectories import read_weights
from lossmap.components.models.checkpoint_file import read_checkpoint
from lossmap.components.models.state import load_state


def _state(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).state_dict()


def _in_parts(folder, state, ending):
    """Two files and their index; returns its name."""
    names = list(state)
    stem, save = ("model", save_file) if ending == "safetensors" else ("pytorch_model", torch.save)
    files = {name: f"{stem}-0000{1 + (name >= names[2])}-of-00002.{ending}" for name in names}
    folder.mkdir(exist_ok=True)
    for file in sorted(set(files.values())):
        save({name: state[name] for name in names if files[name] == file}, folder / file)
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 104}, "weight_map": files}))
    return index


def _read(place):
    noted = with_digest(Checkpoint(weights=str(place)))
    return read_weights(noted, noted.weights, "model.weights").tensors


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_an_index_or_its_folder_is_all_of_its_parts(ending, tmp_path):
    state = _state()
    index = _in_parts(tmp_path / "model", state, ending)
    for place in (index, index.parent):
        found = _read(place)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)
    assert weight_files([str(index.parent)]) == [str(index)]


def test_another_part_is_another_set_of_weights(tmp_path):
    index = _in_parts(tmp_path, _state(), "safetensors")
    noted = with_digest(Checkpoint(weights=str(index)))
    _in_parts(tmp_path, _state(seed=1), "safetensors")
    with pytest.raises(ExperimentError, match="has changed since the run was made"):
        read_weights(noted, noted.weights, "model.weights")


def test_parts_that_are_not_there_or_of_another_model_are_named(tmp_path):
    index = _in_parts(tmp_path, _state(), "safetensors")
    part = tmp_path / "model-00002-of-00002.safetensors"
    save_file({"other": torch.ones(2)}, part)
    with pytest.raises(
        ExperimentError, match=rf"index.json has 2.weight in {part.name}, which holds no such"
    ):
        _read(index)
    part.unlink()
    with pytest.raises(DataError, match=rf"a part of model.weights is '.*{part.name}', which cannot be read"):
        _read(index)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../a.bin"}}', '{"weight_map": {"a": 1}}'],
)
def test_an_index_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ExperimentError, match="is no index of weights in several files, expected JSON whose"):
        _read(tmp_path / "model.safetensors.index.json")


def test_a_part_alone_is_told_as_what_it_is(tmp_path):
    _in_parts(tmp_path, _state(), "bin")
    part = tmp_path / "pytorch_model-00001-of-00002.bin"
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ExperimentError, match=r"it is one of several parts: give their index, .*index\.json"):
        load_state(network, read_checkpoint(part.read_bytes(), str(part)), str(part))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # it saves all the same
def test_a_distributed_checkpoint_is_refused_with_a_way_out_that_works(tmp_path):
    state, folder, file = _state(), tmp_path / "step-100", tmp_path / "FILE.pt"
    save_distributed({"model": state}, checkpoint_id=folder)
    with pytest.raises(ExperimentError, match=rf"dcp_to_torch {folder} FILE.pt$"):
        weight_file(str(folder))
    dcp_to_torch_save(folder, file)
    found = _read(f"{file}:model")
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_a_folder_with_several_files_of_weights_names_them(tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.save(_state(), tmp_path / name)
    with pytest.raises(ExperimentError, match=r"which has a.pt, b.pt, expected one of them$"):
        weight_file(str(tmp_path))
