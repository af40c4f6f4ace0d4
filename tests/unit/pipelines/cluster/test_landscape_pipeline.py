"""The compiled pipeline: what Kubeflow gets."""

import functools

import pytest
import yaml
from kfp import components
from support.stack import on_a_short_stack

from lossmap.components.config.parse import override
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.cluster.landscape_pipeline import package
from lossmap.pipelines.recipes.registry import load, names
from lossmap.pipelines.studies import cells as study
from lossmap.pipelines.studies import named as studies

pytestmark = pytest.mark.filterwarnings("default")
STEPS = {"prepare", "train", "plan", "tile", "merge", "report", "clean-up"}


@functools.cache
def _package(*sets, run="run-1"):
    return _compiled(sets, run)


def _compiled(sets, run):
    experiment, settings = (
        override(load("digits-resnet20"), sets),
        Settings(image="registry.example/lossmap:7"),
    )
    text = on_a_short_stack(package, experiment, settings, run)
    specification, platform = _read(text)
    return text, specification, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def _read(text):
    return yaml.load_all(text, yaml.CSafeLoader)


def _executors(specification):
    return {
        name.removeprefix("exec-"): each["container"]
        for name, each in specification["deploymentSpec"]["executors"].items()
    }


def test_every_step_runs_on_the_image_with_places_and_keys_by_reference():
    _, specification, platform = _package()
    executors = _executors(specification)
    assert set(executors) == STEPS
    for name, container in executors.items():
        assert container["image"] == "registry.example/lossmap:7"
        assert {"name": "LOSSMAP_RUN", "value": "run-1"} in container["env"]
        assert set(container["resources"]) >= {
            "resourceCpuRequest",
            "resourceCpuLimit",
            "resourceMemoryRequest",
            "resourceMemoryLimit",
        }
        settings = platform[f"exec-{name}"]
        assert settings["securityContext"] == {
            "runAsGroup": "1000",
            "runAsNonRoot": True,
            "runAsUser": "1000",
        }
        assert {secret["secretName"] for secret in settings["secretAsEnv"]} == {
            "lossmap-object-store",
            "lossmap-data",
            "lossmap-mlflow",
        }
        asked = {
            (secret["secretName"], key["secretKey"]): secret.get("optional", False)
            for secret in settings["secretAsEnv"]
            for key in secret["keyToEnv"]
        }
        assert not asked["lossmap-object-store", "AWS_ACCESS_KEY_ID"]
        assert asked["lossmap-object-store", "AWS_SESSION_TOKEN"]
        assert asked["lossmap-data", "LOSSMAP_DATA_AWS_ENDPOINT_URL"]
        variables = {
            key["envVar"]
            for each in settings["configMapAsEnv"]
            for key in each["keyToEnv"]
            if each["optional"]
        }
        assert {"MLFLOW_S3_UPLOAD_EXTRA_ARGS", "AWS_CA_BUNDLE", "MLFLOW_TRACKING_INSECURE_TLS"} <= variables
        assert {each["configMapName"] for each in settings["configMapAsEnv"]} == {"lossmap"}
        assert settings["fieldPathAsEnv"] == [
            {"name": "LOSSMAP_PIPELINE_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}
        ]


def test_what_kubeflows_compiler_refuses_is_one_line():
    with pytest.raises(ExperimentError) as refused:
        _compiled(("cluster.steps.memory=1.5Gi",), "run-1")
    assert str(refused.value).startswith("Kubeflow's compiler refuses this pipeline: Invalid memory string. ")
    assert "\n" not in str(refused.value)


def test_no_key_of_this_machine_gets_into_the_package(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, f"secret-of-{name}")
    assert "secret-of-" not in _compiled((), "run-1")[0]


def test_the_run_is_no_argument_so_that_equal_runs_are_answered_from_the_cache():
    first, second = (_package(run=run)[0] for run in ("run-1", "run-2"))
    changed = [
        one for one, other in zip(first.splitlines(), second.splitlines(), strict=True) if one != other
    ]
    assert {line.strip() for line in changed} == {"value: run-1"}
    assert len(changed) == len(STEPS)


def _tasks(specification):
    chain = next(
        dag["dag"]["tasks"]
        for name, dag in specification["components"].items()
        if name.startswith("comp-exit-handler")
    )
    return chain | specification["root"]["dag"]["tasks"]


def test_what_looks_or_acts_outside_is_never_answered_from_the_cache():
    tasks = _tasks(_package()[1])
    cached = {
        name
        for name in ("prepare", "train", "plan", "merge", "report", "clean-up")
        if tasks[name]["cachingOptions"].get("enableCache")
    }
    assert cached == {"train", "plan", "merge"}


def _dags(specification):
    return [
        specification["root"]["dag"],
        *(each["dag"] for each in specification["components"].values() if "dag" in each),
    ]


def _shape(experiment):
    """What a package depends on beside its arguments."""
    return experiment.cluster.model_dump_json(), experiment.landscape.device, experiment.model.architecture


# one of each shape, since compiling takes half a second
RECIPES = {_shape(load(name)): name for name in names()}


@pytest.mark.parametrize("name", RECIPES.values())
def test_no_task_but_the_exit_handlers_has_a_trigger_policy(name):
    """Kubeflow Pipelines 2.17 makes an exit hook of every task that has one, and refuses the package if
    another comes after it.
    """
    text = on_a_short_stack(package, load(name), Settings(image="registry.example/lossmap:7"), "run-1")
    specification, _ = _read(text)
    found = {
        task: each["triggerPolicy"]
        for dag in _dags(specification)
        for task, each in dag["tasks"].items()
        if "triggerPolicy" in each
    }
    assert found == {"clean-up": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}


def test_no_cell_of_a_study_has_another_shape():
    cells = [
        cell.experiment
        for name in studies.STUDIES
        for scale in studies.SCALES
        for cell in study.study_cells(studies.load(name, scale, (), None))
    ]
    assert {_shape(experiment) for experiment in cells} <= set(RECIPES)


def test_merge_comes_after_all_tiles_and_the_report_after_it():
    tasks = _tasks(_package()[1])
    assert set(tasks["merge"]["dependentTasks"]) == {"plan", "prepare", "tiles"}
    assert tasks["report"]["dependentTasks"] == ["merge"]


def test_a_lost_tile_pod_is_started_again_however_long_it_had_been_running():
    [task] = [dag["tasks"]["tile"] for dag in _dags(_package()[1]) if "tile" in dag["tasks"]]
    assert task["retryPolicy"]["maxRetryCount"] > 0
    assert int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) >= 365 * 24 * 3600
    assert not task["cachingOptions"].get("enableCache")


