import os
import re
import shutil
import subprocess
import tomllib
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import yaml
from readmes.rights import cluster_rights

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
FOLDERS = sorted(
    path.parent.relative_to(K8S).as_posix()
    for path in K8S.rglob("kustomization.yaml")
    if "third-party" not in path.parts
)
OVERLAYS = [name for name in FOLDERS if name.startswith("overlays/")]
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}
ELSEWHERE = {"training"}  # components whose pods are made by lossmap, not by a manifest


@cache
def render(folder):
    if not shutil.which("kubectl"):
        end = pytest.fail if os.environ.get("LOSSMAP_REQUIRE_KUBECTL") == "1" else pytest.skip
        end("needs kubectl, to render kustomizations")
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False
    )
    assert rendered.returncode == 0, rendered.stderr
    assert rendered.stderr == ""  # where kustomize warns of what will go
    return list(yaml.safe_load_all(rendered.stdout))


def pods(objects):
    return [each["spec"]["template"] for each in objects if each["kind"] in WORKLOADS]


def containers(objects):
    return [
        each
        for pod in pods(objects)
        for each in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    ]


def rules(objects):
    return [
        (each["metadata"]["name"], rule)
        for each in objects
        if each["kind"] in ("Role", "ClusterRole")
        for rule in each["rules"]
    ]


@pytest.mark.parametrize("folder", OVERLAYS)
def test_pods_satisfy_restricted_pod_security_and_write_to_volumes_only(folder):
    assert pods(render(folder))
    for pod in pods(render(folder)):
        context = pod["spec"]["securityContext"]
        assert (
            context["runAsNonRoot"]
            and context["runAsUser"] >= 1000
            and context["seccompProfile"] == {"type": "RuntimeDefault"}
        )
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys()
        assert {kind for volume in pod["spec"]["volumes"] for kind in volume if kind != "name"} <= {
            "emptyDir",
            "persistentVolumeClaim",
        }
    for container in containers(render(folder)):
        expected = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["securityContext"] == expected, container["name"]


@pytest.mark.parametrize("folder", OVERLAYS)
def test_containers_have_requests_and_limits_and_images_have_versions(folder):
    for container in containers(render(folder)):
        assert (
            container["resources"]["requests"].keys()
            == container["resources"]["limits"].keys()
            == {"cpu", "memory"}
        ), container["name"]
        assert re.search(r":[\w.-]+$", container["image"]) and not container["image"].endswith(":latest"), (
            container["image"]
        )


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_manifest_holds_a_secret(folder):
    assert not [each for each in render(folder) if each["kind"] == "Secret"]
    for container in containers(render(folder)):
        for variable in container.get("env", []):
            assert not ("value" in variable and re.search("KEY|SECRET|PASSWORD|TOKEN", variable["name"])), (
                variable
            )


