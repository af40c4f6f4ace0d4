"""What the pods of a run are on a Kubernetes cluster, beside what they do: what a platform demands of
them.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, field_validator, model_validator

from lossmap.components.core.frozen import Frozen

USER = 1000
_ISTIO = {"sidecar.istio.io/inject": "false"}
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = rf"(?=.{{1,253}}$){_DNS_LABEL}(\.{_DNS_LABEL})*"
_OUR_VARIABLES = re.compile(r"(LOSSMAP|PET)_.*|HOME|OMP_NUM_THREADS|TORCH_DISABLE_SHARE_RDZV_TCP_STORE")
_OUR_PATHS = re.compile(
    r"/(bin|etc|lib|opt|tmp|usr|var)|/(dev|proc|sys|etc/lossmap|opt/lossmap|var/run)(/.*)?"
)
_OUR_LABELS = re.compile(
    r"(pipeline|lossmap|workflows\.argoproj\.io|training\.kubeflow\.org)/.*"
    r"|app\.kubernetes\.io/(name|part-of|component)"
)
_CREDENTIAL = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|ACCESS_KEY|API_KEY|PRIVATE_KEY")


def _text(pattern: str, what: str) -> Any:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is {what}")
        return value

    return AfterValidator(check)


def _scalar_as_text(value: Any) -> Any:
    """What YAML takes for something else, such as false in `sidecar.istio.io/inject: false`."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


ObjectName = Annotated[
    str, _text(_DNS_NAME, "no name of a Kubernetes object, expected lower-case letters, digits, dashes")
]
_VolumeName = Annotated[
    str, _text(_DNS_LABEL, "no name of a volume, expected lower-case letters, digits and dashes, at most 63")
]
LabelKey = Annotated[
    str, _text(rf"({_DNS_NAME}/)?{_LABEL}", "no key of a label, expected such as kubernetes.io/arch or pool")
]
LabelValue = Annotated[
    str,
    BeforeValidator(_scalar_as_text),
    _text(rf"({_LABEL})?", "no value of a label, expected at most 63 letters, digits, dashes, dots"),
]
_Plain = Annotated[str, BeforeValidator(_scalar_as_text)]
_VariableName = Annotated[
    str, _text("[A-Za-z_][A-Za-z0-9_]*", "no name of a variable, expected letters, digits and underscores")
]
_Path = Annotated[str, _text(r"(/[\w.-]+)+", "no folder in a pod, expected an absolute path without ..")]


class Toleration(Frozen):
    """A taint of nodes that the pods tolerate."""

    key: LabelKey | None = Field(None, description="the taint's key; without it every taint is tolerated")
    operator: Literal["Exists", "Equal"] = Field(
        "Exists",
        description="Exists tolerates any value of the key, Equal the one given",
    )
    value: LabelValue | None = Field(None, description="the taint's value, with operator Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None,
        description="the taint's effect; without it every effect is tolerated",
    )

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"value is {self.value!r} and operator is Exists, expected operator Equal")
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator is Equal and there is no key, expected a key, or operator Exists")
        return self


class _Source(Frozen):
    config_map: ObjectName | None = Field(None, description="name of a ConfigMap in the runs' namespace")
    secret: ObjectName | None = Field(None, description="name of a Secret in the runs' namespace")
    optional: bool = Field(False, description="whether pods start also where there is none of that name")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.config_map) == bool(self.secret):
            raise ValueError("expected either config_map or secret")
        return self

    @property
    def name(self) -> str:
        """Of the ConfigMap or the Secret."""
        return self.config_map or self.secret or ""


class Variables(_Source):
    """Environment variables from a ConfigMap or a Secret."""

    keys: dict[_VariableName, str] = Field(description="key of the ConfigMap or Secret, by variable")


class Files(_Source):
    """A folder of files from a ConfigMap or a Secret: each key is a file."""

    config_map: _VolumeName | None = Field(None, description="name of a ConfigMap in the runs' namespace")
    secret: _VolumeName | None = Field(None, description="name of a Secret in the runs' namespace")
    path: _Path = Field(description="folder in the pods, such as /etc/ssl/company")


class Pod(Frozen):
    """What every pod of a run is: the steps', the training's and the survey's alike."""

    labels: dict[LabelKey, LabelValue] = Field({}, description="labels of the pods, beside lossmap's own")
    annotations: dict[LabelKey, _Plain] = Field(
        _ISTIO,
        description="annotations of the pods; Istio's keeps its container out unless another value is given",
    )
    image_pull_secrets: tuple[ObjectName, ...] = Field(
        (), description="Secrets with which nodes pull the image"
    )
    user: PositiveInt | None = Field(
        USER, description="user that the pods run as; null where the platform gives one (OpenShift)"
    )
    group: PositiveInt | None = Field(
        USER, description="group that the pods run as; null where the platform gives one"
    )
    runtime_class: ObjectName | None = Field(
        None,
        description=(
            "runtime class of the training pods, such as nvidia; Kubeflow Pipelines cannot give one to the "
            "other pods"
        ),
    )
    variables: dict[_VariableName, _Plain] = Field(
        {}, description="environment variables; values that are secret come from `environment`"
    )
    environment: tuple[Variables, ...] = Field(
        (), description="environment variables from ConfigMaps and Secrets"
    )
    files: tuple[Files, ...] = Field((), description="folders of files from ConfigMaps and Secrets")

    @field_validator("labels")
    @classmethod
    def _none_of_ours(cls, labels: dict[str, str]) -> dict[str, str]:
        if taken := [key for key in labels if _OUR_LABELS.fullmatch(key)]:
            raise ValueError(f"{taken[0]} is a label by which a run is found, expected another")
        return labels

    @field_validator("annotations")
    @classmethod
    def _without_a_sidecar(cls, annotations: dict[str, str]) -> dict[str, str]:
        return _ISTIO | annotations

    @field_validator("variables")
    @classmethod
    def _no_credentials(cls, variables: dict[str, str]) -> dict[str, str]:
        for name in variables:
            if _CREDENTIAL.search(name.upper()):
                raise ValueError(
                    f"{name} looks like a credential, which everybody who may see the run could read,"
                    " expected it in cluster.pod.environment, from a Secret"
                )
        return variables

    @field_validator("files")
    @classmethod
    def _in_folders_of_their_own(cls, files: tuple[Files, ...]) -> tuple[Files, ...]:
        for path in (each.path for each in files):
            if _OUR_PATHS.fullmatch(path) or ".." in path.split("/"):
                raise ValueError(
                    f"{path!r} has other files in it, expected a folder such as /etc/ssl/company"
                )
        return files

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [*self.variables, *(name for source in self.environment for name in source.keys)]
        if taken := [name for name in names if _OUR_VARIABLES.fullmatch(name)]:
            raise ValueError(f"{taken[0]} is a variable that lossmap sets itself, expected another")
        _refuse_twice(names, "variable")
        _refuse_twice((each.path for each in self.files), "folder")
        _refuse_twice((each.name for each in self.files), "source of files")
        return self

    @property
    def variable_names(self) -> frozenset[str]:
        """Of all variables that are asked for."""
        return frozenset(self.variables).union(*(source.keys for source in self.environment))


def _refuse_twice(names: Iterable[str], what: str) -> None:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise ValueError(f"{name} is there twice, expected each {what} once")
        seen.add(name)
