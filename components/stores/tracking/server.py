"""Where MLflow is: addresses, databases, and the UI. Nothing here imports mlflow."""

import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lossmap.components.core.errors import TrackingError
from lossmap.components.core.secrets import without_password

# No usage data for MLflow's makers; what the user has set stays.
PRIVACY = {"MLFLOW_DISABLE_TELEMETRY": "true"}
# Without job execution the server is one process instead of twelve. The warning is about MLflow's own code.
_SERVER = {
    **PRIVACY,
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONWARNINGS": "ignore:starlette.middleware.wsgi is deprecated",
}
# Bounded waiting, at most twice 6 seconds for one request; what the user has set stays.
_TIMEOUT, _SECONDS, _SECONDS_FOR_FILES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "6", "60"
_CLIENT = {
    _TIMEOUT: _SECONDS,
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    **PRIVACY,
}
_SQLITE = "sqlite:///"
_BUSY_SECONDS = 20  # MLflow's own patience with a locked database


def set_client_environment() -> None:
    """What MLflow's client reads while it is imported, and later."""
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def patience_for_files() -> Iterator[None]:
    """A server answers an upload when it has brought the file to where it keeps it: within the block it has
    60 seconds for an answer, unless the user has said how many.
    """
    ours = os.environ.get(_TIMEOUT) == _SECONDS
    os.environ.update({_TIMEOUT: _SECONDS_FOR_FILES} if ours else {})
    try:
        yield
    finally:
        os.environ.update({_TIMEOUT: _SECONDS} if ours else {})


def is_server(uri: str) -> bool:
    """Whether MLflow is spoken to by HTTP."""
    return uri.startswith(("http://", "https://"))


def check_address(uri: str) -> None:
    """Refuse what is neither a server nor a database.

    Raises:
        TrackingError: it is something else.
    """
    if not is_server(uri):
        database(uri)


def database(uri: str) -> Path:
    """The file of a sqlite database.

    Raises:
        TrackingError: the URI names something else.
    """
    if not uri.startswith(_SQLITE) or uri == _SQLITE:
        raise TrackingError(
            f"tracking URI is {without_password(uri)}, expected http://host:port of an MLflow server or"
            " sqlite:////folder/mlflow.db; correct --tracking, LOSSMAP_TRACKING or MLFLOW_TRACKING_URI"
        )
    return Path(uri.removeprefix(_SQLITE)).resolve()


def is_begun(uri: str) -> bool:
    """Whether there is anything to ask for runs: a server, or a database that has been made."""
    return is_server(uri) or database(uri).exists()


def artifact_folder(uri: str) -> Path:
    """Where the artifacts of a sqlite database lie: beside it."""
    return database(uri).parent / "mlartifacts"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep other processes from opening the same database, whose folder is made; fail now where MLflow would
    try for 100 seconds.

    Raises:
        OSError: the folder cannot be made.
        sqlite3.Error: the database cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        with closing(sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        yield


def ui_address(uri: str, page: str = "experiments") -> str:
    """A page of the UI, in its mode for model training; the other one is for chat bots."""
    return f"{without_password(uri).rstrip('/')}/#/{page}?workflowType=machine_learning"


def serve_ui(uri: str, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve the MLflow UI on the runs until Ctrl-C; returns the server's exit code. For a server, which has a
    UI, only says where.

    Raises:
        TrackingError: there is no database yet, or the port cannot be used.
    """
    if is_server(uri):
        print(f"the runs are on an MLflow server, open {ui_address(uri)}")
        return 0
    if not is_begun(uri):
        raise TrackingError(
            f"{database(uri)} does not exist yet; `lossmap run` makes it, or name another with --tracking or"
            " --store"
        )
    _require_free(host, port)
    print(
        f"MLflow UI at {ui_address(f'http://{host}:{port}')} in about ten seconds; Ctrl-C ends it", flush=True
    )
    return _until_interrupted([*_command(uri), "--host", host, "--port", str(port)])


def _command(uri: str) -> list[str]:
    place = f"{_SQLITE}{database(uri)}"
    storage = [
        "--backend-store-uri",
        place,
        "--registry-store-uri",
        place,
        "--artifacts-destination",
        artifact_folder(uri).as_uri(),
    ]
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *storage,
        "--workers",
        "1",
        "--uvicorn-opts",
        "--log-level warning",
    ]


def _require_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise TrackingError(
            f"port {port} of {host} cannot be used ({reason}); choose another with --port or --host"
        ) from None


def _until_interrupted(command: list[str]) -> int:
    # In a group of its own: MLflow's server leaves its workers behind when only the first process is told to
    # end.
    server = subprocess.Popen(command, env={**_SERVER, **os.environ}, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, kind)
            server.wait(10)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
