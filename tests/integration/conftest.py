"""A real MLflow server on this machine, and a tab of a real browser."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.browser import CHROMIUM, Browser, browser

_START_SECONDS = 120


class MlflowServer:
    """`mlflow server` on a loopback port, over a database that outlives it."""

    def __init__(self, folder: Path):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        storage = [
            "--backend-store-uri",
            f"sqlite:///{self._folder}/mlflow.db",
            "--artifacts-destination",
            f"{self._folder}/artifacts",
        ]
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            *storage,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(f"{self.uri}/health")

    def kill(self) -> None:
        """End it and its workers as a power cut would."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def wait_for(address: str) -> None:
    """Wait until the address answers."""
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.fixture
def wait_for_address() -> Callable[[str], None]:
    """Waits until an address answers."""
    return wait_for


@pytest.fixture(scope="session")
def mlflow_server(
    tmp_path_factory: pytest.TempPathFactory, tracking: Callable[[Path], str]
) -> Iterator[MlflowServer]:
    """Runs for the whole session; a test that kills it starts it again."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking(folder)
    server = MlflowServer(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A new browser for the tests of one file."""
    if CHROMIUM is None and os.environ.get("LOSSMAP_REQUIRE_BROWSER") != "1":
        pytest.skip(
            "no chromium on this machine; install it, or set LOSSMAP_REQUIRE_BROWSER=1 to fail instead"
        )
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
