"""A secret in every variable, file and address that lossmap may read is nowhere in what it writes or says."""

import json
import time

import psutil
import pytest
from support.command_line import lossmap
from support.small_run import EXPERIMENT, survey
from support.tracking_server import serving_mlflow

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.studies.cells import Cell
from lossmap.pipelines.doctor import examine_tracking
from lossmap.pipelines.studies.local import _CellProcess

CANARY = "canary5f2b9c41d7"
_NOBODY = "127.0.0.1:9"
_KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "tests",
    "clusters": [{"name": "tests", "cluster": {"server": f"http://{_NOBODY}"}}],
    "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
}
_HURRY = {
    "AWS_MAX_ATTEMPTS": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "LOSSMAP_IMAGE": "registry.example/lossmap:1",
}
_KEYS = {
    name: f"{CANARY}-{name}"
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    for name in (variable, f"LOSSMAP_DATA_{variable}")
}
_MLFLOW = {
    name: f"{CANARY}-{name}"
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
}


@pytest.mark.slow
def test_a_whole_run_writes_none(s3, tmp_path, monkeypatch, tracking, caplog, capfd):
    for name, value in {**_KEYS, **_MLFLOW}.items():
        monkeypatch.setenv(name, value)
    with serving_mlflow(tracking(tmp_path), tmp_path / "artifacts") as port:
        settings = Settings(store=s3, tracking=f"http://ann:{CANARY}@127.0.0.1:{port}")
        run = Run(open_store(s3), "run")
        survey(settings, run)
        steps.report(run, settings)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len([path for path in files if "artifacts" in path.parts]) > 5
    written = {**{str(path): path.read_bytes() for path in files}, **_objects(s3)}
    assert [name for name, content in written.items() if CANARY.encode() in content] == []
    assert CANARY not in caplog.text + "".join(capfd.readouterr())


def _objects(uri):
    store = open_store(uri)
    return {key: store.read(key) for key in store.keys("")}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A store with a run that MLflow knows nothing of."""
    store = open_store(str(tmp_path_factory.mktemp("begun")))
    survey(Settings(store=store.uri, tracking="none"), Run(store, "run"))
    return store.uri


_ADDRESS = f"ann:{CANARY}@{_NOBODY}"
_COMMANDS = {
    "the store is away": ("runs --store s3://bucket/x", {"AWS_ENDPOINT_URL": f"http://{_ADDRESS}"}),
    "no address of a store": ("runs --store s3://bucket/x", {"AWS_ENDPOINT_URL": f"ftp://{_ADDRESS}"}),
    "a proxy before the store": (
        "runs --store s3://bucket/x",
        {"AWS_ENDPOINT_URL": "https://s3.example", "HTTPS_PROXY": f"http://{_ADDRESS}"},
    ),
    "a session's token with a line break": (
        "runs --store s3://bucket/x",
        {"AWS_ENDPOINT_URL": f"http://{_NOBODY}", "AWS_SESSION_TOKEN": f"{CANARY}\n"},
    ),
    "a store with a password": (f"runs --store s3://ann:{CANARY}@bucket/x", {}),
    "another kind of store": (f"runs --store gs://ann:{CANARY}@bucket/x", {}),
    "MLflow is away": (f"sync run --tracking http://{_ADDRESS}", {}),
    "MLflow has no port": (f"sync run --tracking http://ann:{CANARY}@127.0.0.1:port", {}),
    "no MLflow": (f"sync run --tracking ftp://{_ADDRESS}", {}),
    "a proxy before MLflow": (
        "sync run --tracking https://mlflow.example",
        {"HTTPS_PROXY": f"http://{_ADDRESS}"},
    ),
    "MLflow's token with a line break": (
        f"sync run --tracking http://{_NOBODY}",
        {"MLFLOW_TRACKING_TOKEN": f"{CANARY}\n"},
    ),
    "the UI": (f"ui --tracking http://{_ADDRESS}", {}),
    "a cluster that is away": ("status run", {}),
    "a cluster's token with a line break": ("status run", {"token": f"{CANARY}\n"}),
    "Kubeflow Pipelines with a password": ("status run", {"LOSSMAP_PIPELINES": f"http://{_ADDRESS}"}),
    "Kubeflow Pipelines by a token": (
        "status run",
        {"KF_PIPELINES_ENDPOINT": f"http://{_ADDRESS}", "KF_PIPELINES_SA_TOKEN_PATH": "token"},
    ),
    "a compiled pipeline": ("compile blobs-mlp -o pipeline.yaml", {}),
}


@pytest.mark.parametrize("case", list(_COMMANDS))
def test_no_command_says_or_writes_one(case, begun, tmp_path, tracking, caplog):
    words, changes = _COMMANDS[case]
    token = changes.get("token", f"{CANARY}-token")
    users = [{"name": "tests", "user": {"token": token}}]
    (tmp_path / "kubeconfig").write_text(json.dumps({**_KUBECONFIG, "users": users}))
    (tmp_path / "token").write_text(f"{CANARY}\n")
    tracking(tmp_path / "lossmap-runs")
    places = {"LOSSMAP_STORE": begun, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    variables = {**_KEYS, **_MLFLOW, **_HURRY, **places, **changes}
    well = case in ("the UI", "a compiled pipeline")
    found = lossmap(*words.split(), cwd=tmp_path, check=0 if well else 1, variables=variables)
    said = found.stdout + found.stderr + caplog.text
    assert said
    assert CANARY not in said
    assert "Traceback" not in said
    written = [path for path in tmp_path.rglob("*") if path.name not in ("kubeconfig", "token")]
    assert [path for path in written if path.is_file() and CANARY.encode() in path.read_bytes()] == []


def test_the_doctor_names_none():
    found = examine_tracking(f"http://{_ADDRESS}")
    assert (found.ok, CANARY in f"{found.detail} {found.cure}") == (False, False)


def test_no_process_has_one_in_its_arguments(tmp_path):
    settings = Settings(store=str(tmp_path), tracking=f"http://{_ADDRESS}")
    cell = _CellProcess(Cell("blobs", {}, 0, EXPERIMENT, "run"), settings)
    process = psutil.Process(cell._process.pid)
    while not (arguments := process.cmdline()):  # it is there a moment before its arguments are
        time.sleep(0.01)
    environment = process.environ()
    process.kill()
    cell.close()
    assert CANARY not in " ".join(arguments)
    assert environment["LOSSMAP_TRACKING"] == settings.tracking
