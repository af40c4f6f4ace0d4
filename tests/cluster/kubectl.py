"""A cluster as its administrator sees it, through kubectl: what tests of the installation and of whole
runs share.
"""

import contextlib
import json
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

K8S = Path(__file__).parents[2] / "k8s"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def kubectl(*arguments: str, text: str | None = None, check: bool = True, seconds: float = 120) -> str:
    """What kubectl prints, with `text` as its standard input; its own words in the error when it fails."""
    found = subprocess.run(
        ["kubectl", *arguments], input=text, capture_output=True, text=True, timeout=seconds, check=False
    )
    if check and found.returncode:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {found.stderr.strip()}")
    return found.stdout


def get(*arguments: str) -> dict[str, Any]:
    """An object, or a list of them under `items`."""
    return json.loads(kubectl("get", *arguments, "--output=json"))


def apply(*objects: dict[str, Any]) -> None:
    """Create or change objects."""
    kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--filename=-",
        text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )


def secret(namespace: str, name: str, values: dict[str, str]) -> dict[str, Any]:
    """A Secret, to apply."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": values,
    }


def wait_for_deployment(namespace: str, name: str, seconds: int = 240) -> None:
    """Wait until a deployment's pods are ready; say what its pods and events say when they are not."""
    found = subprocess.run(
        [
            "kubectl",
            "--namespace",
            namespace,
            "rollout",
            "status",
            f"deployment/{name}",
            f"--timeout={seconds}s",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise AssertionError(
            f"{namespace}/{name} is not ready after {seconds} s:"
            f" {found.stderr.strip()}\n{troubles(namespace)}"
        )


def troubles(namespace: str) -> str:
    """The pods of a namespace, and what Kubernetes warned of."""
    pods = kubectl("--namespace", namespace, "get", "pods", "--output=wide", check=False)
    return pods + kubectl(
        "--namespace",
        namespace,
        "get",
        "events",
        "--field-selector=type=Warning",
        "--sort-by=.lastTimestamp",
        check=False,
    )


@contextlib.contextmanager
def forward(namespace: str, service: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to a service, as long as the pod behind it lives."""
    command = ["kubectl", "--namespace", namespace, "port-forward", f"service/{service}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", said)
            assert found, (
                f"no way to {namespace}/{service}:"
                f" {said}{process.stdout.read() if process.poll() is not None else ''}"
            )
            yield int(found[1])
        finally:
            process.terminate()


def run_python(namespace: str, image: str, script: str, seconds: int = 120) -> str:
    """What a script prints in a pod of the namespace that has lossmap's settings and keys, as its training
    pods have them.
    """
    name = f"script-{uuid.uuid4().hex[:8]}"
    apply(_pod(namespace, name, image, script))
    end = time.monotonic() + seconds
    while (phase := get("pod", name, "--namespace", namespace)["status"]["phase"]) not in (
        "Succeeded",
        "Failed",
    ):
        assert time.monotonic() < end, f"{name} is {phase} after {seconds} s\n{troubles(namespace)}"
        time.sleep(1)
    printed = kubectl("--namespace", namespace, "logs", name)
    assert phase == "Succeeded", printed
    kubectl("--namespace", namespace, "delete", "pod", name, "--now", "--wait=false")
    return printed


def _pod(namespace: str, name: str, image: str, script: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "command": ["python", "-c", script],
        "envFrom": [{"configMapRef": {"name": "lossmap"}}, {"secretRef": {"name": "lossmap-object-store"}}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        },
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "lossmap", "app.kubernetes.io/component": "training"},
        },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "lossmap-training",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def save_logs(folder: Path) -> None:
    """Keep what every pod outside of kube-system printed, what Kubernetes says of it, and the events."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.txt").write_text(
        kubectl("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp", check=False)
    )
    (folder / "pods.txt").write_text(kubectl("describe", "pods", "--all-namespaces", check=False))
    for pod in json.loads(
        kubectl("get", "pods", "--all-namespaces", "--output=json", check=False) or '{"items": []}'
    )["items"]:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if namespace != "kube-system":
            printed = kubectl(
                "--namespace",
                namespace,
                "logs",
                name,
                "--all-containers",
                "--prefix",
                "--timestamps",
                "--tail=2000",
                check=False,
            )
            (folder / f"{namespace}.{name}.log").write_text(printed)
