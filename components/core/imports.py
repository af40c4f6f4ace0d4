"""Objects of the user's own Python code, by name."""

import importlib
import os
import sys
from typing import Any

from lossmap.components.core.errors import ExperimentError


def python_object(name: str) -> Any:
    """The function, class or other object package.module:name, from an installed package or from the current
    folder.

    Raises:
        ExperimentError: it cannot be had; the message is one line with Python's reason.
    """
    _look_in_current_folder()
    module, _, path = name.partition(":")
    try:
        value = importlib.import_module(module)
    except Exception as error:  # whatever the user's module does
        raise ExperimentError(
            f"{module} cannot be imported from {os.getcwd()} or as an installed package: {reason(error)}"
        ) from None
    for part in path.split("."):
        if not hasattr(value, part):
            public = ", ".join(sorted(known for known in vars(value) if not known.startswith("_"))[:8])
            raise ExperimentError(
                f"{module} has no {path}, expected one of its own names, such as"
                f" {public or 'none: it is empty'}"
            )
        value = getattr(value, part)
    return value


def reason(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _look_in_current_folder() -> None:
    """As `python -m` does. Processes that this one starts inherit it."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
