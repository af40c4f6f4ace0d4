"""From YAML and `path.to.field=value` to an experiment; what does not fit is refused in one line that says
what would.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from lossmap.components.config.cluster import profile_defaults
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Convexity, Curvature, Landscape, scaling
from lossmap.components.config.models import Model
from lossmap.components.config.yaml_fields import fields_of, read_yaml, validation_message
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.lines import shown

_ARCHITECTURES = tuple(model.model_fields["architecture"].default for model in get_args(get_args(Model)[0]))
_WITH_DEFAULTS = ("model.architecture", "cluster.profile", "landscape.directions")
_Fields = dict[str, Any]

# With every section of the survey that is null where nobody asks for it.
_WHOLE = Experiment(landscape=Landscape(adaptive=Adaptive(), convexity=Convexity(), curvature=Curvature()))


def parse_yaml(text: str, name: str) -> Experiment:
    """The experiment in a YAML file.

    Args:
        text: content of the file.
        name: of the file, for messages.

    Raises:
        ExperimentError: it is no experiment.
    """
    return parse(
        fields_of(text, name, "the fields of an experiment; `lossmap show digits-linear` prints an example")
    )


def override(experiment: Experiment, assignments: Sequence[str]) -> Experiment:
    """The experiment with some fields changed.

    A field of a section that is null asks for that section. Another architecture or profile starts from its
    own defaults, and other directions have the scale that they need: an experiment from a file or from the
    store states every field, also those that nobody chose. They are changed first, and what a platform
    demands of pods stays.

    Args:
        experiment: what is changed; it stays as it is.
        assignments: each `path.to.field=value`, the value in YAML.

    Raises:
        ExperimentError: the changed experiment is none.
    """
    values = experiment.model_dump(mode="json")
    for assignment in sorted(assignments, key=_brings_no_defaults):
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ExperimentError(f"--set {shown(assignment)} has no =, expected path.to.field=value")
        _assign(values, path.strip(), _value(assignment, text))
    return _experiment(values, known=values)


def parse(values: _Fields) -> Experiment:
    """An experiment from its fields.

    Raises:
        ExperimentError: they are not those of an experiment.
    """
    return _experiment(values, known=Experiment().model_dump(mode="json"))


def _experiment(values: _Fields, known: _Fields) -> Experiment:
    """The experiment of these fields; a field that does not exist is answered by the nearest known one."""
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise ExperimentError(_message(error, known)) from None


def _brings_no_defaults(assignment: str) -> bool:
    return assignment.partition("=")[0].strip() not in _WITH_DEFAULTS


def _value(assignment: str, text: str) -> Any:
    try:
        return read_yaml(text, "the value")
    except ExperimentError as error:
        cause = f"{shown(text)} is not a YAML value; put it in quotes"
        reason = cause if "is not YAML" in str(error) else error
        raise ExperimentError(f"--set {shown(assignment)}: {reason}") from None


def _assign(values: _Fields, path: str, value: Any) -> None:
    *parents, field = path.split(".")
    section = _section(values, parents)
    if section is None:
        raise ExperimentError(_unknown(path, values))
    if path == "model.architecture" and value != section[field]:
        values["model"] = {"architecture": value, "seed": section["seed"]}
    elif path == "cluster.profile" and value != section[field]:
        values["cluster"] = {
            **_WHOLE.cluster.model_dump(mode="json"),
            "profile": value,
            "pod": section["pod"],
            **profile_defaults(value),
        }
    elif path == "landscape.directions":
        section.update({"directions": value, **scaling(value)})
    else:
        section[field] = value


def _section(values: _Fields, parents: Sequence[str]) -> _Fields | None:
    """The fields below some names, those of a section that is null as they are by default; None where a name
    is that of a value.
    """
    section, default = values, _WHOLE.model_dump(mode="json")
    for parent in parents:
        default = default.get(parent) or {}
        if section.get(parent) is None:
            section[parent] = default
        section = section[parent]
        if not isinstance(section, dict):
            return None
    return section


def _unknown(path: str, known: _Fields) -> str:
    name = path.rpartition(".")[2]
    fields = [field for field in _paths(known) if not f"{field}.".startswith(f"{path}.")]
    near = [field for field in fields if _initials(field) == name]
    near = near or difflib.get_close_matches(path, fields, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "`lossmap show RECIPE` lists every field"
    return f"the experiment has no field {path}; {hint}"


def _initials(path: str) -> str:
    """The first letters of the words of a field's name: lr of learning_rate."""
    return "".join(word[0] for word in path.rpartition(".")[2].split("_"))


def _paths(values: _Fields, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _message(error: ValidationError, known: _Fields) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"] if part not in (*_ARCHITECTURES, "[key]"))
    if first["type"] == "extra_forbidden":
        return _unknown(path, known)
    if first["type"] == "union_tag_invalid":
        return f"model.architecture is {first['ctx']['tag']!r}, expected one of {', '.join(_ARCHITECTURES)}"
    return validation_message(first, path)
