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
from lossmap.pipelines.recipes.registry import load

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
        assert all(asked.values())
        assert {
            ("lossmap-object-store", "AWS_ACCESS_KEY_ID"),
            ("lossmap-object-store", "AWS_SESSION_TOKEN"),
            ("lossmap-data", "LOSSMAP_DATA_AWS_ENDPOINT_URL"),
        } <= set(asked)
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


def test_a_run_ends_though_its_exit_handler_never_starts():
    bounded = {step for step, settings in _package()[2].items() if "activeDeadlineSeconds" in settings}
    assert bounded == {"exec-clean-up"}
    assert 600 <= int(_package()[2]["exec-clean-up"]["activeDeadlineSeconds"]) <= 3600


def _dags(specification):
    return [
        specification["root"]["dag"],
        *(each["dag"] for each in specification["components"].values() if "dag" in each),
    ]


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


GPUS = ("cluster.profile=gpu", "landscape.device=cuda")


def _with_gpus(specification):
    return {
        name: each["resources"]["accelerator"]["resourceType"]
        for name, each in _executors(specification).items()
        if "accelerator" in each["resources"]
    }


@pytest.mark.parametrize(
    ("directions", "steps"),
    [("random", {"tile", "merge"}), ("hessian", {"plan", "tile", "merge"})],
)
def test_every_step_that_computes_the_loss_on_a_gpu_has_one(directions, steps):
    amd = f"landscape.directions={directions}", "cluster.gpu_resource=amd.com/gpu"
    assert _with_gpus(_package(*GPUS, *amd)[1]) == dict.fromkeys(steps, "amd.com/gpu")


def test_every_pod_goes_where_the_experiment_says_and_those_with_gpus_to_their_nodes():
    nodes = ("cluster.node_selector={pool: ml}", "cluster.gpu_node_selector={gpu: a100}")
    taint = "cluster.tolerations=[{key: dedicated, operator: Equal, value: ml, effect: NoSchedule}]"
    platform = _package(*GPUS, *nodes, taint)[2]
    gpu = {f"exec-{name}": {"gpu": "a100"} for name in ("tile", "merge")}
    for step, settings in platform.items():
        assert settings["nodeSelector"] == {"labels": {"pool": "ml"} | gpu.get(step, {})}
        assert settings["tolerations"] == [
            {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}
        ]


PATCHED = (
    "cluster.pod.labels={team: vision}",
    "cluster.pod.annotations={cost-centre: 17}",
    "cluster.pod.image_pull_secrets=[registry]",
    "cluster.pod.user=null",
    "cluster.pod.group=null",
    "cluster.pod.variables={NCCL_DEBUG: INFO}",
    "cluster.pod.environment=[{secret: sso, keys: {AWS_SESSION_TOKEN: token, HTTPS_PROXY: proxy}}]",
    "cluster.pod.files=[{secret: company-ca, path: /etc/ssl/company}]",
)


def _sources(settings):
    """Name and key of the Secret or ConfigMap that a variable comes from; each variable comes from one."""
    found = [
        (key["envVar"], (source[f"{kind}Name"], key[f"{kind}Key"]))
        for kind in ("secret", "configMap")
        for source in settings[f"{kind}AsEnv"]
        for key in source["keyToEnv"]
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_every_steps_pod_is_what_the_platform_demands():
    _, specification, platform = _package(*PATCHED)
    for name, container in _executors(specification).items():
        assert {"name": "NCCL_DEBUG", "value": "INFO"} in container["env"]
        settings = platform[f"exec-{name}"]
        assert settings["podMetadata"] == {
            "labels": {"team": "vision"},
            "annotations": {"sidecar.istio.io/inject": "false", "cost-centre": "17"},
        }
        assert [each["secretName"] for each in settings["imagePullSecret"]] == ["registry"]
        assert settings["securityContext"] == {"runAsNonRoot": True}
        assert [(each["secretName"], each["mountPath"]) for each in settings["secretAsVolume"]] == [
            ("company-ca", "/etc/ssl/company")
        ]
        sources = _sources(settings)
        assert sources["AWS_SESSION_TOKEN"] == ("sso", "token")
        assert sources["HTTPS_PROXY"] == ("sso", "proxy")
        assert sources["AWS_CA_BUNDLE"] == ("lossmap", "AWS_CA_BUNDLE")


@pytest.mark.parametrize(
    ("asked", "waiting"),
    [
        ("training", set()),
        ("survey", {"plan", "tile", "merge"}),
        ("all", {"prepare", "train", "plan", "tile", "merge", "report", "clean-up"}),
    ],
)
def test_pods_wait_in_the_queue_as_far_as_is_asked(asked, waiting):
    _, specification, platform = _package("cluster.queue=research", f"cluster.queued_pods={asked}")
    queues = {
        name: platform[f"exec-{name}"]["podMetadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
        for name in _executors(specification)
    }
    assert {name for name, queue in queues.items() if queue} == waiting
    assert set(filter(None, queues.values())) <= {"research"}


def test_a_platform_needs_no_setting_for_keys_by_a_role_for_a_proxy_or_for_a_ca():
    for settings in _package()[2].values():
        assert all(secret["optional"] for secret in settings["secretAsEnv"])
        assert settings["podMetadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
        [files] = settings["configMapAsVolume"]
        assert (files["configMapName"], files["mountPath"], files["optional"]) == (
            "lossmap-files",
            "/etc/lossmap",
            True,
        )


@pytest.mark.parametrize(
    ("asked", "given"), [("1.5Gi", "1610612736"), ("2000000k", "2000000000"), ("2e9", "2000000000")]
)
def test_amounts_are_what_kubernetes_understands_by_them(asked, given):
    memory = f"cluster.steps.memory={asked}"
    resources = _executors(_package(memory, "cluster.steps.cpu=.25")[1])["prepare"]["resources"]
    assert (resources["resourceMemoryRequest"], resources["resourceCpuRequest"]) == (given, "250m")


def test_the_sdk_reads_its_own_package_back():
    assert components.load_component_from_text(_package()[0]).name == "lossmap"


def test_what_kubeflows_compiler_refuses_is_one_line():
    with pytest.raises(ExperimentError) as refused:
        _compiled(("data.source='s3://bucket/{{channel:task=other;name=x;type=String;}}'",), "run-1")
    assert str(refused.value) == (
        "Kubeflow's compiler refuses this pipeline: PipelineChannel task name 'other' not found in pipeline.;"
        " change that under cluster"
    )
