"""The fork server: what it has imported, what it must not have done, and what reaches a process from its
parent; interrupts.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from multiprocessing.spawn import get_preparation_data

import numpy as np
import psutil
import pytest

from lossmap.components.core import processes
from lossmap.components.core.processes import (
    PRELOADED,
    interrupts,
    keep_freed_memory,
    process_pool,
    processes_starting,
    start_fork_server,
)

pytestmark = pytest.mark.skipif(not processes.FORKS, reason="this platform spawns")


def _do_nothing():
    pass


def _in_a_process(expression):
    executor = process_pool(1, _do_nothing)
    try:
        with processes_starting():
            future = executor.submit(eval, expression)
        return future.result()
    finally:
        executor.shutdown()


def test_every_name_exists():  # the server is silent about one that does not
    for name in PRELOADED:
        importlib.import_module(name)


def test_a_process_has_torch_and_ours_before_it_is_asked_for_anything():
    loaded = "[name for name in {!r} if name not in __import__('sys').modules]"
    assert _in_a_process(loaded.format(PRELOADED)) == []


def test_a_process_does_not_import_the_script_that_starts_it(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    script = sys.modules["__main__"]
    with processes_starting():
        inside = get_preparation_data("worker")
    assert "init_main_from_path" in get_preparation_data("worker")
    assert not {"init_main_from_path", "init_main_from_name"} & set(inside)
    assert sys.modules["__main__"] is script


def test_what_is_imported_before_processes_fork_asks_for_no_gpu():
    script = f"""
import importlib, json, torch
asked = []
def heard(place, name):
    real = getattr(place, name)
    setattr(place, name, lambda *given: asked.append(name) or real(*given))
for name in ("is_available", "device_count", "init", "_lazy_init"):
    heard(torch.cuda, name)
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    if hasattr(torch._C, name):
        heard(torch._C, name)
for name in {PRELOADED!r}:
    importlib.import_module(name)
before = list(asked)
torch.cuda.is_available()
print(json.dumps([before, asked[:1]]))
"""
    assert json.loads(subprocess.check_output([sys.executable, "-c", script])) == [[], ["is_available"]]


def test_a_process_has_todays_environment_and_folder_not_the_servers(monkeypatch, tmp_path):
    monkeypatch.setenv("LOSSMAP_OF_THE_SERVER", "1")
    start_fork_server()
    monkeypatch.delenv("LOSSMAP_OF_THE_SERVER")
    monkeypatch.setenv("LOSSMAP_OF_TODAY", "2")
    monkeypatch.chdir(tmp_path)
    found, folder = _in_a_process("(dict(__import__('os').environ), __import__('os').getcwd())")
    assert found == dict(os.environ)
    assert folder == str(tmp_path)


def test_there_is_one_server_however_often_it_is_asked_for():
    def servers():
        alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
        return [child.pid for child in alive if "multiprocessing.forkserver" in " ".join(child.cmdline())]

    start_fork_server()
    first = servers()
    assert len(first) == 1
    start_fork_server()
    _in_a_process("1")
    assert servers() == first


def test_a_process_computes_with_several_threads_though_the_server_was_forked():
    product = (
        "(lambda torch: (torch.set_num_threads(2), torch.ones(512, 512).mm(torch.ones(512,"
        " 512)).sum().item()))(__import__('torch'))[1]"
    )
    assert _in_a_process(product) == 512.0**3


def test_the_server_ends_with_the_process_that_started_it():
    script = """
import psutil
from lossmap.components.core.processes import start_fork_server
start_fork_server()
print(*[child.pid for child in psutil.Process().children()])
"""
    found = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert found
    left = [psutil.Process(int(pid)) for pid in found if psutil.pid_exists(int(pid))]
    assert psutil.wait_procs(left, timeout=60)[1] == []


def test_ctrl_c_does_not_reach_a_server_that_still_imports(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import os, psutil
from lossmap.components.core.processes import process_pool, processes_starting, start_fork_server
if __name__ == "__main__":
    start_fork_server()
    servers = []
    while not servers:  # at first it is a copy of this program
        children = psutil.Process().children()
        servers = [child for child in children if "multiprocessing.forkserver" in " ".join(child.cmdline())]
    [server] = servers
    server.send_signal(2)
    executor = process_pool(1, int)
    with processes_starting():
        future = executor.submit(os.getppid)
    print(future.result() == server.pid)
    executor.shutdown()
""")
    found = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("True\n", "")


def _faults_of_large_blocks():
    """How many pages a process faults for that has freed as many before."""
    keep_freed_memory()
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [np.ones(1 << 21) for _ in range(6)]  # 96 MiB, 24,576 pages
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this is not glibc")
def test_what_is_freed_is_kept_for_what_is_allocated_next():
    executor = process_pool(1, _do_nothing)
    try:
        with processes_starting():
            future = executor.submit(_faults_of_large_blocks)
        assert future.result() < 2000
    finally:
        executor.shutdown()


def test_processes_are_spawned_where_the_folder_for_temporary_files_has_a_long_name(tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    script = """
import os
from lossmap.components.core.processes import process_pool, processes_starting, start_fork_server
if __name__ == "__main__":
    start_fork_server()
    executor = process_pool(1, print, "begun")
    with processes_starting():
        future = executor.submit(os.getppid)
    print(future.result() == os.getpid())
    executor.shutdown()
"""
    program = tmp_path / "program.py"
    program.write_text(script)
    found = subprocess.check_output(
        [sys.executable, program], env={**os.environ, "TMPDIR": str(folder)}, text=True
    )
    assert sorted(found.split()) == ["True", "begun"]


@pytest.fixture
def handled():
    before = signal.signal(signal.SIGTERM, interrupts())
    yield
    signal.signal(signal.SIGTERM, before)


def test_an_interrupt_comes_at_once(handled):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_waits_for_an_import(handled, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_to_import.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGTERM)\ntime.sleep(0.2)\nis_made = True\n"
    )
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module("slow_to_import")
        time.sleep(10)
    assert sys.modules.pop("slow_to_import").is_made


def test_an_interrupt_does_not_wait_for_an_import_that_never_ends(handled, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_LONGEST_IMPORT", 0.1)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "endless.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGTERM)\ntime.sleep(10)\nraise ValueError\n"
    )
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module("endless")
