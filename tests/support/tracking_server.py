"""MLflow's own server, in this process."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serving_mlflow(database: str, folder: Path) -> Iterator[int]:
    """Serve the runs of a database, with their artifacts in a folder; gives the port of 127.0.0.1."""
    environment = {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder),
        # waits of its clients
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    }
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its own code
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_TRACKING_URI", database)  # it says so itself, and would leave it so
        from mlflow.server import app

        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
