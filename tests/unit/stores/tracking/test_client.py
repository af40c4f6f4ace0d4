import contextlib
import json
import logging
import math
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import TrackingError
from lossmap.components.stores.tracking.client import (
    BackgroundTracker,
    RunTracker,
    serve_ui,
)
from lossmap.components.stores.tracking.server import patience_for_files

# MLflow 3.17 with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

CURVE = [
    {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "test_error": 0.5 / epoch,
        "timestamp": 1_790_000_000.0 + epoch,
    }
    for epoch in (1, 2, 3)
]


STORES = ("file:///home/ann/lossmap-runs", "file:///home/bob/lossmap-runs", "file:///home/bob/lossmap-runs-2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("a store with spaces")


@pytest.fixture(scope="module")
def uri(folder, tracking):
    assert tracking(folder) == Settings(store=folder.as_uri()).tracking
    return Settings(store=folder.as_uri()).tracking


@pytest.fixture
def tracker(uri, request):
    tracker = RunTracker(uri, "study", request.node.name)
    tracker.id = tracker.start({"depth": 20}, {"model": "resnet"})
    return tracker


def rows(folder, query, *values):
    """What SQL alone, without MLflow, finds in the database."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return connection.execute(query, values).fetchall()


def points(folder, run):
    return rows(
        folder,
        "SELECT key, step, value, timestamp FROM metrics WHERE run_uuid = ? ORDER BY key, step, timestamp",
        run,
    )


def test_the_database_lies_in_the_folder_of_a_file_store_and_here_for_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Settings(store="file:///data/my%20runs").tracking == "sqlite:////data/my runs/mlflow.db"
    assert Settings(store="s3://bucket/prefix").tracking == f"sqlite:///{tmp_path}/lossmap-runs/mlflow.db"


def test_the_variable_of_mlflow_is_followed_where_nothing_else_is_said(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    assert Settings(store="s3://bucket/prefix").tracking == "http://mlflow.example"
    monkeypatch.setenv("LOSSMAP_TRACKING", "http://other.example")
    assert Settings().tracking == "http://other.example"
    assert Settings(tracking="http://third.example").tracking == "http://third.example"
    monkeypatch.delenv("LOSSMAP_TRACKING")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    assert Settings(store="file:///s").tracking == "sqlite:////s/mlflow.db"


def test_uploads_have_more_time_than_other_requests_unless_the_user_has_said_how_much(monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    RunTracker("http://mlflow.example", "study", "r")
    for usual, during in (("6", "60"), ("30", "30")):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", usual)
        with patience_for_files():
            assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == during
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == usual


def test_a_run_appears_with_name_study_parameters_tags_and_status(folder, tracker):
    found = rows(
        folder,
        "SELECT r.name, r.status, e.name FROM runs r JOIN experiments e USING (experiment_id) WHERE"
        " run_uuid = ?",
        tracker.id,
    )
    assert found == [("test_a_run_appears_with_name_study_parameters_tags_and_status", "RUNNING", "study")]
    assert rows(folder, "SELECT key, value FROM params WHERE run_uuid = ?", tracker.id) == [("depth", "20")]
    tags = dict(rows(folder, "SELECT key, value FROM tags WHERE run_uuid = ?", tracker.id))
    assert tags["lossmap.run"] == tags["mlflow.runName"] == found[0][0]
    assert tags["model"] == "resnet"


def test_starting_again_finds_the_run_and_adds_only_what_is_new(folder, uri, tracker, request):
    again = RunTracker(uri, "study", request.node.name)
    assert again.start({"depth": 20, "width": None, "long": "x" * 7000}, {"model": "other"}) == tracker.id
    assert again.start({"depth": 20, "width": None, "long": "x" * 7000}, {}) == tracker.id
    assert rows(folder, "SELECT count(*) FROM runs WHERE name = ?", request.node.name) == [(1,)]
    found = dict(rows(folder, "SELECT key, value FROM params WHERE run_uuid = ?", tracker.id))
    assert found == {"depth": "20", "width": "None", "long": "x" * 6000}
    assert rows(folder, "SELECT value FROM tags WHERE run_uuid = ? AND key = 'model'", tracker.id) == [
        ("other",)
    ]


def test_runs_of_two_stores_with_one_name_are_two(folder, uri, request):
    name = request.node.name
    ids = [
        RunTracker(uri, "study", name, store).start({"depth": 20}, {"store": f"{store}/runs/r/"})
        for store in STORES
    ]
    assert len(set(ids)) == len(STORES)
    again = [RunTracker(uri, "study", name, store) for store in STORES]
    assert [tracker.start({"depth": 20}, {}) for tracker in again] == ids
    nameless = RunTracker(uri, "study", name)
    assert nameless.resume()
    assert rows(folder, "SELECT count(*) FROM runs WHERE name = ? AND lifecycle_stage = 'active'", name) == [
        (len(STORES),)
    ]


def test_a_run_keeps_its_parameters(uri, tracker, request):
    with pytest.raises(TrackingError) as caught:
        RunTracker(uri, "study", request.node.name).start({"depth": 56}, {})
    run = request.node.name
    assert (
        str(caught.value)
        == f"MLflow has run {run} with depth = 20, not 56; a run keeps its parameters: start a new one"
    )


def test_epochs_have_their_steps_and_times_and_arrive_once(folder, tracker):
    tracker.log_epochs(CURVE[:1])
    tracker.log_epochs([CURVE[0], CURVE[2]])
    tracker.log_epochs(CURVE)
    tracker.log_epochs([])
    expected = [
        (name, e["epoch"], e[name], 1000 * int(e["timestamp"]))
        for name in ("test_error", "train_loss")
        for e in CURVE
    ]
    assert points(folder, tracker.id) == expected


def test_another_process_repeats_no_epoch(folder, uri, tracker, request):
    tracker.log_epochs(CURVE[:2])
    again = RunTracker(uri, "study", request.node.name)
    again.start({}, {})
    again.log_epochs([{**epoch, "timestamp": 1.0} for epoch in CURVE])
    assert [(key, step) for key, step, _, _ in points(folder, tracker.id)] == [
        (key, step) for key in ("test_error", "train_loss") for step in (1, 2, 3)
    ]


def test_more_than_a_thousand_epochs_arrive(folder, tracker):
    tracker.log_epochs(
        [{"epoch": epoch, "train_loss": 1 / epoch, "test_loss": 2 / epoch} for epoch in range(1, 1202)]
    )
    assert rows(folder, "SELECT count(*), sum(step) FROM metrics WHERE run_uuid = ?", tracker.id) == [
        (2402, 1201 * 1202)
    ]


def test_a_study_is_shown_as_one_of_model_training(folder, tracker):
    query = (
        "SELECT value FROM experiment_tags t JOIN experiments e USING (experiment_id) WHERE e.name = 'study'"
        " AND t.key = 'mlflow.experimentKind'"
    )
    assert rows(folder, query) == [("custom_model_development",)]


def test_a_study_keeps_the_description_that_it_has(folder, uri):
    for description in ("first", "second"):
        RunTracker(uri, "described", "r", description=description).start({}, {})
    query = (
        "SELECT value FROM experiment_tags t JOIN experiments e USING (experiment_id) WHERE e.name ="
        " 'described' AND t.key = 'mlflow.note.content'"
    )
    assert rows(folder, query) == [("first",)]


def test_final_numbers_are_the_last_values_and_arrive_once(folder, tracker):
    tracker.log_epochs(CURVE)
    for _ in range(2):
        tracker.log_final({"test_error": 0.25, "floor": 0.1, "hessian_top": None}, step=3)
    latest = {
        key: value
        for key, value in rows(folder, "SELECT key, value FROM latest_metrics WHERE run_uuid = ?", tracker.id)
    }
    assert latest == {"test_error": 0.25, "floor": 0.1, "train_loss": pytest.approx(2 / 3)}
    assert [(key, step) for key, step, _, _ in points(folder, tracker.id) if key != "train_loss"] == [
        ("floor", 0),
        *(("test_error", step) for step in (1, 2, 3, 3)),
    ]


def test_not_a_number_and_infinity_arrive_once_and_as_documented(folder, tracker):
    for _ in range(2):
        tracker.log_final({"a": math.nan, "b": math.inf, "c": -math.inf}, step=3)
    found = rows(folder, "SELECT key, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key", tracker.id)
    assert found == [("a", 0.0, 1), ("b", sys.float_info.max, 0), ("c", -sys.float_info.max, 0)]


def test_artifacts_lie_beside_the_database_and_the_current_folder_stays_clean(
    folder, uri, tmp_path, monkeypatch, request
):
    monkeypatch.chdir(tmp_path)
    tracker = RunTracker(uri, "study", request.node.name)
    run = tracker.start({}, {})
    for page in (b"old", b"<p>page</p>"):
        tracker.log_artifacts({"page.html": page, "figures/contour.png": bytes(range(256))})
    place = folder / "mlartifacts/study" / run / "artifacts"
    assert {path.relative_to(place).as_posix() for path in place.rglob("*.*")} == {
        "page.html",
        "figures/contour.png",
    }
    assert (place / "page.html").read_bytes() == b"<p>page</p>"
    assert (place / "figures/contour.png").read_bytes() == bytes(range(256))
    assert list(tmp_path.iterdir()) == []
    assert all(path.stat().st_mode & 0o055 == 0o055 for path in (place, place / "figures"))


def test_the_data_set_is_noted_once_without_being_read(folder, tracker):
    for _ in range(2):
        tracker.log_dataset("digits", "0123456789" * 6, "s3://bucket/datasets/0123/manifest.json")
    query = (
        "SELECT d.name, d.digest, d.dataset_source_type, d.dataset_source FROM datasets d JOIN inputs i ON"
        " i.source_id = d.dataset_uuid"
    )
    [(name, digest, kind, source)] = rows(folder, f"{query} WHERE i.destination_id = ?", tracker.id)
    assert (name, digest, kind) == ("digits", "012345678901", "s3")
    assert json.loads(source) == {"uri": "s3://bucket/datasets/0123/manifest.json"}


def test_the_model_is_noted_once_with_its_place_and_its_final_numbers(folder, tracker, request):
    tracker.log_final({"test_error": 0.25}, step=3)
    for _ in range(2):
        tracker.log_model(
            request.node.name, "s3://bucket/runs/r/weights.safetensors", parameters={"depth": 20}
        )
    [(model, name, status)] = rows(
        folder, "SELECT model_id, name, status FROM logged_models WHERE source_run_id = ?", tracker.id
    )
    assert (name, status) == (request.node.name, 2)  # 2: READY
    tags = dict(rows(folder, "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ?", model))
    assert tags["weights"] == "s3://bucket/runs/r/weights.safetensors"
    assert rows(
        folder,
        "SELECT metric_name, metric_value, metric_step FROM logged_model_metrics WHERE model_id = ?",
        model,
    ) == [("test_error", 0.25, 0)]
    assert rows(
        folder, "SELECT param_key, param_value FROM logged_model_params WHERE model_id = ?", model
    ) == [("depth", "20")]
    assert rows(
        folder, "SELECT count(*) FROM inputs WHERE source_id = ? AND destination_id = ?", tracker.id, model
    ) == [(1,)]
    assert len(points(folder, tracker.id)) == 1


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_finished_run_has_its_status_and_end(folder, tracker, status):
    tracker.finish(status)
    [(found, ended)] = rows(folder, "SELECT status, end_time FROM runs WHERE run_uuid = ?", tracker.id)
    assert found == status
    assert abs(ended / 1000 - time.time()) < 60


def test_a_run_that_has_ended_can_go_on(folder, uri, tracker, request):
    tracker.finish("KILLED")
    RunTracker(uri, "study", request.node.name).start({}, {})
    assert rows(folder, "SELECT status FROM runs WHERE run_uuid = ?", tracker.id) == [("RUNNING",)]


def test_a_finished_run_that_is_logged_again_keeps_its_status_and_its_end(folder, uri, tracker, request):
    tracker.finish("FINISHED")
    before = rows(folder, "SELECT status, end_time FROM runs WHERE run_uuid = ?", tracker.id)
    again = RunTracker(uri, "study", request.node.name)
    again.start({}, {})
    again.finish("FINISHED")
    assert rows(folder, "SELECT status, end_time FROM runs WHERE run_uuid = ?", tracker.id) == before


def test_a_database_has_no_address(tracker):
    assert tracker.url() is None


def test_a_deleted_study_is_restored_and_that_is_said(folder, uri, caplog):
    RunTracker(uri, "binned", "old").start({}, {})
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'binned'")
    RunTracker(uri, "binned", "new").start({}, {})
    assert rows(folder, "SELECT name, lifecycle_stage FROM experiments WHERE name = 'binned'") == [
        ("binned", "active")
    ]
    assert caplog.messages == [
        "study binned was deleted in MLflow and is restored there with its runs, because run new belongs"
        " to it"
    ]


def test_younger_runs_of_the_same_name_go_to_the_bin(folder, uri, tracker, request):
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(runs)")]
        copied = [
            "'younger'" if name == "run_uuid" else "start_time + 1" if name == "start_time" else name
            for name in columns
        ]
        connection.execute(
            f"INSERT INTO runs SELECT {', '.join(copied)} FROM runs WHERE run_uuid = ?", (tracker.id,)
        )
        connection.execute(
            "INSERT INTO tags (key, value, run_uuid) VALUES ('lossmap.run', ?, 'younger')",
            (request.node.name,),
        )
    assert RunTracker(uri, "study", request.node.name).start({}, {}) == tracker.id
    found = rows(
        folder,
        "SELECT run_uuid, lifecycle_stage FROM runs WHERE name = ? ORDER BY start_time",
        request.node.name,
    )
    assert found == [(tracker.id, "active"), ("younger", "deleted")]


def test_a_new_database_is_made_silently(tmp_path):
    program = (
        "import logging, sys; logging.basicConfig(level=logging.INFO);"
        "from lossmap.components.stores.tracking.client import RunTracker;"
        "RunTracker(sys.argv[1], 'study', 'r').start({'a': 1}, {})"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{tmp_path}/mlflow.db"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert found.stdout + found.stderr == ""


def test_processes_that_start_at_once_on_a_new_database_share_one_run(tmp_path):
    program = (
        "import sys, mlflow; from lossmap.components.stores.tracking.client import RunTracker;"
        " sys.stdin.readline();RunTracker(sys.argv[1], 'study', 'r').start({'a': 1}, {})"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/mlflow.db"]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = []
    threads = [
        threading.Thread(target=lambda p=p: errors.append(p.communicate("\n", timeout=120)[1]))
        for p in started
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == ["", ""]
    assert rows(tmp_path, "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'") == [(1,)]


def test_mlflow_is_not_imported_before_it_is_needed():
    program = "import sys, lossmap.components.stores.tracking.client; print('mlflow' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        == "False\n"
    )


def test_waiting_is_bounded_and_no_usage_is_reported_but_what_the_user_has_set_stays():
    program = (
        "import os, sys; from lossmap.components.stores.tracking.client import RunTracker;"
        " RunTracker('http://host', 'study', 'r');print('mlflow' in sys.modules, *(os.environ['MLFLOW_' + n]"
        " for n in ('HTTP_REQUEST_TIMEOUT', 'HTTP_REQUEST_MAX_RETRIES', 'DISABLE_TELEMETRY')))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    for given, expected in (
        ({}, "6 1 true"),
        ({"MLFLOW_HTTP_REQUEST_TIMEOUT": "77", "MLFLOW_DISABLE_TELEMETRY": "false"}, "77 1 false"),
    ):
        found = subprocess.run(
            [sys.executable, "-c", program],
            env=environment | given,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert found.stdout == f"False {expected}\n"


def refusal(uri):
    started = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        RunTracker(uri, "study", "r").start({}, {})
    assert time.monotonic() - started < 15
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_that_is_not_there_is_named_without_the_password():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    expected = (
        f"MLflow at http://127.0.0.1:{port} is out of reach; start it, or correct LOSSMAP_TRACKING or"
        " --tracking ([Errno 111] Connection refused)"
    )
    assert refusal(f"http://ann:secret@127.0.0.1:{port}") == expected


def test_a_file_that_is_no_database_is_named_at_once(tmp_path):
    Path(tmp_path, "mlflow.db").write_text("no database" * 100)
    place = f"sqlite:///{tmp_path}/mlflow.db"
    cure = "cannot be used; look at the file and its disk, or name another with --tracking"
    assert refusal(place) == f"MLflow at {place} {cure} (file is not a database)"


def test_a_database_of_another_mlflow_is_named(folder, tmp_path, uri, tracker):
    with (
        contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as old,
        contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as new,
        new,
    ):
        old.backup(new)
        new.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    place = f"sqlite:///{tmp_path}/mlflow.db"
    expected = (
        f"MLflow at {place} is of another version of MLflow; install that one, or run `mlflow db upgrade` on"
        " it ("
    )
    assert refusal(place).startswith(expected)


@pytest.mark.parametrize("place", ["postgresql://ann:secret@host/mlflow", "mlruns", "sqlite:///"])
def test_only_servers_and_sqlite_are_taken(place):
    shown = place.replace("ann:secret@", "")
    assert (
        refusal(place) == f"tracking URI is {shown}, expected http://host:port of an MLflow server or"
        " sqlite:////folder/mlflow.db; correct --tracking, LOSSMAP_TRACKING or MLFLOW_TRACKING_URI"
    )


class Outages:
    """A tracker whose server is there or not."""

    def __init__(self, *, up=True):
        self.up, self.opened, self.tried = up, 0, 0
        self.received = []

    def open(self):
        self.opened += 1
        return self

    def log_epochs(self, epochs):
        self.tried += 1
        if not self.up:
            raise TrackingError("MLflow at http://x is out of reach")
        self.received += epochs


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_every_epoch_is_sent_in_order():
    server = Outages()
    background = BackgroundTracker(server.open)
    for epoch in CURVE:
        background.send(epoch)
    assert background.close(10) == 0
    assert server.received == CURVE
    assert server.opened == 1


def test_what_an_outage_missed_is_sent_later_and_the_outage_is_told_once(caplog):
    server = Outages()
    background = BackgroundTracker(server.open)
    background.send(CURVE[0])
    wait_until(lambda: server.received)
    server.up = False
    background.send(CURVE[1])
    wait_until(lambda: server.tried == 2)
    time.sleep(1.1)  # the first pause
    background.send(CURVE[2])
    wait_until(lambda: server.tried == 3)
    server.up = True
    assert background.close(10) == 0
    assert server.received == CURVE
    assert caplog.messages == [
        "MLflow at http://x is out of reach; training goes on, and what is missing is sent later"
    ]


def test_an_absent_server_is_not_tried_at_every_epoch():
    server = Outages(up=False)
    background = BackgroundTracker(server.open)
    for epoch in range(50):
        background.send({"epoch": epoch})
        time.sleep(0.002)
    assert background.close(10) == 50
    assert server.tried <= 2  # the first epoch and the end


def test_a_server_that_hangs_delays_neither_epochs_nor_the_end():
    hanging = threading.Event()
    background = BackgroundTracker(lambda: hanging.wait() and Outages())
    started = time.monotonic()
    for epoch in range(1000):
        background.send({"epoch": epoch})
    assert background.close(0.2) == 1000
    assert time.monotonic() - started < 2
    hanging.set()


def test_an_unforeseen_error_is_told_and_harms_nothing(caplog):
    background = BackgroundTracker(lambda: {}["no tracker"])
    background.send(CURVE[0])
    assert background.close(10) == 1
    assert caplog.messages == ["'no tracker'; training goes on, and what is missing is sent later"]
    assert caplog.records[0].levelno == logging.WARNING


def test_the_ui_of_a_server_is_that_server(capsys):
    assert serve_ui("http://ann:secret@host:5000") == 0
    assert (
        capsys.readouterr().out == "the runs are on an MLflow server, open"
        " http://host:5000/#/experiments?workflowType=machine_learning\n"
    )


def test_the_ui_needs_a_database(tmp_path):
    with pytest.raises(TrackingError) as caught:
        serve_ui(f"sqlite:///{tmp_path}/mlflow.db")
    expected = (
        f"{tmp_path}/mlflow.db does not exist yet; `lossmap run` makes it, or name another with --tracking or"
        " --store"
    )
    assert str(caught.value) == expected


def test_a_port_that_is_taken_is_named(tmp_path):
    Path(tmp_path, "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError) as caught:
            serve_ui(f"sqlite:///{tmp_path}/mlflow.db", port=port)
    assert (
        str(caught.value)
        == f"port {port} of 127.0.0.1 cannot be used (Address already in use); choose another with --port or"
        " --host"
    )
