"""Moments at which a run can be killed, stopped, or find its disk full: at every write and removal of an
object, and at every step of training.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lossmap.components.stores import objects
from lossmap.components.stores.objects import FileStore
from lossmap.components.training.loop import Trainer

Act = Callable[[], None]


class Killed(BaseException):
    """In place of SIGKILL: nothing of ours catches it."""


def kill() -> None:
    """End here."""
    raise Killed


def terminate() -> None:
    """Ask this process to stop, as a machine does that is taken away."""
    signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def at_moment(number: int, act: Act) -> Iterator[list[str]]:
    """Act at the moment of that number, counted from 0: before an object is written, when it has another name
    still, and when it is in its place; before and after removals and steps. Gives the moments that came.
    """
    moments: list[str] = []

    def moment(what: str) -> None:
        moments.append(what)
        if len(moments) == number + 1:
            act()

    with at_every_moment(moment):
        yield moments


@contextlib.contextmanager
def at_every_moment(moment: Callable[[str], None]) -> Iterator[None]:
    """Call at each of these moments, with what it is."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in ((FileStore, "write"), (FileStore, "delete"), (Trainer, "train_step")):
            patch.setattr(kind, name, _surrounded(getattr(kind, name), name, moment))
        patch.setattr(objects.os, "fsync", lambda _file: moment("written, and not yet in its place"))
        yield


@contextlib.contextmanager
def full_disk_at_write(number: int) -> Iterator[list[int]]:
    """The disk is full at the write of that number, counted from 0. Gives a list with an entry a write."""
    writes: list[int] = []

    def fsync(file: int) -> None:
        writes.append(file)
        if len(writes) == number + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects.os, "fsync", fsync)
        yield writes


def _surrounded(call: Callable[..., Any], name: str, moment: Callable[[str], None]) -> Callable[..., Any]:
    def surrounded(*arguments: Any) -> Any:
        what = f"{name} {arguments[1]}" if len(arguments) > 1 else name
        moment(f"before {what}")
        result = call(*arguments)
        moment(f"after {what}")
        return result

    return surrounded
