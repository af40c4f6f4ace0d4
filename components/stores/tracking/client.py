"""Runs in MLflow, spoken to with explicit ids: no active run, no state in the environment."""

import json
import logging
import math
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlparse

from lossmap.components.core.errors import TrackingError
from lossmap.components.core.secrets import without_password
from lossmap.components.stores.tracking.background import BackgroundTracker
from lossmap.components.stores.tracking.errors import artifacts_explained, explained
from lossmap.components.stores.tracking.rest import check_folder, version
from lossmap.components.stores.tracking.server import (
    artifact_folder,
    database,
    is_server,
    locked,
    patience_for_files,
    serve_ui,
    set_client_environment,
    ui_address,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric, Param, Run

__all__ = [
    "RUN_TAG",
    "BackgroundTracker",
    "RunTracker",
    "serve_ui",
]

RUN_TAG = "lossmap.run"
_STORE_TAG = "store"
_logger = logging.getLogger(__name__)
# else the UI takes training runs for those of a chat bot
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_NOTE = "mlflow.note.content"
_NOTE_LENGTH = 5000  # MLflow refuses longer tags
_PARAMETER_LENGTH = 6000  # MLflow cuts what is longer


class RunTracker:
    """The one MLflow run of one lossmap run, in the MLflow experiment of its study. Every call can be
    repeated and changes nothing then.

    Every failure of the server or database is a TrackingError, an unreachable server's within 15 seconds.

    Args:
        uri: http(s):// address of an MLflow server, or sqlite:/// and the path of a database.
        study: name of the MLflow experiment.
        run_id: name of the lossmap run; the MLflow run carries it as tag `lossmap.run` and as its name.
        store: URI of the store that has the run. A run of another store with the same name is somebody
            else's; without it the oldest of that name is ours.
        description: Markdown that stands above the runs of a study; one that the study has already stays.
    """

    def __init__(self, uri: str, study: str, run_id: str, store: str = "", description: str = ""):
        self._uri, self._study, self._run_id = uri, study, run_id
        self._store, self._description = store, description
        self._client: MlflowClient
        self._experiment = self._id = ""
        self._logged: dict[str, set[int]] = {}
        self._final: list[Metric] = []
        set_client_environment()

    def start(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Find or create the MLflow run, log its parameters and tags, and mark it running unless it is
        finished. Returns its MLflow id.

        Raises:
            TrackingError: MLflow is out of reach, or already knows the run with other parameters.
        """
        from mlflow.exceptions import MlflowException

        with self._explained():
            self._client = _client(self._uri)
            self._experiment = self._find_experiment()
            while True:
                self._id = (self._find_run() or self._create_run(tags)).info.run_id
                try:
                    self._describe(parameters, tags)
                    return self._id
                except MlflowException:
                    if self._client.get_run(self._id).info.lifecycle_stage != "deleted":
                        raise
                    # Another process had begun to create an older one, and has just put ours into the bin.

    def resume(self) -> bool:
        """Take up the MLflow run of this lossmap run if there is one; nothing is made."""
        with self._explained():
            self._client = _client(self._uri)
            found = self._client.get_experiment_by_name(self._study)
            self._experiment = str(found.experiment_id) if found else ""
            run = self._find_run() if found else None
            self._id = run.info.run_id if run else ""
            return run is not None

    def log_epochs(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log the metrics of epochs, at step `epoch` and time `timestamp` (seconds), as far as MLflow does
        not have them yet.
        """
        from mlflow.entities import Metric

        with self._explained():
            points = {
                (name, int(epoch["epoch"])): Metric(
                    name, value, int(1000 * epoch.get("timestamp", time.time())), int(epoch["epoch"])
                )
                for epoch in epochs
                for name, value in epoch.items()
                if name not in ("epoch", "timestamp")
            }
            self._log(
                points={
                    at: point
                    for at, point in points.items()
                    if point.step not in self._logged_steps(point.key)
                }.values()
            )

    def log_final(self, scalars: Mapping[str, float | None], step: int) -> None:
        """Log the numbers that runs are compared by; None is left out.

        Args:
            scalars: by name. NaN stays NaN; infinity appears in MLflow as 1.797e308, the largest float64,
                which sorts where it belongs.
            step: the last epoch, where a metric that epochs have gets its last value. Any other is at step 0,
                for which MLflow draws bars.
        """
        with self._explained():
            logged = self._client.get_run(self._id).data.metrics.keys()  # asked once, not for each number
            histories = {
                name: self._client.get_metric_history(self._id, name) for name in scalars.keys() & logged
            }
            found = {
                name: self._point(name, float(value), step, histories.get(name, ()))
                for name, value in scalars.items()
                if value is not None
            }
            self._log([point for point, is_new in found.values() if is_new])
            self._final = [point for point, _ in found.values()]

    def log_artifacts(self, files: Mapping[str, bytes]) -> None:
        """Upload files: path in the run → content.

        Raises:
            TrackingError: they do not reach the place that the server has for them.
        """
        with self._explained(), tempfile.TemporaryDirectory() as folder:
            # a temporary folder is closed to others, and MLflow copies that along
            content = Path(folder, "files")
            for name, data in files.items():
                path = content / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            place = str(self._client.get_run(self._id).info.artifact_uri)
            if is_server(self._uri) and urlparse(place).scheme in ("", "file"):
                check_folder(self._uri, self._id, place)
            with patience_for_files(), artifacts_explained(self._uri, place):
                self._client.log_artifacts(self._id, str(content))

    def artifact_address(self, path: str) -> str | None:
        """Where MLflow's own pages find an artifact that is an image; None before the run is known there."""
        query = urlencode({"path": path, "run_uuid": self._id})
        return f"get-artifact?{query}" if self._id else None

    def describe(self, note: str) -> None:
        """Show Markdown as the description of the run; MLflow takes some thousand characters."""
        with self._explained():
            self._client.set_tag(self._id, _NOTE, note[:_NOTE_LENGTH])

    def describe_study(self, beginning: str, note: str) -> bool:
        """Show Markdown as the description of the study, where there is one with that beginning, or none.
        Nothing is made; returns whether it was done.
        """
        with self._explained():
            self._client = _client(self._uri)
            found = self._client.get_experiment_by_name(self._study)
            if not found or not found.tags.get(_NOTE, beginning).startswith(beginning):
                return False
            self._client.set_experiment_tag(found.experiment_id, _NOTE, note[:_NOTE_LENGTH])
            return True

    def log_dataset(self, name: str, digest: str, uri: str) -> None:
        """Note which packed data set the run was trained on. MLflow gets the digest's first 12 characters,
        and nothing is read.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        with self._explained():
            inputs = self._client.get_run(self._id).inputs
            if inputs and inputs.dataset_inputs:
                return
            kind = "local" if uri.startswith("file:") else urlparse(uri).scheme
            dataset = Dataset(name, digest[:12], kind, json.dumps({"uri": uri}))
            self._client.log_inputs(
                self._id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
            )

    def log_model(
        self,
        name: str,
        uri: str,
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Note the trained network, whose weights stay in the store at `uri`, as a model of the run, with
        the final metrics.
        """
        from mlflow.entities import LoggedModelOutput, Metric
        from mlflow.exceptions import MlflowException

        with self._explained():
            try:
                found = self._find_model(name)
            except MlflowException as error:
                if not self._is_older(error):
                    raise
                return
            model = found or self._client.create_logged_model(
                self._experiment,
                name,
                self._id,
                {"mlflow.model.isExternal": "true", "weights": uri, **(tags or {})},
                {key: str(value) for key, value in (parameters or {}).items()},
                model_type="lossmap",
            )
            metrics = [
                Metric(point.key, point.value, point.timestamp, point.step, model_id=model.model_id)
                for point in self._final
            ]
            self._client.log_batch(self._id, metrics=metrics, synchronous=True)
            self._client.finalize_logged_model(model.model_id, "READY")
            outputs = self._client.get_run(self._id).outputs
            if not outputs or model.model_id not in [output.model_id for output in outputs.model_outputs]:
                self._client.log_outputs(self._id, [LoggedModelOutput(model.model_id, step=0)])

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Mark the run ended; one that is finished keeps the time of its end."""
        with self._explained():
            if self._client.get_run(self._id).info.status != "FINISHED":
                self._client.set_terminated(self._id, status)

    def status(self) -> str:
        """RUNNING, FINISHED, FAILED, KILLED, or what else MLflow has."""
        with self._explained():
            return str(self._client.get_run(self._id).info.status)

    def delete(self) -> None:
        """Put the run into MLflow's bin, from which MLflow can take it back."""
        with self._explained():
            self._client.delete_run(self._id)

    @contextmanager
    def concluding(self) -> Iterator[None]:
        """Mark the run, whose report is complete, finished at the end of the block, also where the server did
        not take all of it.
        """
        try:
            yield
        finally:
            self.finish("FINISHED")

    def url(self) -> str | None:
        """The run's page in the UI of the server; None for a database."""
        page = f"experiments/{self._experiment}/runs/{self._id}"
        return ui_address(self._uri, page) if is_server(self._uri) else None

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            try:
                tags = {**_EXPERIMENT_TAGS, _NOTE: self._description}
                return str(
                    self._client.create_experiment(
                        self._study, _artifact_location(self._uri, self._study), tags
                    )
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._find_experiment()  # another process was faster
        if found.lifecycle_stage == "deleted":
            _logger.warning(
                "study %s was deleted in MLflow and is restored there with its runs, because run %s belongs"
                " to it",
                self._study,
                self._run_id,
            )
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find_run(self) -> "Run | None":
        """The oldest run with our name and store. Younger ones were made by processes that started at the
        same moment, and go to MLflow's bin.
        """
        found = self._client.search_runs([self._experiment], f"tags.`{RUN_TAG}` = '{self._run_id}'")
        ours = [run for run in found if self._is_ours(run)]
        ours.sort(key=lambda run: (run.info.start_time, run.info.run_id))
        for run in ours[1:]:
            if self._place(run) == self._place(ours[0]):
                self._client.delete_run(run.info.run_id)
        return ours[0] if ours else None

    def _is_ours(self, run: "Run") -> bool:
        return not self._store or f"{self._place(run)}/".startswith(f"{self._store}/")

    def _place(self, run: "Run") -> str:
        """Where a run says that its objects are; here, where it has said nothing yet."""
        return str(run.data.tags.get(_STORE_TAG, self._store))

    def _create_run(self, tags: Mapping[str, str]) -> "Run":
        """It has its place from the beginning: a slow server may make it anew, from a request that was given
        up, when this one has all its tags.
        """
        own = {RUN_TAG: self._run_id, "mlflow.source.name": "lossmap", "mlflow.source.type": "LOCAL"}
        store = {_STORE_TAG: self._store} if self._store else {}
        run = self._client.create_run(self._experiment, run_name=self._run_id, tags={**store, **tags, **own})
        return self._find_run() or run

    def _describe(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        try:
            self._log_parameters(parameters)
        except MlflowException:  # as when another process logs the same at the same moment
            self._log_parameters(parameters)
        self._client.log_batch(
            self._id, tags=[RunTag(name, value) for name, value in tags.items()], synchronous=True
        )
        if self._client.get_run(self._id).info.status != "FINISHED":  # what is finished is only logged again
            self._client.update_run(self._id, status="RUNNING")

    def _log_parameters(self, parameters: Mapping[str, Any]) -> None:
        known = self._client.get_run(self._id).data.params
        self._client.log_batch(self._id, params=self._new_parameters(known, parameters), synchronous=True)

    def _new_parameters(self, known: Mapping[str, str], parameters: Mapping[str, Any]) -> "list[Param]":
        from mlflow.entities import Param

        wanted = {name: str(value)[:_PARAMETER_LENGTH] for name, value in parameters.items()}
        for name in sorted(known.keys() & wanted.keys()):
            if known[name] != wanted[name]:
                raise TrackingError(
                    f"MLflow has run {self._run_id} with {name} = {known[name]}, not {wanted[name]}; a run"
                    " keeps its parameters: start a new one"
                )
        return [Param(name, value) for name, value in wanted.items() if name not in known]

    def _log(self, points: "Iterable[Metric]") -> None:
        points = list(points)
        self._client.log_batch(self._id, metrics=points, synchronous=True)
        for point in points:
            if point.key in self._logged:
                self._logged[point.key].add(point.step)

    def _logged_steps(self, name: str) -> set[int]:
        if name not in self._logged:
            self._logged[name] = {point.step for point in self._client.get_metric_history(self._id, name)}
        return self._logged[name]

    def _point(
        self, name: str, value: float, step: int, history: "Sequence[Metric]"
    ) -> "tuple[Metric, bool]":
        from mlflow.entities import Metric

        value = max(-sys.float_info.max, min(value, sys.float_info.max)) if math.isinf(value) else value
        step = step if any(known.step for known in history) else 0
        for known in history:
            if known.step == step and (
                known.value == value or (math.isnan(known.value) and math.isnan(value))
            ):
                return known, False
        return Metric(name, value, int(1000 * time.time()), step), True

    def _find_model(self, name: str) -> "LoggedModel | None":
        found = self._client.search_logged_models(
            [self._experiment], f"name = '{name}' AND source_run_id = '{self._id}'"
        )
        return found[0] if found else None

    def _is_older(self, error: Exception) -> bool:
        """Whether the server is older than logged models, which came with MLflow 3."""
        if not (is_server(self._uri) and re.search(r"\b404\b|ENDPOINT_NOT_FOUND", str(error))):
            return False
        _logger.warning(
            "MLflow at %s is version %s, which knows no logged models (3.0 does); everything else is there",
            without_password(self._uri),
            version(self._uri),
        )
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with explained(self._uri, self._study):
                yield
        except TrackingError:
            self._logged.clear()  # who knows what arrived
            raise


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)  # a line for each table of a new database
    # likewise, and a traceback beside each error that is raised anyway
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").addFilter(_is_not_a_retry_of_mlflow)
    if is_server(uri):
        return MlflowClient(uri)
    with locked(database(uri)):  # MLflow does not expect two processes to make the tables at once
        return MlflowClient(uri)


def _is_not_a_retry_of_mlflow(record: logging.LogRecord) -> bool:
    return "/mlflow" not in record.getMessage()


def _artifact_location(uri: str, study: str) -> str | None:
    """Beside a sqlite database; a server knows its own place."""
    return None if is_server(uri) else (artifact_folder(uri) / study).as_uri()
