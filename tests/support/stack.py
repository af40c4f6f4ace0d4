"""The call stack of pytest, sixty frames deep, and how to be rid of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def on_a_short_stack(call: Callable[..., Result], *arguments: object, **options: object) -> Result:
    """Call from a thread of its own: kfp looks up the source of every frame above it, often."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(call, *arguments, **options).result()
