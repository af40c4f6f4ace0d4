"""Fields from YAML, and the one line that says which of them does not fit."""

from typing import Any

import yaml
from pydantic_core import ErrorDetails

from lossmap.components.core.errors import ExperimentError


def fields_of(text: str, name: str, expected: str) -> dict[str, Any]:
    """The fields in a YAML file.

    Args:
        text: content of the file.
        name: of the file, for messages.
        expected: what the file should hold, for messages.

    Raises:
        ExperimentError: it is not YAML, or holds no fields.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ExperimentError(f"{name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ExperimentError(f"{name} holds {type(values).__name__}, expected {expected}")
    return values


def validation_message(error: ErrorDetails, path: str, owner: str = "") -> str:
    """What is wrong with the value at a path, and what was expected.

    Args:
        error: what pydantic found.
        path: of the value, empty when it is about several.
        owner: whose field it is, ahead of the path.
    """
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{path}: {message}" if path else message
    expected = message.replace("Input should be ", "").replace("String should ", "text that should ")
    return f"{owner}{path} is {error['input']!r}, expected {expected}"
