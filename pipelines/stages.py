"""How a long command tells what goes on: a display for each stage, and single lines."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from lossmap.components.core.progress import Printed, Progress, silent

Stage = Callable[[str], AbstractContextManager[Progress]]  # opens the display of a stage by its name
Say = Callable[[str], None]  # shows a line to a person


@contextmanager
def printed_stage(name: str) -> Iterator[Progress]:
    """Lines on standard error, so that standard output holds nothing but JSON."""
    yield Printed(name)


@contextmanager
def silent_stage(_name: str) -> Iterator[Progress]:
    """No display."""
    yield silent