def test_artifacts_have_the_types_that_kubeflow_shows():
    components_ = _package()[1]["components"]
    types = {
        name.removeprefix("comp-"): {
            key: value["artifactType"]["schemaTitle"]
            for key, value in each["outputDefinitions"]["artifacts"].items()
        }
        for name, each in components_.items()
        if "artifacts" in each.get("outputDefinitions", {})
    }
    assert types == {
        "prepare": {"dataset": "system.Dataset"},
        "train": {"model": "system.Model", "metrics": "system.Metrics"},
        "report": {"page": "system.HTML", "metrics": "system.Metrics"},
    }


def test_gpus_tolerations_and_selectors_come_from_the_experiment():
    gpu = ("cluster.profile=gpu", "landscape.device=cuda", "cluster.node_selector={pool: a100}")
    _, specification, platform = _package(*gpu)
    tile = _executors(specification)["tile"]["resources"]
    assert (
        tile["accelerator"]["resourceType"] == "nvidia.com/gpu"
        and tile["accelerator"]["resourceCount"] == "1"
    )
    assert platform["exec-tile"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert platform["exec-tile"]["nodeSelector"] == {"labels": {"pool": "a100"}}
    assert "nodeSelector" not in platform["exec-prepare"]
    assert not any(
        "accelerator" in each["resources"]
        for name, each in _executors(specification).items()
        if name != "tile"
    )


def test_the_sdk_reads_its_own_package_back():
    assert components.load_component_from_text(_package()[0]).name == "lossmap"
