"""Tracking against a real MLflow server, read back by plain HTTP."""

import contextlib
import http.client
import http.server
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import pytest
from support.command_line import start

from lossmap.components.core.errors import TrackingError
from lossmap.components.stores.tracking.client import BackgroundTracker, RunTracker
from lossmap.pipelines.doctor import Finding, examine_tracking

# MLflow 3.17 with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

CURVE = [
    {"epoch": epoch, "train_loss": 2.0 / epoch, "timestamp": 1_790_000_000.0 + epoch} for epoch in range(1, 7)
]
PAGE = (
    b"<!doctype html><title>page</title><p id=x></p><script>document.getElementById('x').textContent ="
    b" 'drawn'</script>"
)


def get(server, address, /, **query):
    with urllib.request.urlopen(
        f"{server.uri}{address}?{urllib.parse.urlencode(query)}", timeout=30
    ) as answer:
        return answer.read()


def post(server, path, body):
    request = urllib.request.Request(
        f"{server.uri}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def run_of(server, run):
    return json.loads(get(server, "/api/2.0/mlflow/runs/get", run_id=run))["run"]


def history(server, run, name):
    found = json.loads(get(server, "/api/2.0/mlflow/metrics/get-history", run_id=run, metric_key=name))
    return [(point.get("step", 0), point["value"], point["timestamp"]) for point in found.get("metrics", [])]


def experiment_of(server, study):
    return json.loads(get(server, "/api/2.0/mlflow/experiments/get-by-name", experiment_name=study))[
        "experiment"
    ]


def active_runs(server, study):
    return post(server, "runs/search", {"experiment_ids": [experiment_of(server, study)["experiment_id"]]})[
        "runs"
    ]


def opened(server, study, name):
    tracker = RunTracker(server.uri, study, name)
    return tracker, tracker.start({"model.depth": 20, "data.limit": None}, {"model": "resnet"})


def test_everything_of_a_run_is_seen_on_the_server(mlflow_server):
    for _ in range(2):
        tracker, run = opened(mlflow_server, "whole", "digits-resnet20-20261124-3f9a2c")
        tracker.log_epochs(CURVE)
        tracker.log_final(
            {"train_loss": 0.3, "floor": 0.125, "masked": None, "ceiling": float("inf"), "odd": float("nan")},
            step=6,
        )
        tracker.log_artifacts({"page.html": PAGE, "figures/contour.png": bytes(range(256))})
        tracker.log_dataset("digits", "ab" * 32, "file:///data/datasets/ab/manifest.json")
        tracker.log_model("digits-resnet20-20261124-3f9a2c", "file:///data/runs/weights.safetensors")
        tracker.finish("FINISHED")
    assert len(active_runs(mlflow_server, "whole")) == 1
    found = run_of(mlflow_server, run)
    assert (found["info"]["run_name"], found["info"]["status"]) == (
        "digits-resnet20-20261124-3f9a2c",
        "FINISHED",
    )
    assert {pair["key"]: pair["value"] for pair in found["data"]["params"]} == {
        "model.depth": "20",
        "data.limit": "None",
    }
    tags = {pair["key"]: pair["value"] for pair in found["data"]["tags"]}
    assert (tags["lossmap.run"], tags["model"]) == ("digits-resnet20-20261124-3f9a2c", "resnet")
    expected = [(epoch["epoch"], epoch["train_loss"], int(1000 * epoch["timestamp"])) for epoch in CURVE]
    *epochs, final = history(mlflow_server, run, "train_loss")
    assert epochs == expected
    assert final[:2] == (6, 0.3)
    assert {metric["key"]: metric["value"] for metric in found["data"]["metrics"]} == {
        "train_loss": 0.3,
        "floor": 0.125,
        "ceiling": sys.float_info.max,
        "odd": "NaN",
    }
    assert [len(history(mlflow_server, run, name)) for name in ("floor", "ceiling", "odd")] == [1, 1, 1]
    [dataset] = found["inputs"]["dataset_inputs"]
    assert (dataset["dataset"]["name"], dataset["dataset"]["digest"]) == ("digits", "ab" * 6)
    [model] = found["outputs"]["model_outputs"]
    logged = json.loads(get(mlflow_server, f"/api/2.0/mlflow/logged-models/{model['model_id']}"))["model"]
    assert {tag["key"]: tag["value"] for tag in logged["info"]["tags"]}[
        "weights"
    ] == "file:///data/runs/weights.safetensors"
    assert logged["info"]["source_run_id"] == run
    assert {metric["key"] for metric in logged["data"]["metrics"]} == {
        "train_loss",
        "floor",
        "ceiling",
        "odd",
    }


def test_artifacts_are_served_as_they_were_logged(mlflow_server):
    tracker, run = opened(mlflow_server, "artifacts", "pages")
    large = os.urandom(8_000_000)
    tracker.log_artifacts({"page.html": PAGE, "figures/contour.png": b"png", "surface.npz": large})
    assert get(mlflow_server, "/get-artifact", run_uuid=run, path="page.html") == PAGE
    assert get(mlflow_server, "/get-artifact", run_uuid=run, path="surface.npz") == large
    listed = json.loads(get(mlflow_server, "/api/2.0/mlflow/artifacts/list", run_id=run))["files"]
    assert sorted(entry["path"] for entry in listed) == ["figures", "page.html", "surface.npz"]


def test_the_run_has_an_address_in_the_ui(mlflow_server):
    tracker, run = opened(mlflow_server, "address", "r")
    experiment = experiment_of(mlflow_server, "address")["experiment_id"]
    assert (
        tracker.url()
        == f"{mlflow_server.uri}/#/experiments/{experiment}/runs/{run}?workflowType=machine_learning"
    )


@pytest.mark.parametrize("study", [f"at-once-{number}" for number in range(5)])
def test_processes_that_start_at_once_share_study_and_run(mlflow_server, study):
    threads = [threading.Thread(target=opened, args=(mlflow_server, study, "same")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, run = opened(mlflow_server, study, "same")
    assert [found["info"]["run_id"] for found in active_runs(mlflow_server, study)] == [run]
    tags = run_of(mlflow_server, run)["data"]["tags"]
    assert [pair["value"] for pair in tags if pair["key"] == "model"] == ["resnet"]


def test_a_deleted_study_is_restored(mlflow_server, caplog):
    opened(mlflow_server, "binned", "old")
    post(
        mlflow_server,
        "experiments/delete",
        {"experiment_id": experiment_of(mlflow_server, "binned")["experiment_id"]},
    )
    opened(mlflow_server, "binned", "new")
    assert experiment_of(mlflow_server, "binned")["lifecycle_stage"] == "active"
    assert caplog.messages == [
        "study binned was deleted in MLflow and is restored there with its runs, because run new belongs"
        " to it"
    ]


def test_a_server_that_is_killed_and_comes_back_gets_every_epoch_and_training_never_waits(
    mlflow_server, caplog
):
    longest = 0.0

    def send(epoch):
        nonlocal longest
        start = time.monotonic()
        background.send(epoch)
        longest = max(longest, time.monotonic() - start)

    background = BackgroundTracker(lambda: opened(mlflow_server, "outage", "r")[0])
    for epoch in CURVE[:2]:
        send(epoch)
    run = wait_for_epochs(mlflow_server, "outage", 2)
    mlflow_server.kill()
    for epoch in CURVE[2:4]:
        send(epoch)
    time.sleep(4)  # two tries of the first of them fail
    mlflow_server.start()
    for epoch in CURVE[4:]:
        send(epoch)
    assert background.close(60) == 0
    assert [point[:2] for point in history(mlflow_server, run, "train_loss")] == [
        (e["epoch"], e["train_loss"]) for e in CURVE
    ]
    assert longest < 0.1
    [told] = caplog.messages
    assert told.startswith(
        f"MLflow at {mlflow_server.uri} is out of reach; start it, or correct LOSSMAP_TRACKING or"
        " --tracking ("
    )
    assert told.endswith("); training goes on, and what is missing is sent later")
    assert "\n" not in told


def wait_for_epochs(server, study, count):
    """The only run of the study, as soon as it has so many epochs."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.1)
        studies = post(server, "experiments/search", {"max_results": 10, "filter": f"name = '{study}'"}).get(
            "experiments", []
        )
        runs = (
            post(
                server, "runs/search", {"experiment_ids": [found["experiment_id"] for found in studies]}
            ).get("runs", [])
            if studies
            else []
        )
        if runs and len(history(server, runs[0]["info"]["run_id"], "train_loss")) == count:
            return runs[0]["info"]["run_id"]
    raise AssertionError(f"{study} has no {count} epochs")


def test_a_server_that_accepts_and_never_answers_is_given_up_and_training_never_waits(caplog):
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}"

        def start():
            tracker = RunTracker(place, "study", "r")
            tracker.start({}, {})
            return tracker

        started = time.monotonic()
        background = BackgroundTracker(start)
        for epoch in CURVE:
            background.send(epoch)
        assert time.monotonic() - started < 0.5
        assert background.close(0.5) == len(CURVE)
        assert time.monotonic() - started < 1.5
        started = time.monotonic()
        with pytest.raises(TrackingError) as caught:
            start()
        assert time.monotonic() - started < 15
    assert str(caught.value).startswith(
        f"MLflow at {place} does not answer in time; look at the server, or raise"
        " MLFLOW_HTTP_REQUEST_TIMEOUT ("
    )


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (404, b"<html>", "is not an MLflow server"),
        (200, b"<html>", "is not an MLflow server"),
        (401, b"no", "does not know who asks; set MLFLOW_TRACKING_USERNAME"),
        (403, b"no", "does not let user ann write into its experiment study; have the permission EDIT given"),
        (403, b"Invalid Host header", "does not accept this name of its host"),
    ],
)
def test_other_answers_are_one_line_that_says_what_to_do(status, body, cause):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(TrackingError) as caught:
            RunTracker(f"http://ann:secret@127.0.0.1:{server.server_port}", "study", "r").start({}, {})
        server.shutdown()
    assert str(caught.value).startswith(f"MLflow at http://127.0.0.1:{server.server_port} {cause}")
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def before(server, answers):
    """The address of a gate that passes requests on to the server, but for paths that it answers itself."""

    class Gate(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            own = next((answer for path, answer in answers.items() if path in self.path), None)
            status, content = own or self.passed_on(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def passed_on(self, body):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            with contextlib.closing(connection):
                connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
                with connection.getresponse() as answer:
                    return answer.status, answer.read()

        def log_message(self, *arguments):
            pass

        do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_a_server_of_version_2_gets_everything_but_the_model(mlflow_server, caplog):
    older = {"/logged-models": (404, b"<html>not here"), "/version": (200, b"2.22.4")}
    with before(mlflow_server, older) as place:
        tracker = RunTracker(place, "older", "r")
        run = tracker.start({}, {})
        tracker.log_final({"floor": 0.5}, step=1)
        tracker.log_model("r", "file:///data/weights.safetensors")
        tracker.finish("FINISHED")
    assert run_of(mlflow_server, run)["info"]["status"] == "FINISHED"
    told = "is version 2.22.4, which knows no logged models (3.0 does); everything else is there"
    assert caplog.messages == [f"MLflow at {place} {told}"]


def test_a_run_whose_files_do_not_arrive_is_finished_all_the_same(mlflow_server):
    with before(mlflow_server, {"/mlflow-artifacts": (413, b"<html>too large")}) as place:
        tracker = RunTracker(place, "files", "r")
        run = tracker.start({}, {})
        with pytest.raises(TrackingError, match=r"takes no file of that size; .*client_max_body_size"):  # noqa: SIM117
            with tracker.concluding():
                tracker.log_artifacts({"page.html": PAGE})
    assert run_of(mlflow_server, run)["info"]["status"] == "FINISHED"


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_serves_what_was_logged_without_it_and_ends_without_leavings(
    tmp_path, asked, wait_for_address, tracking
):
    place = tracking(tmp_path)
    tracker = RunTracker(place, "local", "r")
    run = tracker.start({}, {})
    tracker.log_artifacts({"page.html": PAGE})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["ui", "--port", str(port), "--tracking", place]
    ui = start(*command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for_address(f"http://127.0.0.1:{port}/health")
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/get-artifact?run_uuid={run}&path=page.html", timeout=30
        ) as answer:
            assert answer.read() == PAGE
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert b"<title>MLflow</title>" in answer.read()
    finally:
        ui.send_signal(asked)
        output = ui.communicate(timeout=30)[0]
    address = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"
    assert output.startswith(f"MLflow UI at {address} in about ten seconds; Ctrl-C ends it\n")
    assert ui.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlartifacts"}
    with socket.create_server(("127.0.0.1", port)):  # nobody listens any more
        pass


def test_the_doctor_is_content_with_a_server_and_with_a_database_that_runs_are_in(
    mlflow_server, tmp_path, tracking
):
    place = tracking(tmp_path)
    found = examine_tracking(mlflow_server.uri)
    assert found == Finding(
        "MLflow", True, f"{mlflow_server.uri}, version {importlib.metadata.version('mlflow')}"
    )
    RunTracker(place, "local", "r").start({}, {})
    assert examine_tracking(place) == Finding("MLflow", True, f"{tmp_path}/mlflow.db: 1 run")
