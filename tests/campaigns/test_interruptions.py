"""A run killed, asked to stop, or out of disk at every write, removal and step in turn: it goes on to the
bits of an undisturbed one.
"""

import contextlib
import itertools
import random
import re
import signal
import time

import pytest
from support.campaigns import cases, check_line, draws, outcomes
from support.interruptions import Killed, at_every_moment, at_moment, full_disk_at_write, kill, terminate
from support.processes import as_ranks
from support.small_run import found, same, survey

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import Interrupted, StoreError
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run

_NEVER = -1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What is found of a run, the moments in it, and how many writes it has."""
    with at_moment(_NEVER, kill) as moments:
        whole = _survey(tmp_path_factory.mktemp("whole"))
    return whole, moments, sum(moment.startswith("before write") for moment in moments)


@pytest.fixture(autouse=True)
def _stopped_as_by_ctrl_c():
    """SIGTERM does what the command line has it do."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


def _survey(folder):
    store = open_store(str(folder))
    survey(Settings(store=store.uri, tracking="none"), Run(store, "run"))
    return found(Run(store, "run"))


def _in_turn(name, count):
    """Numbers below `count`, all of them once before any comes again, in a seeded order; each with a
    generator of its own.
    """
    first = next(draws(f"{name}, order", 1))
    order = itertools.cycle(first.sample(range(count), count))
    return enumerate(zip(order, draws(name, cases(2, cost=50)), strict=False))


@pytest.mark.parametrize("act", [kill, terminate])
def test_interrupted_at_any_moment_once_and_again(undisturbed, tmp_path, act):
    whole, moments, _ = undisturbed
    for case, (first, generator) in _in_turn(act.__name__, len(moments)):
        again = [generator.randrange(len(moments)) for _ in range(generator.randrange(3))]
        interrupted = 0
        for moment in (first, *again):
            try:
                with at_moment(moment, act):
                    _survey(tmp_path / str(case))
            except (Killed, KeyboardInterrupt, Interrupted):
                interrupted += 1
        assert same(_survey(tmp_path / str(case)), whole), moments[first]
        outcomes[f"run, {act.__name__} {interrupted} times: same bits"] += 1


def test_a_full_disk_at_any_write_is_one_line(undisturbed, tmp_path):
    whole, _, writes = undisturbed
    for case, (write, _) in _in_turn("full disk", writes):
        with full_disk_at_write(write), pytest.raises(StoreError, match="No space left on device") as told:
            _survey(tmp_path / str(case))
        check_line(str(told.value))
        assert same(_survey(tmp_path / str(case)), whole), str(told.value)
        outcomes["full disk: told, then same bits"] += 1


@pytest.fixture(scope="module")
def stopped(undisturbed, tmp_path_factory):
    """The objects of a run killed before its fourth and last step: checkpoints of steps 2 and 3."""
    folder = tmp_path_factory.mktemp("stopped")
    steps = [number for number, moment in enumerate(undisturbed[1]) if moment == "before train_step"]
    with contextlib.suppress(Killed), at_moment(steps[3], kill):
        _survey(folder)
    store = open_store(str(folder))
    return {key: store.read(key) for key in store.keys("")}


_DAMAGE = {
    "truncated to nothing": lambda content, _: b"",
    "half of it": lambda content, _: content[: len(content) // 2],
    "a bit flipped": lambda content, place: (
        content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    ),
}


def test_every_object_of_a_checkpoint_damaged_in_turn(undisturbed, stopped, tmp_path, caplog):
    whole, *_ = undisturbed
    damages = [(key, kind) for key in stopped if "/checkpoints/" in key for kind in _DAMAGE]
    for case, (number, generator) in _in_turn("damaged checkpoints", len(damages)):
        damaged, kind = damages[number]
        store = open_store(str(tmp_path / str(case)))
        for key, content in stopped.items():
            store.write(key, content)
        content = stopped[damaged]
        store.write(damaged, _DAMAGE[kind](content, generator.randrange(len(content))))
        caplog.clear()
        assert same(_survey(tmp_path / str(case)), whole), (damaged, kind)
        told = re.findall(r"going on from step (\d)$", "\n".join(caplog.messages), re.MULTILINE)
        # where the list names no checkpoint, from the start; where a bit of it tells another digest, of the
        # newest or the one before, as if that were damaged
        listed = (["0"], ["2"], []) if kind == "a bit flipped" else (["0"],)
        expected = {"step-00000003": (["2"],), "step-00000002": ([],)}
        assert told in expected.get(damaged.split("/")[-2], listed), (damaged, kind)
        outcomes[f"checkpoint, {kind}: {'told' if told else 'not needed'}, same bits"] += 1


def test_two_at_the_same_time_end_with_the_same_bits(undisturbed, tmp_path):
    """Two runs on one training and one surface, through every step to two merges, in any order of writes."""
    for case, generator in enumerate(draws("two runs", cases(1, cost=200))):
        folder, seed = tmp_path / str(case), generator.random()
        as_ranks(2, _one_of_two, folder, seed)
        for name in ("run-0", "run-1"):
            results = found(Run(open_store(str(folder)), name))
            assert same(results, undisturbed[0]), name
        outcomes["two runs at the same time: same bits"] += 1


def _one_of_two(rank, folder, seed):
    generator = random.Random(f"{seed} {rank}")
    store = open_store(str(folder))
    with at_every_moment(lambda _: time.sleep(generator.choice((0, 0, 0.02)))):
        survey(Settings(store=store.uri, tracking="none"), Run(store, f"run-{rank}"))
