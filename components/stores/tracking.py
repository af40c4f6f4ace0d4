"""Runs in MLflow. The only module that speaks to it, with explicit ids: no active run, no state in the environment."""

import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from lossmap.components.config.errors import TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_TAG = "lossmap.run"
_logger = logging.getLogger(__name__)


class RunTracker:
    """The one MLflow run of one lossmap run, in the MLflow experiment of its study. Every call can be repeated and changes nothing then.

    Args:
        uri: MLflow tracking URI.
        study: name of the MLflow experiment.
        run_id: name of the lossmap run; the MLflow run carries it as tag `lossmap.run` and as its name.
    """

    def __init__(self, uri: str, study: str, run_id: str):
        self._uri, self._study, self._run_id = uri, study, run_id
        self._client: MlflowClient
        self._id = ""

    def start(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Find or create the MLflow run, mark it running, and log its parameters. Returns its MLflow id.

        Raises:
            TrackingError: MLflow is out of reach, or already knows the run with other parameters.
        """
        with self._explained():
            self._client = _client(self._uri)
            experiment = self._experiment()
            run = self._find(experiment) or self._create(experiment, tags)
            self._id = run.info.run_id
            self._client.update_run(self._id, status="RUNNING")
            self._log_parameters(run.data.params, parameters)
            return self._id

    def log_epochs(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log the metrics of epochs, at step `epoch` and time `timestamp` (seconds), as far as MLflow does not have them yet."""
        from mlflow.entities import Metric

        if not epochs:
            return
        with self._explained():
            names = {name for epoch in epochs for name in epoch} - {"epoch", "timestamp"}
            known = {(name, metric.step) for name in names for metric in self._client.get_metric_history(self._id, name)}
            metrics = [
                Metric(name, value, int(1000 * epoch.get("timestamp", time.time())), int(epoch["epoch"]))
                for epoch in epochs
                for name, value in epoch.items()
                if name in names and (name, int(epoch["epoch"])) not in known
            ]
            self._client.log_batch(self._id, metrics=metrics, synchronous=True)

    def log_final(self, scalars: Mapping[str, float | None], step: int) -> None:
        """Log the numbers that runs are compared by, as the last point of their metrics; None is left out.

        Args:
            scalars: by name. Some are also metrics of epochs, whose last value they then are.
            step: the last epoch. MLflow shows infinity as 1.797e308, the largest float64.
        """
        from mlflow.entities import Metric

        with self._explained():
            now = int(1000 * time.time())
            known = {
                (name, metric.value) for name in scalars for metric in self._client.get_metric_history(self._id, name) if metric.step == step
            }
            metrics = [Metric(name, value, now, step) for name, value in scalars.items() if value is not None and (name, value) not in known]
            self._client.log_batch(self._id, metrics=metrics, synchronous=True)

    def log_artifacts(self, files: Mapping[str, bytes]) -> None:
        """Upload files: path in the run → content."""
        with self._explained(), tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(self._id, folder)

    def log_dataset(self, name: str, digest: str, uri: str) -> None:
        """Note which packed data set the run was trained on."""
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        with self._explained():
            if not self._client.get_run(self._id).inputs.dataset_inputs:
                # MLflow keeps at most 36 characters of a digest; `data.digest` among the parameters is whole.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # two kinds of source fit a file:// URI; either will do
                    source = resolve_dataset_source(uri)
                dataset = MetaDataset(source, name=name, digest=digest[:36])
                self._client.log_inputs(self._id, [DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])])

    def log_model(self, name: str, uri: str) -> None:
        """Note the trained network, whose weights stay in the store, as a model of the run."""
        from mlflow.entities import LoggedModelOutput

        with self._explained():
            if self._client.get_run(self._id).outputs.model_outputs:
                return
            tags = {"mlflow.model.isExternal": "true", "weights": uri}
            model = self._client.create_logged_model(self._experiment(), name, self._id, tags, model_type="lossmap")
            self._client.finalize_logged_model(model.model_id, "READY")
            self._client.log_outputs(self._id, [LoggedModelOutput(model.model_id, step=0)])

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Mark the run ended."""
        with self._explained():
            self._client.set_terminated(self._id, status)

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            try:
                return self._client.create_experiment(self._study, artifact_location=_artifact_location(self._uri, self._study))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._experiment()  # another process was faster
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find(self, experiment: str) -> "Run | None":
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{self._run_id}'", order_by=["attributes.start_time ASC"], max_results=1)
        return found[0] if found else None

    def _create(self, experiment: str, tags: Mapping[str, str]) -> "Run":
        return self._client.create_run(experiment, run_name=self._run_id, tags={RUN_TAG: self._run_id, **tags})

    def _log_parameters(self, known: Mapping[str, str], parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        wanted = {name: str(value) for name, value in parameters.items()}
        for name in sorted(known.keys() & wanted.keys()):
            if known[name] != wanted[name]:
                raise TrackingError(f"MLflow has run {self._run_id} with {name} = {known[name]}, not {wanted[name]}; a run keeps its parameters: start a new one")
        new = [Param(name, value) for name, value in wanted.items() if name not in known]
        if new:
            self._client.log_batch(self._id, params=new, synchronous=True)

    @contextmanager
    def _explained(self) -> "Iterator[None]":
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, requests.RequestException, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise TrackingError(f"MLflow at {without_password(self._uri)} does not answer as it should: {reason}") from None


class BackgroundTracker:
    """Sends epochs to MLflow from a thread of its own: training neither waits for MLflow nor fails with it.

    What could not be sent is tried again with the next epoch; the report step sends what is still missing at the end.

    Args:
        open_tracker: makes the started tracker; called in the thread, because importing MLflow alone takes seconds.
    """

    def __init__(self, open_tracker: Callable[[], RunTracker]):
        self._open, self._tracker = open_tracker, None
        self._queue: queue.Queue[Mapping[str, float] | None] = queue.Queue()
        self._pending: list[Mapping[str, float]] = []
        self._warned = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def send(self, epoch: Mapping[str, float]) -> None:
        """Hand over the metrics of an epoch; returns at once."""
        self._queue.put(epoch)

    def close(self, timeout: float) -> int:
        """Wait at most `timeout` seconds for what is under way; returns how many epochs were not sent."""
        self._queue.put(None)
        self._thread.join(timeout)
        return len(self._pending)

    def _work(self) -> None:
        self._try()  # the run is to be seen in MLflow as soon as it begins
        ended = False
        while not ended:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get())
            ended = None in waiting
            self._pending += [epoch for epoch in waiting if epoch is not None]
            self._try()

    def _try(self) -> None:
        try:
            self._tracker = self._tracker or self._open()
            self._tracker.log_epochs(self._pending)
            self._pending = []
        except TrackingError as error:
            if not self._warned:
                _logger.warning("%s; training goes on, the report step sends what is missing", error)
            self._warned = True


def serve_ui(uri: str, host: str, port: int) -> int:
    """Serve the MLflow UI in the foreground; returns the server's exit code.

    Raises:
        TrackingError: there is no database yet, or the runs are on a server that has a UI of its own.
    """
    if uri.startswith(("http://", "https://")):
        raise TrackingError(f"these runs are on a server, which has the UI itself: open {without_password(uri)}")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise TrackingError(f"{uri} does not exist yet; `lossmap run` makes it, or name another with --tracking or --store")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", host, "--port", str(port), "--workers", "1"]
    # Without job execution the server is one process instead of twelve.
    return subprocess.call(command, env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})


def without_password(uri: str) -> str:
    """The URI without user and password, for messages."""
    parts = urlsplit(uri)
    return uri.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2]) if "@" in parts.netloc else uri


def _client(uri: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.db.utils"):  # a line for each table of a new database
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(uri)


def _artifact_location(uri: str, study: str) -> str | None:
    """Beside a sqlite database; a server knows its own place."""
    return (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / study).as_uri() if uri.startswith("sqlite:///") else None
