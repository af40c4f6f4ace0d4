"""An S3 server behind a proxy that fails: every call gives what is right or says so in one line, nothing is
ever visible in part, and what is said to be written is there.
"""

import pytest
from support.campaigns import cases, check_line, draws, outcomes
from support.faulty_proxy import FaultyProxy

from lossmap.components.core.errors import StoreError
from lossmap.components.stores.documents import load_json, write_json
from lossmap.components.stores.objects import open_store

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
