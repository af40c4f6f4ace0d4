"""Every object of a store damaged in turn: noticed where it is read, and made again or told in one line."""

import contextlib

import pytest
from support.campaigns import cases, check_line, draws, outcomes
from support.small_run import found, same, survey

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import LossmapError
from lossmap.components.stores.objects import FileStore, open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.merge import merge
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.problems import TileEvaluator


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The content of every object of a store with one finished run, and what was found."""
    folder = tmp_path_factory.mktemp("whole")
    settings = Settings(store=str(folder), tracking="none")
    run = Run(open_store(str(folder)), "run")
    survey(settings, run)
    store = open_store(str(folder))
    return {key: store.read(key) for key in store.keys("")}, found(Run(store, "run"))


def _damaged(content, generator):
    """What becomes of it, and how."""
    place = generator.randrange(len(content))
    flipped = bytes([content[place] ^ 1 << generator.randrange(8)])
    return generator.choice(
        [
            ("truncated to nothing", b""),
            ("truncated", content[:place]),
            ("bit flipped", content[:place] + flipped + content[place + 1 :]),
        ]
    )


def test_every_object_damaged_in_turn(finished, tmp_path):
    objects, whole = finished
    store, settings = open_store(str(tmp_path)), Settings(store=str(tmp_path), tracking="none")
    for key, content in objects.items():
        store.write(key, content)
    for generator in draws("damaged stores", cases(1, cost=1000)):
        for key, content in objects.items():
            kind, damaged = _damaged(content, generator)
            store.write(key, damaged)
            read = _read(store, whole, f"{kind}: {key}")
            mended = _resumed(settings, store, whole, f"{kind}: {key}")
            outcomes[f"object {kind}: {read}; run resumed: {mended}"] += 1
            _restore(store, objects)


def test_tiles_twice_and_in_any_order(finished, tmp_path):
    objects, whole = finished
    for case, generator in enumerate(draws("order of tiles", cases(1, cost=100))):
        store = _without_surface(objects, tmp_path / str(case))
        runs = [Run(store, "run") for _ in range(2)]
        evaluators = [TileEvaluator(run) for run in runs]
        tiles = 2 * list(pending_tiles(runs[0]))
        assert len(tiles) > 4
        for tile in generator.sample(tiles, len(tiles)):
            generator.choice(evaluators).evaluate(tile)
        for run in runs:
            merge(run)
        assert same(found(Run(store, "run")), whole)
        outcomes["tiles twice, in any order, merged twice: same surface"] += 1


def test_an_object_that_goes_or_breaks_while_it_is_read(finished, tmp_path):
    objects, whole = finished
    with _broken_at(-1, None) as reads:
        survey(_untracked(tmp_path), Run(_without_surface(objects, tmp_path), "run"))
    for case, generator in enumerate(draws("objects that break", cases(3, cost=50))):
        store = _without_surface(objects, tmp_path / str(case))
        moment = generator.randrange(len(reads))
        with _broken_at(moment, generator):
            first = _resumed(_untracked(tmp_path / str(case)), store, whole, reads[moment])
        then = _resumed(_untracked(tmp_path / str(case)), store, whole, reads[moment])
        outcomes[f"object goes or breaks while it is read: {first}; run resumed: {then}"] += 1


@contextlib.contextmanager
def _broken_at(moment, generator):
    """The object of that read, counted from 0, is removed or damaged just before it; gives the keys read."""
    read, keys = FileStore.read, []

    def reading(store, key):
        keys.append(key)
        if len(keys) == moment + 1:
            kind, content = _damaged(read(store, key), generator)
            store.delete(key) if kind == "truncated" else store.write(key, content)
        return read(store, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileStore, "read", reading)
        yield keys


def _untracked(folder):
    return Settings(store=str(folder), tracking="none")


def _without_surface(objects, folder):
    """A store with a run that is trained and planned."""
    store = open_store(str(folder))
    for key, content in objects.items():
        if "/tiles/" not in key and "/grids/" not in key:
            store.write(key, content)
    return store


def _read(store, whole, what):
    """Whoever reads gets what was written, or is told."""
    return _outcome(lambda: None, store, whole, what, "same numbers")


def _resumed(settings, store, whole, what):
    """Whoever goes on gets to the same results, or is told."""
    return _outcome(lambda: survey(settings, Run(store, "run")), store, whole, what, "same bits")


def _outcome(do, store, whole, what, well):
    try:
        do()
        results = found(Run(store, "run"))
    except LossmapError as error:
        check_line(str(error))
        return "told"
    assert same(results, whole), what
    return well


def _restore(store, objects):
    for key in list(store.keys("")):
        if key not in objects:
            store.delete(key)
    for key, content in objects.items():
        if not store.exists(key) or store.read(key) != content:
            store.write(key, content)
