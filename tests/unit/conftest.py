"""What several unit tests need."""

import socket

import pytest
import torch

from lossmap.components.training.distributed import process_group


@pytest.fixture
def group(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {
        "RANK": 0,
        "WORLD_SIZE": 1,
        "LOCAL_RANK": 0,
        "LOCAL_WORLD_SIZE": 1,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    torch.set_num_threads(1)
    with process_group("cpu") as joined:
        yield joined
