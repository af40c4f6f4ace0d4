import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from lossmap.components.config.cluster import Cluster
from lossmap.components.config.pod import Toleration
from lossmap.components.config.training import Training
from lossmap.components.jobs.pytorchjob import render
from lossmap.components.jobs.request import Launcher, Request, label_value, name_of

GOLDEN = Path(__file__).parents[2] / "golden" / "pytorchjob"
TRAINING = "0123456789abcdef" * 4


def _launcher(**metadata):
    containers = [
        client.V1Container(name="wait", image="argoexec"),
        client.V1Container(name="main", image="lossmap:1", image_pull_policy="Always"),
    ]
    spec = client.V1PodSpec(
        containers=containers, image_pull_secrets=[client.V1LocalObjectReference(name="registry")]
    )
    return Launcher.of(
        client.V1Pod(metadata=client.V1ObjectMeta(name="step", uid="pod-uid", **metadata), spec=spec)
    )


def _workflow():
    owner = client.V1OwnerReference(
        api_version="argoproj.io/v1alpha1",
        kind="Workflow",
        name="landscape-x",
        uid="workflow-uid",
        controller=True,
    )
    return _launcher(labels={"pipeline/runid": "kubeflow-run", "other": "label"}, owner_references=[owner])


def _request(processes=2, pods=2, run="digits-20261124-101500", **cluster):
    return Request(
        TRAINING, run, "s3://runs/a", Training(processes=processes, threads=3), Cluster(**cluster), pods
    )


def _as_json(request, launcher):
    return client.ApiClient().sanitize_for_serialization(render(request, launcher))


@pytest.mark.parametrize(
    "name, request_",
    [
        ("cpu", _request()),
        (
            "gpu",
            _request(
                8,
                2,
                profile="gpu",
                nodes=2,
                least_nodes=1,
                node_selector={"gpu": "h100"},
                queue="research",
                priority_class="high",
                restarts=1,
                hours=1.5,
                start_minutes=5,
                tolerations=(Toleration(key="a", operator="Equal", value="b"),),
            ),
        ),
    ],
)
def test_the_whole_job_is_as_in_the_golden_file(name, request_):
    assert _as_json(request_, _workflow()) == yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())


def test_a_pod_without_a_controller_owns_the_job_itself():
    metadata = _as_json(_request(), _launcher())["metadata"]
    assert metadata["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": "pod-uid", "blockOwnerDeletion": False}
    ]
    assert "pipeline/runid" not in metadata["labels"]


def test_without_a_container_called_main_the_first_one_counts():
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name="p", uid="u"),
        spec=client.V1PodSpec(containers=[client.V1Container(name="x", image="first")]),
    )
    assert Launcher.of(pod).image == "first"


def test_names_are_readable_stable_dns_labels_and_differ_by_run_and_training():
    assert name_of(_request()) == name_of(_request()) == "train-digits-20261124-101500-e4df1261"
    assert name_of(_request(run="Ünusual_Name-")) != name_of(_request(run="nusual-name"))
    longest = name_of(_request(run="x" * 200))
    assert len(longest) <= 50 and longest.startswith("train-xxx")
    assert name_of(_request(run="---")).startswith("train-") and "--" not in name_of(_request(run="---"))
    assert name_of(replace(_request(), address="f" * 64)) != name_of(_request())


def test_values_of_labels_are_short_enough_and_tell_long_names_apart():
    assert label_value("a-run") == "a-run"
    long = [label_value("a" * 80 + end) for end in "xy"]
    assert len(set(long)) == 2 and all(len(value) == 63 for value in long)


def test_the_memory_of_dev_shm_and_the_gpus_are_limits_of_the_pod():
    container = _as_json(_request(8, 2, profile="gpu"), _workflow())["spec"]["pytorchReplicaSpecs"]["Worker"][
        "template"
    ]["spec"]["containers"][0]
    assert (
        container["resources"]["limits"]
        == container["resources"]["requests"]
        == {
            "cpu": "8",
            "memory": "32Gi",
            "nvidia.com/gpu": "4",
        }
    )
    assert json.dumps(container["env"]).count("OMP_NUM_THREADS") == 1


PLATFORM = {
    "labels": {"team": "vision"},
    "annotations": {"cost-centre": "17"},
    "image_pull_secrets": ["registry", "second"],
    "user": None,
    "group": None,
    "runtime_class": "nvidia",
    "variables": {"NCCL_DEBUG": "INFO"},
    "environment": [
        {"secret": "sso", "keys": {"AWS_SESSION_TOKEN": "token"}, "optional": True},
        {"config_map": "proxy", "keys": {"HTTPS_PROXY": "address"}},
    ],
    "files": [{"secret": "ca", "path": "/etc/ssl/company"}, {"config_map": "b", "path": "/etc/b"}],
}


def test_training_pods_are_what_the_platform_demands():
    asked = _request(pod=PLATFORM, ephemeral_storage="20Gi", gpu_node_selector={"gpu": "a100"})
    pod = _as_json(asked, _workflow())["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    specification, [container] = pod["spec"], pod["spec"]["containers"]
    assert pod["metadata"]["labels"].items() >= {"team": "vision", "pipeline/runid": "kubeflow-run"}.items()
    assert pod["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false", "cost-centre": "17"}
    assert specification["imagePullSecrets"] == [{"name": "registry"}, {"name": "second"}]
    assert specification["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert specification["runtimeClassName"] == "nvidia"
    assert "nodeSelector" not in specification  # it has no GPU
    assert container["resources"]["requests"]["ephemeral-storage"] == "20Gi"
    assert [variable for variable in container["env"] if variable["name"] in "NCCL_DEBUG"] == [
        {"name": "NCCL_DEBUG", "value": "INFO"}
    ]
    assert container["env"][-2:] == [
        {
            "name": "AWS_SESSION_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "sso", "key": "token", "optional": True}},
        },
        {"name": "HTTPS_PROXY", "valueFrom": {"configMapKeyRef": {"name": "proxy", "key": "address"}}},
    ]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    files = specification["volumes"][2:]
    assert [{"path": mounted[volume.pop("name")], **volume} for volume in files] == [
        {"configMap": {"name": "lossmap-files", "optional": True}, "path": "/etc/lossmap"},
        {"secret": {"secretName": "ca"}, "path": "/etc/ssl/company"},
        {"configMap": {"name": "b"}, "path": "/etc/b"},
    ]
