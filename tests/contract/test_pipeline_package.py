"""What the compiled pipeline of every recipe may contain: rules of the Kubeflow Pipelines that it is for.

No Kubeflow of 2.17 is at hand in CI; each rule says what it, or the older backend 2.0.5, does otherwise, and
how that is known. A rule that nothing breaks would hold nothing, so each is broken once.
"""

import copy
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from support.stack import on_a_short_stack

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.settings import Settings
from lossmap.pipelines.cluster.landscape_pipeline import package
from lossmap.pipelines.cluster.submit import check_for_cluster, demand
from lossmap.pipelines.recipes.registry import load, names
from lossmap.pipelines.studies import cells as study
from lossmap.pipelines.studies import named as studies

pytestmark = pytest.mark.filterwarnings("default")
_LONGEST_ARGUMENT = 128 * 1024 - 1
_LONGEST_PARAMETER = 10_000
_MOST_ITERATIONS = 300
_HONOURED = {
    "activeDeadlineSeconds",
    "configMapAsEnv",
    "configMapAsVolume",
    "fieldPathAsEnv",
    "imagePullSecret",
    "nodeSelector",
    "podMetadata",
    "secretAsEnv",
    "secretAsVolume",
    "securityContext",
    "tolerations",
}


@dataclass(frozen=True)
class Package:
    """A compiled pipeline: its specification, and what it asks of Kubernetes."""

    specification: dict[str, Any]
    platform: dict[str, Any]

    @property
    def components(self) -> dict[str, Any]:
        return self.specification["components"]

    @property
    def containers(self) -> dict[str, Any]:
        return {
            name: each["container"]
            for name, each in self.specification["deploymentSpec"]["executors"].items()
        }

    @property
    def settings(self) -> dict[str, Any]:
        return self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def tasks(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every task of every graph, by name."""
        graphs = [self.specification["root"], *(each for each in self.components.values() if "dag" in each)]
        for graph in graphs:
            yield from graph["dag"]["tasks"].items()


def _triggers(found: Package) -> Iterator[str]:
    for name, task in found.tasks():
        if "triggerPolicy" in task and name != "clean-up":
            yield f"{name} has {task['triggerPolicy']}"


def _arguments(found: Package) -> Iterator[str]:
    for name, container in found.containers.items():
        longest = max(map(len, (*container["command"], *container["args"])))
        if longest > _LONGEST_ARGUMENT:
            yield f"{name} has an argument of {longest} bytes"
    for name, task in found.tasks():
        # as text within the JSON of the executor's input, which is an argument of the driver and of the step
        length = len(json.dumps(json.dumps(task.get("inputs", {})).encode().decode()))
        length += len(json.dumps(found.components[task["componentRef"]["name"]]))
        if length > _LONGEST_ARGUMENT:
            yield f"the input of {name} has {length} bytes"


def _parameters(found: Package) -> Iterator[str]:
    given = found.specification["root"].get("inputDefinitions", {}).get("parameters", {})
    length = len(json.dumps(given))
    if length > _LONGEST_PARAMETER:
        yield f"the run's parameters have {length} bytes"


def _loops(found: Package) -> Iterator[str]:
    for name, task in found.tasks():
        if "parameterIterator" in task or "artifactIterator" in task:
            limit = task.get("iteratorPolicy", {}).get("parallelismLimit")
            if not limit or limit > _MOST_ITERATIONS:
                yield f"{name} has {limit or 'any number of'} iterations at a time"
            if found.components[task["componentRef"]["name"]].get("outputDefinitions"):
                yield f"something after {name} reads what its iterations return"


def _conditions(found: Package) -> Iterator[str]:
    for name, task in found.tasks():
        if "condition" in task.get("triggerPolicy", {}):
            yield f"{name} is conditional"


def _final_status(found: Package) -> Iterator[str]:
    for name, task in found.tasks():
        if "taskFinalStatus" in json.dumps(task.get("inputs", {})):
            yield f"{name} asks how another task ended"


def _task_config(found: Package) -> Iterator[str]:
    for name, component in found.components.items():
        if "TASK_CONFIG" in json.dumps(component.get("inputDefinitions", {})):
            yield f"{name} takes a dsl.TaskConfig"


def _constants(found: Package) -> Iterator[str]:
    for name, settings in found.settings.items():
        for source in (each for value in settings.values() if isinstance(value, list) for each in value):
            for key, value in source.items():
                if key.endswith("NameParameter") and "constant" not in value.get("runtimeValue", {}):
                    yield f"{name} names an object by a parameter"


def _kubernetes(found: Package) -> Iterator[str]:
    for name, settings in found.settings.items():
        for unknown in settings.keys() - _HONOURED:
            yield f"{name} asks for {unknown}"


def _downloads(found: Package) -> Iterator[str]:
    for name, container in found.containers.items():
        if "pip install" in " ".join(container["command"]):
            yield f"{name} installs packages when it starts"


def _outputs(found: Package) -> Iterator[str]:
    if found.specification["root"].get("outputDefinitions"):
        yield "the pipeline returns something"
    for name, component in found.components.items():
        if name.startswith("comp-exit-handler") and component.get("outputDefinitions"):
            yield f"{name} returns something"


def _pipeline_settings(found: Package) -> Iterator[str]:
    for unknown in found.platform["platforms"]["kubernetes"].keys() - {"deploymentSpec"}:
        yield f"the pipeline asks for {unknown}"


@dataclass(frozen=True)
class Rule:
    """What a package must not have.

    Attributes:
        broken: what of a package breaks it.
        reason: what happens otherwise.
        source: how that is known.
        breaking: changes a package so that it breaks the rule.
    """

    broken: Callable[[Package], Iterator[str]]
    reason: str
    source: str
    breaking: Callable[[Package], object]


def _chain(found: Package) -> dict[str, Any]:
    return found.components["comp-exit-handler-1"]["dag"]["tasks"]


def _loop(found: Package) -> dict[str, Any]:
    return next(task for _, task in found.tasks() if "parameterIterator" in task)


RULES = {
    "trigger policies": Rule(
        _triggers,
        "2.17 makes an exit hook of every task that has one, and refuses what comes after it",
        "backend/src/v2/compiler/argocompiler/dag.go at 2.17.0; tried on 2.17.0",
        lambda found: _chain(found)["merge"].update(
            triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        ),
    ),
    "arguments": Rule(
        _arguments,
        "Linux starts no process with an argument of 128 KiB, and inputs travel as one",
        "MAX_ARG_STRLEN in execve(2); initPodSpecPatch in backend/src/v2/driver/driver.go",
        lambda found: _chain(found)["plan"]["inputs"]["parameters"]["landscape"].update(
            runtimeValue={"constant": "x" * 140_000}
        ),
    ),
    "parameters of a run": Rule(
        _parameters,
        "the API server refuses parameters of more than 10,000 bytes",
        "MAX_PARAMETER_BYTES in backend/src/common/util/workflow.go",
        lambda found: found.specification["root"].update(
            inputDefinitions={"parameters": {"experiment": {"defaultValue": "x" * 20_000}}}
        ),
    ),
    "loops": Rule(
        _loops,
        "hundreds of iterations fill the Workflow's status; what they return, 2.0.5 refuses",
        "Kubeflow's issues 9837 and 4175; `invalid dependency for-loop-2` on 2.0.5",
        lambda found: _loop(found).pop("iteratorPolicy"),
    ),
    "conditions": Rule(
        _conditions,
        "what comes after a branch fails on 2.0.5, whose driver finds no output of dsl.OneOf",
        "tried on 2.0.5",
        lambda found: _chain(found)["plan"].update(triggerPolicy={"condition": "true"}),
    ),
    "final status": Rule(
        _final_status,
        "2.0.5: task final status not supported yet",
        "tried on 2.0.5",
        lambda found: _chain(found)["merge"]["inputs"]["parameters"].update(
            status={"taskFinalStatus": {"producerTask": "train"}}
        ),
    ),
    "task configurations": Rule(
        _task_config,
        "2.0.5: pipeline spec is invalid",
        "tried on 2.0.5",
        lambda found: found.components["comp-train"]["inputDefinitions"]["parameters"].update(
            config={"parameterType": "TASK_CONFIG"}
        ),
    ),
    "names": Rule(
        _constants,
        "a Secret or ConfigMap that a parameter names fails the step on 2.0.5",
        "tried on 2.0.5",
        lambda found: found.settings["exec-train"]["secretAsEnv"][0]["secretNameParameter"].update(
            runtimeValue={"runtimeParameter": "name"}
        ),
    ),
    "settings of pods": Rule(
        _kubernetes,
        "the driver refuses settings that it does not know",
        "tried on 2.0.5, which refused kfp-kubernetes' later ones",
        lambda found: found.settings["exec-train"].update(nodeAffinity=[{}]),
    ),
    "settings of the pipeline": Rule(
        _pipeline_settings,
        "2.0.5 ignores a workspace and times to live without a word",
        "tried on 2.0.5",
        lambda found: found.platform["platforms"]["kubernetes"].update(pipelineConfig={}),
    ),
    "downloads": Rule(
        _downloads,
        "pods without a way to a package index would not start",
        "install_kfp_package of kfp.dsl.component",
        lambda found: found.containers["exec-train"]["command"].append("pip install kfp"),
    ),
    "outputs": Rule(
        _outputs,
        "nothing may be returned from within an exit handler",
        "InvalidTopologyException of kfp's compiler; 2.0.5 finds no outputs of nested pipelines",
        lambda found: found.specification["root"].update(outputDefinitions={"parameters": {"x": {}}}),
    ),
}


@functools.cache
def _compiled(name: str) -> Package:
    experiment = load(name)
    text = on_a_short_stack(package, experiment, Settings(image="registry.example/lossmap:7"), "run-1")
    return Package(*yaml.load_all(text, yaml.CSafeLoader))


@pytest.mark.parametrize("name", names())
def test_every_recipe_can_be_submitted_and_its_package_keeps_the_rules(name):
    experiment = load(name)
    check_for_cluster(experiment)
    assert demand(experiment).tiles >= 1
    found = {
        f"{rule}: {broken}": (RULES[rule].reason, RULES[rule].source)
        for rule in RULES
        for broken in RULES[rule].broken(_compiled(name))
    }
    assert found == {}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_can_be_broken(rule):
    found = copy.deepcopy(_compiled(names()[0]))
    RULES[rule].breaking(found)
    assert list(RULES[rule].broken(found))


def _shape(experiment: Experiment) -> tuple[object, ...]:
    """What a package depends on beside its arguments."""
    landscape = experiment.landscape
    return experiment.cluster.model_dump_json(), landscape.device, experiment.plans_on_gpus


@pytest.mark.parametrize("scale", studies.SCALES)
@pytest.mark.parametrize("name", studies.STUDIES)
def test_no_cell_of_a_study_has_another_package_than_some_recipe(name, scale):
    shapes = {_shape(load(recipe)) for recipe in names()}
    longest = max(len(load(recipe).canonical_json()) for recipe in names())
    for cell in study.study_cells(studies.load(name, scale, (), None)):
        assert _shape(cell.experiment) in shapes
        assert len(cell.experiment.canonical_json()) < 2 * longest
