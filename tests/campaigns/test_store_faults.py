"""An S3 server behind a proxy that fails: every call gives what is right or says so in one line, nothing is
ever visible in part, and what is said to be written is there.
"""

import json

import pytest
from botocore.config import Config
from support.campaigns import cases, check_line, draws, outcomes
from support.faulty_proxy import LATE_SECONDS, STORE_FAULTS, FaultyProxy
from support.small_run import found, same, survey

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import LossmapError, StoreError
from lossmap.components.stores.documents import load_json, load_npz, load_tensors, write_json
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run

_MOST_STARTS = 20
_KEYS = [f"runs/{name}/experiment.json" for name in ("a", "b", "c")]


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_documents_are_right_or_told_whatever_fails_on_the_way(s3, s3_server, monkeypatch, share):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    whole = open_store(s3)
    for generator in draws(f"store faults {share}", cases(1, cost=500)):
        for key in _KEYS:
            whole.delete(key)
        with FaultyProxy(s3_server, generator, share).running() as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.uri)
            possible = _walk(open_store(s3), generator)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
        for key, values in possible.items():
            found = load_json(whole, key) if whole.exists(key) else None
            assert found in values, (key, proxy.failed)
        for fault, count in proxy.failed.items():
            outcomes[f"store fault: {fault}"] += count


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What is found of a run in a folder."""
    store = open_store(str(tmp_path_factory.mktemp("whole")))
    survey(Settings(store=store.uri, tracking="none"), Run(store, "run"))
    return found(Run(store, "run"))


def test_whole_runs_end_well_or_in_a_line_and_go_on_later(s3, s3_server, undisturbed, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr("botocore.config.Config", _impatient)
    for case, generator in enumerate(draws("whole runs", cases(1, cost=400))):
        uri, share, told = f"{s3}/{case}", generator.choice((0.05, 0.1, 0.2)), 0
        with FaultyProxy(s3_server, generator, share, (*STORE_FAULTS, "late")).running() as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.uri)
            for _ in range(_MOST_STARTS):
                if _ends(uri):
                    break
                told += 1
                _check_whole(uri, s3_server, monkeypatch)
                monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.uri)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
        assert _ends(uri)
        assert same(found(Run(open_store(uri), "run")), undisturbed), proxy.failed
        outcomes["whole run over S3: same bits"] += 1
        outcomes["whole run over S3: stopped in a line, then went on"] += told
        for fault, count in proxy.failed.items():
            outcomes[f"store fault in a whole run: {fault}"] += count


def _impatient(**options):
    """A client's settings with which an answer that is late comes too late."""
    return Config(**{**options, "read_timeout": LATE_SECONDS / 2})


def _ends(uri):
    """Start or go on with the run; whether it ends well, and not in one line."""
    try:
        survey(Settings(store=uri, tracking="none"), Run(open_store(uri), "run"))
    except LossmapError as error:
        check_line(str(error))
        return False
    return True


def _check_whole(uri, server, monkeypatch):
    """Every object that is to be seen is what was written."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    store = open_store(uri)
    for key in store.keys(""):
        match key.rpartition(".")[2]:
            case "json":
                json.loads(store.read(key))
            case "safetensors":
                load_tensors(store, key)
            case "npz":
                load_npz(store, key)


def _walk(store, generator):
    """Writes, reads, looks up and lists; returns what each key may hold at the end."""
    possible = {key: [None] for key in _KEYS}
    for number in range(40):
        key = generator.choice(_KEYS)
        act = generator.choice((_write, _read, _read, _look_up, _list, _delete))
        try:
            act(store, key, possible, {"number": number, "text": "x" * generator.randrange(2000)})
            outcomes["store call: right"] += 1
        except StoreError as error:
            check_line(str(error))
            outcomes["store call: told"] += 1
    return possible


def _write(store, key, possible, value):
    possible[key].append(value)  # an error may come after it has arrived
    write_json(store, key, value)
    possible[key] = [value]


def _delete(store, key, possible, _value):
    possible[key].append(None)
    store.delete(key)
    possible[key] = [None]


def _read(store, key, possible, _value):
    try:
        found = load_json(store, key)
    except StoreError as error:
        assert "has no object" not in str(error) or None in possible[key], error
        raise
    assert found in possible[key]


def _look_up(store, key, possible, _value):
    there = store.exists(key)
    assert any((value is not None) == there for value in possible[key])


def _list(store, _key, _possible, _value):
    assert set(store.keys("")) <= set(_KEYS)
