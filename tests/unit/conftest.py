"""What several unit tests need."""

import pytest
import torch
from support.training import only_rank

from lossmap.components.training.distributed import process_group


@pytest.fixture(autouse=True)
def determinism():
    """What trains or evaluates asks torch for it, and leaves that to the next file in the same process."""
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture
def group():
    with only_rank(), process_group("cpu") as joined:
        yield joined
