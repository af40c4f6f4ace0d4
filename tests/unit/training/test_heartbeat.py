import time

import pytest

from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.training.heartbeat import ProcessLauncher, StoreLauncher, beating


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def _gone(launcher, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not launcher.gone():
        time.sleep(0.02)
    return launcher.gone()


def test_a_launcher_that_gives_signs_of_life_is_there_and_then_it_is_gone(store):
    with beating(store, "a", 0.05):
        launcher = StoreLauncher(store, "a", beat=0.05, silence=0.5)
        assert not _gone(launcher, 1.5)
    assert _gone(launcher, 10)


def test_while_the_store_tells_nothing_no_time_counts(store):
    launcher = StoreLauncher(store, "a", beat=0.02, silence=0.1)
    assert not _gone(launcher, 1)
    store.write(layout.launcher("a"), b"1")
    assert _gone(launcher, 10)


def test_a_process_is_gone_when_it_is():
    assert not ProcessLauncher(1).gone()
    assert ProcessLauncher(2**22 + 1).gone()
