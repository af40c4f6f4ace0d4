"""What a machine lacks is one line, before anything is trained."""

import errno
import tempfile

import pytest
import torch

from lossmap.components.core.errors import LossmapError
from lossmap.components.core.machine import (
    explanation,
    require_device,
    require_semaphores,
    require_temporary_folder,
)


def _line(call, *arguments):
    with pytest.raises(LossmapError) as told:
        call(*arguments)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "the disk is full: free space"),
        (errno.EROFS, "it can only be read"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EAGAIN, "ulimit -u"),
    ],
)
def test_what_the_system_refuses_has_its_cure(number, cure):
    told = explanation(OSError(number, "reason", "/a/file"))
    assert told.startswith("/a/file: reason; ")
    assert cure in told


def test_what_may_be_the_programs_fault_is_not_explained_away():
    assert explanation(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) is None
    assert explanation(OSError("of nobody")) is None


def test_no_folder_for_temporary_files_is_told_wherever_one_is_asked_for():
    told = explanation(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/nowhere']"))
    assert told.endswith("found in ['/nowhere']; free space, or name another folder by TMPDIR")


def test_a_machine_that_has_everything_is_not_refused():
    assert require_temporary_folder() == tempfile.gettempdir()
    assert require_semaphores() == "/dev/shm"
    require_device("cpu", "landscape.device")
    require_device("auto", "training.device")


def test_a_folder_for_temporary_files_that_takes_none_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert _line(require_temporary_folder) == (
        f"the folder for temporary files, {tmp_path}/gone, takes none: No such file or directory; free space,"
        " or name another folder by TMPDIR"
    )


def test_a_shared_memory_that_cannot_be_written_is_named(monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refused)
    told = _line(require_semaphores)
    assert told.startswith(
        "processes cannot wait for each other, which they do by way of /dev/shm: Read-only"
    )
    assert told.endswith("; mount one that can be written, as Docker does by --shm-size=256m")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named_by_its_field():
    assert _line(require_device, "cuda", "landscape.device").startswith(
        "landscape.device is cuda, and torch sees no GPU on this machine; choose cpu"
    )
