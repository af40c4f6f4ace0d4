import contextlib
import http.server
import json
import os
import socket
import sqlite3
import sys
import threading
import time

import pytest
from support.command_line import lossmap

from lossmap.components.stores.objects import open_store
from lossmap.pipelines import doctor
from lossmap.pipelines.doctor import Finding, examine, examine_store, examine_tracking

ELSEWHERE = "name another with --tracking or LOSSMAP_TRACKING"


def test_a_sound_installation_is_well_and_leaves_nothing_behind(tmp_path):
    found = {
        finding.name: finding for finding in examine(tmp_path.as_uri(), f"sqlite:///{tmp_path}/mlflow.db")
    }
    assert [finding for finding in found.values() if not finding.ok or finding.cure] == []
    assert list(found) == [
        "Python",
        *doctor.PACKAGES,
        "cores",
        "memory",
        "temporary files",
        "semaphores",
        "disk",
        "torchrun",
        "GPUs",
        "store",
        "MLflow",
    ]
    assert found["Python"].detail.startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert found["torchrun"].detail == "starts"
    assert found["disk"].detail.endswith(f"GiB free at {tmp_path}")
    assert found["store"].detail == tmp_path.as_uri()
    assert found["MLflow"].detail == f"{tmp_path}/mlflow.db: the first run makes it"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_package_that_is_missing_is_named_and_a_torch_that_cannot_be_imported_is_told_by_its_last_line(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    package, torch = [
        finding for finding in examine(tmp_path.as_uri(), f"sqlite:///{tmp_path}/mlflow.db") if not finding.ok
    ]
    assert (package.name, package.detail) == ("no-such-package", "not installed")
    assert (
        package.cure
        == "install lossmap again in this Python: python -m pip install --force-reinstall lossmap"
    )
    assert (torch.name, torch.detail) == (
        "torchrun",
        "OSError: libcudart.so.12: cannot open shared object file",
    )
    assert torch.cure


def test_a_gpu_that_torch_does_not_see_is_a_finding():
    assert doctor._gpus(["H200", "H200"], ["nvidia0", "nvidia1"]) == Finding("GPUs", True, "2: H200")
    assert doctor._gpus([], []) == Finding("GPUs", True, "none; training runs on the cores")
    assert doctor._gpus([], ["nvidia0"]).detail == "torch sees none of the 1 in /dev"
    assert not doctor._gpus([], ["nvidia0"]).ok


def test_a_store_that_cannot_be_written_is_told_with_its_cure(tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = examine_store(f"{tmp_path.as_uri()}/file/below")
    assert (found.name, found.ok) == ("store", False)
    assert found.detail.startswith(f"{tmp_path}/file/below/doctor/")
    assert found.detail.endswith("cannot be written: Not a directory")
    assert found.cure == "free space or choose another folder with --store"


def test_a_store_of_a_kind_that_is_not_known_has_a_cure_too():
    assert examine_store("ftp://x") == Finding(
        "store",
        False,
        "store is 'ftp://x', expected file:///folder, a path, or s3://bucket/prefix",
        "name another store with --store or LOSSMAP_STORE",
    )


def test_a_bucket_is_written_read_and_left_empty(s3):
    assert examine_store(s3) == Finding("store", True, s3)
    assert list(open_store(s3).keys("")) == []


def test_a_bucket_that_is_not_there_is_named(s3):
    missing = s3.replace("lossmap-tests", "no-such-bucket")
    assert examine_store(missing) == Finding(
        "store", False, f"{missing}: the bucket does not exist", "create it or correct --store"
    )


def test_the_s3_of_images_is_asked_where_it_has_variables_of_its_own(s3, s3_server, s3_account, monkeypatch):
    assert list(doctor._source()) == []
    monkeypatch.setenv("LOSSMAP_DATA_AWS_ENDPOINT_URL", s3_server)
    with s3_account(["s3:GetObject"]):
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            monkeypatch.setenv(f"LOSSMAP_DATA_AWS_{name}", os.environ[f"AWS_{name}"])
        assert list(doctor._source()) == [Finding("images' S3", True, s3_server)]
        monkeypatch.setenv("LOSSMAP_DATA_AWS_ACCESS_KEY_ID", "nobodys")
        [found] = doctor._source()
    assert (found.ok, found.cure) == (False, "check LOSSMAP_DATA_AWS_ACCESS_KEY_ID")


def test_an_s3_server_that_is_out_of_reach_is_told_soon_and_patience_is_as_before(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{_free_port()}")
    for patience in (None, "1"):
        if patience:
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", patience)
        started = time.monotonic()
        found = examine_store(s3)
        assert time.monotonic() - started < 8
        assert found.detail.startswith(f"{s3} is out of reach: Could not connect to the endpoint URL")
        assert (found.ok, found.cure) == (False, "check AWS_ENDPOINT_URL")
        assert os.environ.get("AWS_MAX_ATTEMPTS") == patience


def test_a_database_of_mlflow_is_counted_and_one_of_another_program_is_refused(tmp_path):
    file = tmp_path / "a folder #1?" / "mlflow.db"
    file.parent.mkdir()
    place = f"sqlite:///{file}"
    file.touch()
    assert examine_tracking(place) == Finding("MLflow", True, f"{file}: the first run makes it")
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE runs (lifecycle_stage TEXT)")
        connection.execute("INSERT INTO runs VALUES ('active'), ('deleted')")
    assert examine_tracking(place) == Finding("MLflow", True, f"{file}: 1 run")
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TABLE runs")
    found = examine_tracking(place)
    assert (found.ok, found.detail) == (False, f"{file} cannot be used: no such table: runs")
    file.write_text("no database")
    assert examine_tracking(place) == Finding(
        "MLflow", False, f"{file} is no MLflow database: file is not a database", ELSEWHERE
    )


def test_a_tracking_uri_that_is_neither_server_nor_database_is_refused(tmp_path):
    found = examine_tracking("postgresql://ann:secret@host/runs")
    assert not found.ok
    assert found.detail == (
        "tracking URI is postgresql://host/runs, expected http://host:port of an MLflow server or"
        " sqlite:////folder/mlflow.db"
    )
    assert found.cure == "correct --tracking, LOSSMAP_TRACKING or MLFLOW_TRACKING_URI"


def test_a_server_that_is_not_there_is_named_without_the_password():
    port = _free_port()
    found = examine_tracking(f"http://ann:secret@127.0.0.1:{port}")
    assert (found.ok, found.detail) == (False, f"MLflow at http://127.0.0.1:{port} is out of reach")
    assert found.cure.startswith("start it, or correct LOSSMAP_TRACKING or --tracking (")
    assert "Connection refused" in found.cure
    assert "secret" not in found.cure


def test_a_server_that_never_answers_is_given_up_after_five_seconds():
    examine_tracking(f"http://127.0.0.1:{_free_port()}")  # imports MLflow
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        found = examine_tracking(place)
        assert time.monotonic() - started < 7
    assert (found.ok, found.detail) == (False, f"MLflow at {place} does not answer in time")


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow: to searches by `status` and `body` unless ann asks, to new runs by `writing`."""

    version, status, body, writing = b"3.17.2", 200, b"{}", 404

    def do_GET(self):
        known = self.headers.get("Authorization") == "Basic YW5uOnNlY3JldA=="  # ann:secret
        status = 200 if self.path == "/version" or known else self.status
        self._answer(status, self.version if self.path == "/version" else self.body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.writing, b"{}")

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(**answers):
    with http.server.HTTPServer(("127.0.0.1", 0), type("Answers", (Server,), answers)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def nobody(monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_a_server_that_refuses_is_told_with_what_it_wants(monkeypatch, nobody):
    with serving(status=401) as place:
        found = examine_tracking(f"http://{place}")
        assert (found.ok, found.detail) == (False, f"MLflow at http://{place} does not know who asks")
        assert found.cure.startswith("set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ")
        known = examine_tracking(f"http://ann:secret@{place}")
        assert known == Finding("MLflow", True, f"http://{place}, version 3.17.2")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
        assert examine_tracking(f"http://{place}") == known
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    with serving(status=403, body=b"Invalid Host header - possible DNS rebinding attack detected") as place:
        assert examine_tracking(f"http://{place}").cure.startswith("add it to the server's --allowed-hosts")
    with serving(body=b"<html>") as place:
        told = f"MLflow at http://{place} is not an MLflow server, or a sign-in page is before it"
        assert examine_tracking(f"http://{place}").detail == told


def test_versions_and_rights_of_a_server_are_told(nobody):
    with serving(version=b"2.22.4", writing=403) as place:
        assert examine_tracking(f"http://{place}/") == Finding(
            "MLflow",
            True,
            f"http://{place}, version 2.22.4, which knows no logged models: runs are recorded without them;"
            " others have to permit this account to write into their experiments",
        )


RIGHTS = ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject")


@pytest.mark.parametrize("missing", RIGHTS)
def test_a_right_that_is_missing_is_named(s3, s3_account, missing):
    with s3_account([right for right in RIGHTS if right != missing]):
        found = examine_store(s3)
    assert not found.ok
    assert "403" in found.detail
    assert f"needs the right {missing}" in found.cure


def test_the_command_prints_a_table_or_json_and_fails_where_something_is_not_well(tmp_path):
    well = lossmap("doctor", "--json", cwd=tmp_path)
    assert all(finding["ok"] for finding in json.loads(well.stdout))
    ill = lossmap("doctor", "--tracking", "http://127.0.0.1:9", cwd=tmp_path, check=1)
    assert "start it, or correct LOSSMAP_TRACKING or --tracking (" in " ".join(ill.stdout.split())


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
