"""Fields from YAML, and the one line that says which of them does not fit."""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.lines import shown

_MOST_CHARACTERS = 2**18  # YAML is read slowly, and an experiment has some 4,000
_MOST_VALUES = 2**17  # with those that aliases (*name) repeat
_DEEPEST = 50
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """Gives up where brackets or indentation are deep, for which PyYAML takes quadratic time."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803  # PyYAML's name
        self._check_depth(self.flow_level)
        super().fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        self._check_depth(len(self.indents))
        return super().add_indent(column)

    def _check_depth(self, depth: int) -> None:
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"it is more than {_DEEPEST} levels deep")


def fields_of(text: str, name: str, expected: str) -> dict[str, Any]:
    """The fields in a YAML file.

    Args:
        text: content of the file.
        name: of the file, for messages.
        expected: what the file should hold, for messages.

    Raises:
        ExperimentError: it is not YAML, or holds no fields.
    """
    values = read_yaml(text, name)
    if not isinstance(values, dict):
        raise ExperimentError(f"{name} holds {type(values).__name__}, expected {expected}")
    return values


def read_yaml(text: str, name: str) -> Any:
    """The value that YAML describes.

    Args:
        text: of one document.
        name: of where it comes from, for messages.

    Raises:
        ExperimentError: it is no YAML, or unfolds to more than any experiment has.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ExperimentError(
            f"{name} has {len(text)} characters, expected at most {_MOST_CHARACTERS} of YAML"
        )
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ExperimentError(f"{name} is not YAML: {' '.join(str(error).split())}") from None
    except Exception as error:  # of a value that is not what its tag or its form says, any
        raise ExperimentError(f"{name} is not YAML: {type(error).__name__}: {error}") from None
    check_plain(value, name)
    return value


def check_plain(value: Any, name: str) -> None:
    """Refuse a value that unfolds without end, or far more than an experiment does, and text that cannot be
    written.

    Args:
        value: of lists, dictionaries and what they hold.
        name: of where it comes from, for messages.

    Raises:
        ExperimentError: with what it is.
    """
    for count, (inner, depth) in enumerate(_unfolded(value, 0)):
        if depth > _DEEPEST or count > _MOST_VALUES:
            raise ExperimentError(
                f"{name} unfolds to more than {_MOST_VALUES} values or {_DEEPEST} levels, expected an"
                " experiment; do aliases (*name) repeat themselves?"
            )
        if isinstance(inner, str) and _SURROGATE.search(inner):
            raise ExperimentError(f"{name} has {shown(inner)}, which has half a character in it: a surrogate")


def _unfolded(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    yield value, depth
    if depth > _DEEPEST:
        return
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    if isinstance(inner, list | tuple | set):
        for one in inner:
            yield from _unfolded(one, depth + 1)


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
    # pydantic writes 1e38 with all its zeros
    expected = re.sub(r"\d{16,}", lambda digits: f"{float(digits[0]):g}", expected)
    return f"{owner}{path} is {shown(error['input'])}, expected {expected}"
