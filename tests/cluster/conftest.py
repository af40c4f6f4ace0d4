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
from cluster.launching import TRAINERS, experiment, launch, trainers
from cluster.running import Place
from safetensors.torch import load

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.jobs.kinds import CRDS
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines.local import open_run

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
        "resources": [os.path.relpath(each, folder) for each in (K8S / "overlays" / "kind", *_runtime())],
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


def _runtime() -> list[Path]:
    """The folder of what TrainJobs need, where the cluster has them."""
    return [K8S / "trainer"] if "trainjob" in trainers() else []


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
    resources = [os.path.relpath(folder, tmp_path) for folder in (K8S / "base", *_runtime())]
    kustomization = {"namespace": name, "resources": resources}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kubectl("apply", "--server-side", "--kustomize", str(tmp_path))
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(params=TRAINERS)
def trainer(request):
    """A kind of training job that the cluster has."""
    if request.param not in trainers():
        pytest.skip(f"the cluster has no {CRDS[request.param]}")
    return request.param


@pytest.fixture
def launched(trainer, installation, run_namespace, s3_forward):
    """Launches an experiment's training in a new namespace with restricted Pod Security."""

    def launched(asked, **options):
        cluster = asked.cluster.model_copy(update={"trainer": trainer})
        return launch(
            run_namespace, asked.model_copy(update={"cluster": cluster}), installation.image, **options
        )

    return launched


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The weights that two processes of this machine come to."""
    settings = Settings(store=str(tmp_path_factory.mktemp("local")))
    steps.prepare(open_run("run", settings), experiment())
    steps.train(open_run("run", settings), settings)
    store = open_store(settings.store)
    return load(store.read(layout.weights(Run(store, "run").training)))


@pytest.fixture(scope="module")
def study():
    """A name that no other session of tests has used."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def seed():
    """Of a training that nobody has carried out, so that neither the store nor Kubeflow's cache knows it."""
    return secrets.randbelow(1 << 31)


@pytest.fixture
def place(installation, tmp_path):
    return Place(installation, tmp_path)


@pytest.fixture
def person(installation, place, tmp_path):
    """The same for somebody who has the role lossmap-user and no other."""
    bindings = [
        _binding(namespace, installation.runs) for namespace in (installation.runs, installation.services)
    ]
    apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "person", "namespace": installation.runs},
        },
        *bindings,
    )
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"] = [
        {
            "name": "person",
            "user": {"token": kubectl("--namespace", installation.runs, "create", "token", "person").strip()},
        }
    ]
    config["contexts"][0]["context"]["user"] = "person"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    place.environment["KUBECONFIG"] = str(tmp_path / "kubeconfig")
    place.environment.pop("KF_PIPELINES_ENDPOINT", None)  # the API server leads there
    return place


def _binding(namespace, home):
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lossmap-user"}
    subject = {"kind": "ServiceAccount", "name": "person", "namespace": home}
    what = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "person", "namespace": namespace},
    }
    return what | {"roleRef": role, "subjects": [subject]}
