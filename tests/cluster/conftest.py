"""lossmap installed on the cluster of KUBECONFIG as a user would install it, once for all cluster tests."""

import base64
import os
import re
import secrets
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cluster.kubectl import K8S, apply, forward, get, kubectl, save_logs, secret, wait_for_deployment

from lossmap.components.jobs.kinds import CRDS

LOGS = Path(__file__).parents[2] / "build" / "ci" / "cluster"
KEYS = "lossmap-object-store"


@dataclass(frozen=True)
class Installation:
    """lossmap on a cluster.

    Attributes:
        image: the image of its pods; LOSSMAP_IMAGE, or docker.io/lossmap/lossmap:dev.
        runs: the namespace in which Kubeflow's pipelines run.
        services: the namespace of MLflow and the object store.
        keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the object store.
        kustomization: the folder that was applied.
        keeps_data: whether MLflow's data and the objects outlive their pods.
    """

    image: str
    runs: str
    services: str
    keys: dict[str, str]
    kustomization: Path
    keeps_data: bool


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and "cluster" in item.keywords and shutil.which("kubectl"):
        save_logs(LOGS / f"{re.sub(r'[^A-Za-z0-9]+', '-', item.name)}-{report.when}")
    return report


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The overlay for kind, applied and ready."""
    image = os.environ.get("LOSSMAP_IMAGE", "docker.io/lossmap/lossmap:dev")
    keeps_data = bool(get("storageclass")["items"])
    installed = Installation(
        image,
        "kubeflow",
        "lossmap",
        _keys(),
        _overlay(tmp_path_factory.mktemp("overlay"), image, keeps_data),
        keeps_data,
    )
    kubectl("apply", "--server-side", "--filename", str(K8S / "mlflow" / "namespace.yaml"))
    apply(*(secret(namespace, KEYS, installed.keys) for namespace in (installed.runs, installed.services)))
    kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(installed.kustomization))
    for name in ("object-store", "mlflow"):
        wait_for_deployment(installed.services, name)
    return installed


def _keys() -> dict[str, str]:
    found = get(
        "secret", "--all-namespaces", f"--field-selector=metadata.name={KEYS},metadata.namespace=lossmap"
    )["items"]
    if found:
        return {name: base64.b64decode(value).decode() for name, value in found[0]["data"].items()}
    return {
        "AWS_ACCESS_KEY_ID": f"lossmap-{secrets.token_hex(4)}",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
    }


def _overlay(folder: Path, image: str, keeps_data: bool) -> Path:
    """overlays/kind with another image, and with emptyDirs where the cluster has no volumes to give."""
    name, _, digest = image.partition("@")
    name, tag = (name, None) if digest else name.rsplit(":", 1)
    overlay = {
        "resources": [os.path.relpath(K8S / "overlays" / "kind", folder)],
        "images": [
            {
                "name": "docker.io/lossmap/lossmap",
                "newName": name,
                **({"digest": digest} if digest else {"newTag": tag}),
            }
        ],
    }
    if not keeps_data:
        data = (
            '[{"op": "replace", "path": "/spec/template/spec/volumes/0", "value": {"name": "data",'
            ' "emptyDir": {}}}]'
        )
        gone = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: any}, $patch: delete}"
        overlay["patches"] = [
            {"target": {"kind": "Deployment"}, "patch": data},
            {"target": {"kind": "PersistentVolumeClaim"}, "patch": gone},
        ]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return folder


@pytest.fixture
def mlflow_forward(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], AbstractContextManager[int]]:
    """Opens a way from this machine to MLflow: a context manager of the local port."""
    # or MLflow sends its clients to the object store, by a name of the cluster's
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return lambda: forward(installation.services, "mlflow", 5000)


@pytest.fixture
def s3_forward(installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The object store's address on this machine; the environment leads boto3 and
    open_store("s3://lossmap/…") to it.
    """
    with forward(installation.services, "object-store", 9000) as port:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        address = f"http://127.0.0.1:{port}"
        files = {name: str(tmp_path / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_DEFAULT_REGION": "us-east-1",
            **files,
            **installation.keys,
        }.items():
            monkeypatch.setenv(name, value)
        yield address


@pytest.fixture
def run_namespace(installation: Installation, tmp_path: Path) -> Iterator[str]:
    """A new namespace with restricted Pod Security that has what runs need: k8s/base, and the object
    store's keys.
    """
    name = f"lossmap-test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "lossmap/runs": "true"}
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        secret(name, KEYS, installation.keys),
    )
    trainer = kubectl("get", "customresourcedefinition", CRDS["trainjob"], "--ignore-not-found")
    folders = [K8S / "base", *([K8S / "trainer"] if trainer else [])]
    resources = [os.path.relpath(folder, tmp_path) for folder in folders]
    kustomization = {"namespace": name, "resources": resources}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kubectl("apply", "--server-side", "--kustomize", str(tmp_path))
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
