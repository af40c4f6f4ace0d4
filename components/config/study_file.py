"""From YAML to a study; what does not fit is refused in one line that says what would."""

import difflib
from typing import Any

from pydantic import ValidationError

from lossmap.components.config.study import Study
from lossmap.components.config.yaml_fields import fields_of, validation_message
from lossmap.components.core.errors import ExperimentError

_NEEDED = ", ".join(name for name, field in Study.model_fields.items() if field.is_required())


def parse_study_yaml(text: str, name: str) -> Study:
    """The study in a YAML file.

    Args:
        text: content of the file.
        name: of the file, for messages.

    Raises:
        ExperimentError: it is no study.
    """
    return parse_study(fields_of(text, name, f"the fields of a study: {_NEEDED} …"))


def parse_study(values: dict[str, Any]) -> Study:
    """A study from its fields.

    Raises:
        ExperimentError: they are not those of a study.
    """
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise ExperimentError(_message(error)) from None


def _message(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        return _unknown(path)
    if first["type"] == "missing":
        return f"the study's {path} is missing, expected at least the fields {_NEEDED}"
    return validation_message(first, path, "the study's ")


def _unknown(path: str) -> str:
    near = difflib.get_close_matches(path, Study.model_fields, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(Study.model_fields)}"
    return f"the study has no field {path}; {hint}"