@pytest.mark.parametrize("folder", FOLDERS)
def test_roles_are_small(folder):
    assert not [each for each in render(folder) if each["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    for name, rule in rules(render(folder)):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
        assert "secrets" not in rule["resources"] or (rule["resourceNames"] and rule["verbs"] == ["get"]), (
            name
        )
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), name


def _rights(rule):
    """A rule, spelt as the table of the README does."""
    for verb, group, resource in product(rule["verbs"], rule["apiGroups"], rule["resources"]):
        name, slash, part = resource.partition("/")
        full = f"{name}.{group}" if group else name
        for only in rule.get("resourceNames", [""]):
            yield f"{verb} {full}{slash}{part}{only and '='}{only}"


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_rights_are_those_of_the_readme_and_nobody_has_others(folder):
    objects = render(folder)
    granted = {
        (each["metadata"]["name"], each["metadata"]["namespace"]): {
            right for rule in each["rules"] for right in _rights(rule)
        }
        for each in objects
        if each["kind"] == "Role"
    }
    assert granted == cluster_rights()
    bound = [
        (binding["roleRef"], subject)
        for binding in objects
        if binding["kind"] == "RoleBinding"
        for subject in binding["subjects"]
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lossmap-run"}
    assert bound == [(role, {"kind": "ServiceAccount", "name": "lossmap-run", "namespace": "kubeflow"})]
    tokens = {
        each["metadata"]["name"]: each.get("automountServiceAccountToken", True)
        for each in objects
        if each["kind"] == "ServiceAccount"
    }
    assert tokens == {"lossmap-run": True, "lossmap-training": False}


@pytest.mark.parametrize("folder", OVERLAYS)
def test_policies_and_services_select_pods_that_exist(folder):
    objects = render(folder)
    labels = [pod["metadata"]["labels"] for pod in pods(objects)]
    selectors = [
        (each["metadata"]["name"], each["spec"]["podSelector"].get("matchLabels", {}))
        for each in objects
        if each["kind"] == "NetworkPolicy"
    ]
    selectors += [
        (each["metadata"]["name"], each["spec"]["selector"]) for each in objects if each["kind"] == "Service"
    ]
    assert len(selectors) > 2
    for name, wanted in selectors:
        found = any(wanted.items() <= existing.items() for existing in labels)
        assert found or wanted.get("app.kubernetes.io/component") in ELSEWHERE, f"{name} selects {wanted}"


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_pod_is_closed_but_for_what_a_policy_opens(folder):
    objects = render(folder)
    closed = {
        each["metadata"]["namespace"]
        for each in objects
        if each["kind"] == "NetworkPolicy" and each["spec"]["podSelector"] == {}
    }
    assert {each["metadata"]["namespace"] for each in objects if each["kind"] in WORKLOADS} <= closed


@pytest.mark.parametrize("folder", OVERLAYS)
def test_an_s3_of_ones_own_is_reached_at_any_port_by_training_and_by_mlflow(folder):
    policies = {
        each["metadata"]["name"]: each["spec"] for each in render(folder) if each["kind"] == "NetworkPolicy"
    }
    reaching = {name for name, spec in policies.items() if {} in spec.get("egress", ())}
    assert reaching == ({"lossmap-training", "mlflow"} if folder == "overlays/gpu" else set())


@pytest.mark.parametrize("folder", OVERLAYS)
def test_what_the_services_are_called_is_what_runs_are_told(folder):
    objects = render(folder)
    (told,) = [
        each["data"]
        for each in objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "lossmap"
    ]
    addresses = {
        f"http://{each['metadata']['name']}.{each['metadata']['namespace']}:{each['spec']['ports'][0]['port']}"
        for each in objects
        if each["kind"] == "Service"
    }
    assert told["LOSSMAP_TRACKING"] in addresses
    assert told["AWS_ENDPOINT_URL"] in addresses or "example" in told["AWS_ENDPOINT_URL"]
    (server,) = [
        each["data"]
        for each in objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("mlflow")
    ]
    assert told["LOSSMAP_TRACKING"].removeprefix("http://") in server["MLFLOW_SERVER_ALLOWED_HOSTS"].split(
        ","
    )


@pytest.mark.parametrize(
    "path", sorted(K8S.rglob("kustomization.yaml")), ids=lambda path: path.parent.relative_to(K8S).as_posix()
)
def test_kustomizations_are_short_say_what_for_and_refer_to_what_is_there(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ") and len(lines) <= 30
    for resource in yaml.safe_load(path.read_text())["resources"]:
        if resource.startswith("https://"):
            assert "third-party" in path.parts and re.search(r"\?ref=v?\d+\.\d+\.\d+$", resource), resource
        else:
            assert (path.parent / resource).exists(), resource


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_overlays_are_for_whom_they_say(folder):
    stores = [
        each
        for each in render(folder)
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "object-store"
    ]
    assert len(stores) == folder.startswith("overlays/kind")
    runtimes = [each for each in render(folder) if each["kind"] == "TrainingRuntime"]
    assert len(runtimes) == (folder == "overlays/kind-trainer")


def test_the_image_has_the_locked_versions_and_none_of_the_tools_of_development():
    def pinned(path):
        return {
            name: version
            for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE)
        }

    image, development = pinned(K8S / "image" / "requirements.lock"), pinned(ROOT / "requirements.lock")
    differ = {name for name in image.keys() & development.keys() if image[name] != development[name]}
    assert differ == set()
    tools = {
        re.split(r"[\[<>=]", each)[0].lower()
        for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][
            "dev"
        ]
    }
    assert not (tools - {"websocket-client"}) & image.keys()
    assert image.keys() - development.keys() <= {"psycopg", "psycopg-binary"}


def test_the_image_is_built_by_the_same_uv_as_the_environment():
    of_image = re.search(r"ARG UV_VERSION=(\S+)", (K8S / "image" / "Dockerfile").read_text())[1]
    assert of_image == re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())[1]
