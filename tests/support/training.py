"""Training in this process: what torchrun would start, without its start."""

import contextlib
import io
import signal
from collections.abc import Iterator

import pytest

from lossmap.components.config.settings import Settings
from lossmap.components.core.determinism import torch_as_before
from lossmap.components.steps import Launch
from lossmap.components.stores.runs import Run
from lossmap.components.training.listen import Listener, Listeners
from lossmap.components.training.main import train


@contextlib.contextmanager
def only_rank() -> Iterator[None]:
    """The environment that torchrun gives the only process of a group; its store takes a free port."""
    place = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
            patch.setenv(name, str(value))
        yield


def in_process(settings: Settings) -> Launch:
    """Train by this process, as steps.locally does by others; `training.processes` is taken for one."""

    def launch(run: Run, listeners: Listeners) -> None:
        said, listener = io.StringIO(), Listener(listeners)
        with only_rank(), _left_as_it_was(), contextlib.redirect_stdout(said):
            train(run.training, settings)
        for line in said.getvalue().splitlines():
            if "training.processes is" not in line:  # that it is alone
                listener.hear(line)

    return launch


@contextlib.contextmanager
def _left_as_it_was() -> Iterator[None]:
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        with torch_as_before():
            yield
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
