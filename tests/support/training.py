"""Training in this process: what torchrun would start, without its start."""

import contextlib
import io
import signal
from collections.abc import Iterator

import pytest
import torch

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.settings import Settings
from lossmap.components.steps import Launch
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

    def launch(training: str, _experiment: Experiment, listeners: Listeners) -> None:
        said, listener = io.StringIO(), Listener(listeners)
        with only_rank(), _left_as_it_was(), contextlib.redirect_stdout(said):
            train(training, settings)
        for line in said.getvalue().splitlines():
            listener.hear(line)

    return launch


@contextlib.contextmanager
def _left_as_it_was() -> Iterator[None]:
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
