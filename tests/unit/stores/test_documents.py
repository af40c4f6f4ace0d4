import json

import pytest
import torch
from safetensors.torch import load, save

from lossmap.components.stores.documents import (
    Damaged,
    load_document,
    load_json,
    load_npz,
    load_tensors,
    sealed,
    write_document,
    write_json,
)
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.survey_plan import Trail

VALUE = {"floor": 0.1, "name": "seal", "none": None, "nan": float("nan"), "list": [1, {"a": 2}]}
TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}
KEY = "runs/run/report/scalars.json"


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def _flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_json_comes_back_without_its_seal(store):
    write_json(store, KEY, VALUE)
    assert repr(load_json(store, KEY)) == repr(VALUE)
    assert json.loads(store.read(KEY)).keys() == {*VALUE, "seal"}


def test_a_document_comes_back(store):
    write_document(store, KEY, Trail(training="t", checkpoints=("a", "b")))
    assert load_document(store, KEY, Trail) == Trail(training="t", checkpoints=("a", "b"))


def test_what_an_earlier_lossmap_wrote_is_taken_without_a_seal(store):
    store.write(KEY, b'{"training": "t"}')
    assert load_document(store, KEY, Trail) == Trail(training="t")
    store.write("w.safetensors", save(TENSORS))
    assert torch.equal(load_tensors(store, "w.safetensors")["weight"], TENSORS["weight"])


def test_every_flipped_bit_of_json_is_noticed_or_changes_nothing(store):
    write_json(store, KEY, VALUE)
    content = store.read(KEY)
    noticed = 0
    for bit in range(8 * len(content)):
        store.write(KEY, _flipped(content, bit))
        try:
            value = load_json(store, KEY)
        except Damaged as error:
            noticed += 1
            assert str(error).startswith(f"{store.uri}/{KEY} is damaged: ")
            assert str(error).endswith("; `lossmap run --resume RUN` makes it again")
        else:
            assert repr(value) == repr(VALUE)
    assert noticed > 0.9 * 8 * len(content)


def test_every_flipped_bit_of_tensors_is_noticed_or_changes_nothing(store):
    content = sealed(save(TENSORS))
    assert {name: tensor.tolist() for name, tensor in load(content).items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    noticed = 0
    for bit in range(8 * len(content)):
        store.write("trainings/t/weights.safetensors", _flipped(content, bit))
        try:
            tensors = load_tensors(store, "trainings/t/weights.safetensors")
        except Damaged:
            noticed += 1
        else:
            assert tensors.keys() == TENSORS.keys()
            assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert noticed > 0.8 * 8 * len(content)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 10_000], ids=repr)
def test_what_is_no_document_is_told(store, content):
    store.write(KEY, content)
    for load_as in (load_json, load_tensors, load_npz, lambda *place: load_document(*place, Trail)):
        with pytest.raises(Damaged, match=r"^file:.*/runs/run/report/scalars\.json is damaged: "):
            load_as(store, KEY)


def test_what_a_training_left_on_its_way_is_made_again_by_training(store):
    store.write("trainings/abc/epochs/00001.json", b"{")
    with pytest.raises(Damaged) as caught:
        load_json(store, "trainings/abc/epochs/00001.json")
    assert str(caught.value) == (
        f"{store.uri}/trainings/abc/epochs/00001.json is damaged: it is no JSON; remove the training's"
        " folder, trainings/abc, and train it again by `lossmap run --resume RUN`"
    )
