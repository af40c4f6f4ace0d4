"""Seeded campaigns: how many cases there are, how valid files are damaged, and what nothing may do with them.

LOSSMAP_CASES is the number of cases of each campaign, without it few enough for `make test`; LOSSMAP_SEED
draws others. Equal numbers, equal cases.
"""

import contextlib
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import hypothesis
import psutil
from hypothesis import strategies

from lossmap.components.core.errors import LossmapError

SEED = int(os.environ.get("LOSSMAP_SEED", "20"))
_CASES = int(os.environ.get("LOSSMAP_CASES", "0"))
_SECONDS = 5.0
_MOST_BYTES = 2**30  # of memory that one input may take
_LONGEST = 4000  # characters of a line

Campaign = Callable[..., Any]
Damage = list[tuple[str, int, int]]
outcomes: Counter[str] = Counter()  # "campaign: refused" and "campaign: read"


class Hang(BaseException):
    """An input has kept us busy for too long; nothing catches it by mistake."""


def cases(few: int, cost: int = 1) -> int:
    """How many cases a campaign has; `few` where nobody asks for more. One that costs as much as so many
    others has that many times fewer.
    """
    return max(few, _CASES // cost) if _CASES else few


def campaign(few: int) -> Campaign:
    """A decorator for tests that hypothesis gives their arguments: seeded, without a database or deadline."""
    settings = hypothesis.settings(
        max_examples=cases(few),
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    return lambda test: hypothesis.seed(SEED)(settings(test))


def draws(name: str, count: int) -> Iterator[random.Random]:
    """As many generators of random numbers, each its own, the same for equal names and seeds."""
    return (random.Random(f"{SEED} {name} {index}") for index in range(count))


_DAMAGE = strategies.lists(
    strategies.tuples(
        strategies.sampled_from(("flip", "flip", "byte", "cut", "drop", "double", "zeros", "ones", "splice")),
        strategies.integers(0, 2**32 - 1),
        strategies.integers(0, 2**16 - 1),
    ),
    min_size=1,
    max_size=5,
)


def damaged(corpus: Sequence[bytes]) -> strategies.SearchStrategy[bytes]:
    """Valid files with flipped bits, other bytes, cut off ends, missing, doubled and overwritten parts, and
    parts of each other.
    """
    chosen = strategies.integers(0, len(corpus) - 1)
    return strategies.builds(lambda index, damage: _damage(corpus, index, damage), chosen, _DAMAGE)


def _damage(corpus: Sequence[bytes], index: int, damage: Damage) -> bytes:
    content = bytearray(corpus[index])
    for kind, where, value in damage:
        place, length = where % max(1, len(content)), 1 + value % 64
        match kind:
            case "flip" if content:
                content[place] ^= 1 << value % 8
            case "byte" if content:
                content[place] = value % 256
            case "cut":
                del content[place:]
            case "drop":
                del content[place : place + length]
            case "double":
                content[place:place] = content[place : place + length]
            case "zeros" | "ones":
                filler = b"\0" if kind == "zeros" else b"\xff"
                content[place : place + length] = filler * len(content[place : place + length])
            case "splice":
                other = corpus[value % len(corpus)]
                content[place:] = other[where % max(1, len(other)) :]
    return bytes(content)


def survived(name: str, call: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a call takes its arguments. One that does not says so in one line that a terminal can show;
    anything else, and more than five seconds of computing, is a failure.
    """
    with _within_seconds():
        try:
            call(*arguments)
        except LossmapError as error:
            check_line(str(error))
            outcomes[f"{name}: refused"] += 1
            return False
    outcomes[f"{name}: read"] += 1
    return True


def check_line(line: str) -> None:
    """One line, without what steers a terminal, and not endless."""
    assert line.isprintable(), ascii(line)[:2000]
    assert line.strip(), "an error says nothing"
    assert len(line) <= _LONGEST, f"{len(line)} characters: {line[:200]}"


@contextlib.contextmanager
def _within_seconds() -> Iterator[None]:
    def ring(_number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {_SECONDS} s, in {frame.f_code.co_qualname if frame else 'C'}")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """Whoever asks for more than a gigabyte gets none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
