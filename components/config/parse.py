"""From YAML and `path.to.field=value` to an experiment; what does not fit is refused in one line that says
what would.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from lossmap.components.config.cluster import Cluster
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Axis, Convexity, Curvature, scaling
from lossmap.components.config.models import Model
from lossmap.components.config.yaml_fields import explained, fields_of
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.frozen import Frozen

_ARCHITECTURES = tuple(model.model_fields["architecture"].default for model in get_args(get_args(Model)[0]))
_SECTIONS: dict[str, Frozen] = {
    "landscape.adaptive": Adaptive(),
    "landscape.convexity": Convexity(),
    "landscape.curvature": Curvature(),
    "landscape.line": Axis(points=101),
}


def parse_yaml(text: str, name: str) -> Experiment:
    """The experiment in a YAML file.

    Args:
        text: content of the file.
        name: of the file, for messages.
    """
    return parse(
        fields_of(text, name, "the fields of an experiment; `lossmap show digits-linear` prints an example")
    )


def override(experiment: Experiment, assignments: Sequence[str]) -> Experiment:
    """The experiment with some fields changed.

    Args:
        experiment: what is changed; it stays as it is.
        assignments: each `path.to.field=value`, the value in YAML.
    """
    values = experiment.model_dump(mode="json")
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ExperimentError(f"--set {assignment!r} has no =, expected path.to.field=value")
        _assign(values, path.strip(), _value(assignment, text))
    return parse(values)


def parse(values: dict[str, Any]) -> Experiment:
    """An experiment from its fields."""
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise ExperimentError(_explained(error)) from None


def _value(assignment: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ExperimentError(
            f"--set {assignment!r}: {text!r} is not a YAML value; put it in quotes"
        ) from None


def _assign(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, field = path.split(".")
    place: Any = values
    for depth, parent in enumerate(parents, start=1):
        section = ".".join(parents[:depth])
        if section in _SECTIONS and isinstance(place, dict) and place.get(parent) is None:
            place[parent] = _SECTIONS[section].model_dump(
                mode="json"
            )  # a field of what is not there yet asks for it
        place = place.get(parent) if isinstance(place, dict) else None
    free = (
        parents == ["model", "arguments"]
        or path == "model.architecture"
        or _another_architecture(values, path)
    )
    if not isinstance(place, dict) or (field not in place and not free):
        raise ExperimentError(_unknown(path, values))
    if path == "model.architecture" and value != place.get("architecture"):
        values["model"] = {
            "architecture": value,
            "seed": place["seed"],
        }  # the fields of the former architecture mean nothing in the new one
    elif path == "cluster.profile" and value != place.get("profile"):
        values["cluster"] = _profile(value)  # in place of the former profile's defaults
    else:
        place[field] = value
    if path == "landscape.directions":
        place.update(scaling(value))  # in place of what the former directions need


def _profile(name: Any) -> dict[str, Any]:
    try:
        return Cluster(profile=name).model_dump(mode="json")
    except ValidationError:
        return {"profile": name}  # refused when the whole experiment is


def _another_architecture(values: dict[str, Any], path: str) -> bool:
    """Whether the path is of a model whose architecture was just chosen, so that its fields are not there
    yet.
    """
    return (
        path.startswith("model.")
        and set(values["model"]) == {"architecture", "seed"}
        and values["model"]["architecture"] != "linear"
    )


def _unknown(path: str, values: dict[str, Any]) -> str:
    known = list(_paths(values))
    abbreviated = [
        field
        for field in known
        if "".join(word[0] for word in field.rpartition(".")[2].split("_")) == path.rpartition(".")[2]
    ]
    near = abbreviated or difflib.get_close_matches(path, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "`lossmap show RECIPE` lists every field"
    return f"the experiment has no field {path}; {hint}"


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"] if part not in _ARCHITECTURES)
    if first["type"] == "extra_forbidden":
        return _unknown(path, Experiment().model_dump(mode="json"))
    if first["type"] == "union_tag_invalid":
        return f"model.architecture is {first['ctx']['tag']!r}, expected one of {', '.join(_ARCHITECTURES)}"
    return explained(first, path)
