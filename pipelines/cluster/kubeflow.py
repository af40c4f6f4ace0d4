"""Runs in Kubeflow Pipelines: submitted, found, ended. The only module that speaks to its API."""

import io
import json
import os
import re
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs.cluster import bearer_token, interactive_api
from lossmap.components.jobs.deployment import STEPS_ACCOUNT
from lossmap.components.jobs.forward import has_service, port_forward

if TYPE_CHECKING:
    import kfp

Found = TypeVar("Found")

STEPS = ("prepare", "train", "plan", "tile", "merge", "report", "clean-up")
PATIENCE_SECONDS = 120.0  # for whoever follows a run while something on the way to it is replaced
_SERVICE, _PORT, _HOME = "ml-pipeline", 8888, "kubeflow"
_PAUSE_SECONDS = 2.0
_TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # where kfp looks without it
_TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"  # kfp's: a file with a token, which notebooks of Kubeflow have
_PASSING = (0, 429, 502, 503, 504)
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ATTEMPT = re.compile(r"\(\d+\)$")  # Kubeflow Pipelines 2.17 numbers the attempts of every node
EXIT_HANDLER = "clean-up"
LAST = "report"  # a run has succeeded when this step has, whatever the backend calls the run
_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "ERROR", "CANCELED")
_CANCELLED = ("CANCELING", "CANCELED")
_RESUBMITTED = (
    "experiment_id",
    "pipeline_spec",
    "pipeline_version_reference",
    "runtime_config",
    "service_account",
)
_STEP_STATES = {
    "SUCCEEDED": "SUCCEEDED",
    "CACHED": "CACHED",
    "FAILED": "FAILED",
    "ERROR": "FAILED",
    "RUNNING": "RUNNING",
    "PENDING": "RUNNING",
}


@dataclass(frozen=True)
class Step:
    """One step of a run; a tile's share is one of several of the same name.

    Attributes:
        state: PENDING, RUNNING, SUCCEEDED, CACHED (answered by Kubeflow's cache), FAILED, or SKIPPED.
    """

    name: str
    state: str
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None until it has ended."""
        if not self.started or not self.finished:
            return None
        return (self.finished - self.started).total_seconds()


@dataclass(frozen=True)
class PipelineRun:
    """A run as Kubeflow Pipelines knows it.

    Attributes:
        id: Kubeflow's.
        name: lossmap's.
        state: PENDING, RUNNING, CANCELLING, SUCCEEDED, FAILED or CANCELLED; the last three are final.
    """

    id: str
    name: str
    study: str
    state: str
    created: datetime
    finished: datetime | None
    steps: tuple[Step, ...]

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.state in ("SUCCEEDED", "FAILED", "CANCELLED")


class Away(ClusterError):
    """Kubeflow Pipelines is out of reach, perhaps for a moment."""


class Kubeflow:
    """Kubeflow Pipelines, and its runs in one namespace. Every failure is a ClusterError of one line.

    Where Kubeflow has profiles, people are known by a token: that of the file KF_PIPELINES_SA_TOKEN_PATH, or
    the one in KUBECONFIG.

    Args:
        settings: where its API is. Without an address, here or in KF_PIPELINES_ENDPOINT, it is the service
            ml-pipeline in the runs' namespace or in `kubeflow`: by its name in a pod, elsewhere by way of the
            API server of KUBECONFIG.
    """

    def __init__(self, settings: Settings):
        self._way = ExitStack()  # kfp's own way there, a proxy, forgets the path where KUBECONFIG has a token
        with _cluster_errors():
            address, token = settings.pipelines or os.environ.get("KF_PIPELINES_ENDPOINT"), None
            address = address or _address_in_pod(settings.namespace)
            if not address:
                api = interactive_api()
                home = settings.namespace if has_service(api, settings.namespace, _SERVICE) else _HOME
                address = self._way.enter_context(port_forward(api, home, _SERVICE, _PORT))
                token = bearer_token(api)
            self._client = _client(address, settings.namespace, token)

    def require(self) -> None:
        """Raise a ClusterError unless its API answers."""
        with _cluster_errors():
            self._list(page_size=1)  # kfp takes some refusals of its health check for health

    def submit(self, package: str, run: str, study: str, cached: bool = True) -> str:
        """Start a run of a compiled pipeline and return Kubeflow's id of it.

        Args:
            package: the pipeline as YAML.
            run: lossmap's name of the run, which Kubeflow shows.
            study: Kubeflow's experiment, which is made where it is not there.
            cached: whether Kubeflow's cache may answer steps.
        """
        # kfp prints links into a page of its own
        with (
            tempfile.TemporaryDirectory() as folder,
            redirect_stdout(io.StringIO()),
            _cluster_errors(),
        ):
            file = Path(folder, "pipeline.yaml")
            file.write_text(package)
            experiment = self._client.create_experiment(study).experiment_id
            started = self._client.run_pipeline(
                experiment,
                run,
                str(file),
                enable_caching=None if cached else False,
                service_account=STEPS_ACCOUNT,
            )
            return str(started.run_id)

    def resubmit(self, run: PipelineRun) -> str:
        """Start the pipeline of a run once more, under the same name; returns the new id."""
        from kfp_server_api import V2beta1Run

        with _cluster_errors():
            before = self._client.get_run(run.id)
            known = {field: getattr(before, field) for field in _RESUBMITTED if getattr(before, field)}
            body = V2beta1Run(display_name=run.name, **known)
            return str(self._client._run_api.run_service_create_run(body).run_id)

    def find(self, run: str, patience: float = 0.0) -> PipelineRun:
        """The newest run of that name, or the run with that id of Kubeflow's.

        Args:
            run: its name or its id.
            patience: seconds for which an API that is out of reach is asked again.

        Raises:
            ClusterError: there is none.
        """
        return _patiently(lambda: self._find(run), patience)

    def _find(self, run: str) -> PipelineRun:
        with _cluster_errors():
            answer = self._by_id(run) or self._newest(run)
            if answer is None:
                raise ClusterError(f"Kubeflow Pipelines has no run {run}; {self._hint()}")
            return _run(answer, self._study(answer.experiment_id))

    def _hint(self) -> str:
        newest = [run.display_name for run in self._list(page_size=3)]
        if not newest:
            return "there are no runs yet; `lossmap submit` makes one"
        return f"the newest are {', '.join(newest)}"

    def lookup(self, run: str, patience: float = 0.0) -> PipelineRun | None:
        """The newest run of that name, if there is one; patience is that of find."""
        return _patiently(lambda: self._lookup(run), patience)

    def _lookup(self, run: str) -> PipelineRun | None:
        with _cluster_errors():
            answer = self._newest(run)
            return _run(answer, self._study(answer.experiment_id)) if answer else None

    def terminate(self, run: PipelineRun) -> None:
        """Ask for the end of a run; returns before it has ended."""
        with _cluster_errors():
            self._client.terminate_run(run.id)

    def _newest(self, run: str) -> Any:
        query = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": run}]}
        newest = next(iter(self._list(page_size=1, filter=json.dumps(query))), None)
        return self._client.get_run(newest.run_id) if newest else None

    def _by_id(self, run: str) -> Any:
        from kfp_server_api import ApiException

        if not _ID.fullmatch(run):
            return None
        try:
            return self._client.get_run(run)
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def _list(self, **how: Any) -> Sequence[Any]:
        return self._client.list_runs(sort_by="created_at desc", **how).runs or ()

    def _study(self, experiment: str) -> str:
        return str(self._client.get_experiment(experiment).display_name)


def _patiently(call: Callable[[], Found], patience: float) -> Found:
    end = time.monotonic() + patience
    while True:
        try:
            return call()
        except Away:
            if time.monotonic() > end:
                raise
        time.sleep(_PAUSE_SECONDS)


def _run(answer: Any, study: str) -> PipelineRun:
    tasks = answer.run_details.task_details if answer.run_details else None
    steps = tuple(sorted(_steps(tasks or ()), key=lambda step: (STEPS.index(step.name), str(step.started))))
    finished = answer.finished_at if answer.state in _ENDED else None
    state = _state(answer, steps)
    return PipelineRun(answer.run_id, answer.display_name, study, state, answer.created_at, finished, steps)


def _state(answer: Any, steps: Sequence[Step]) -> str:
    history = [entry.state for entry in answer.state_history or ()]
    cancelled = any(state in _CANCELLED for state in (answer.state, *history))
    if answer.state not in _ENDED:
        return "CANCELLING" if cancelled else answer.state or "PENDING"
    if any(step.name == LAST and step.state == "SUCCEEDED" for step in steps):
        return "SUCCEEDED"
    return "CANCELLED" if cancelled else "FAILED"


def without_attempt(node: str) -> str:
    """The name of a node without the number of its attempt, such as train of train(0)."""
    return _ATTEMPT.sub("", node)


def _steps(tasks: Sequence[Any]) -> Iterator[Step]:
    exact = {task.display_name for task in tasks}
    drivers = {without_attempt(task.display_name or ""): task for task in tasks}
    for task in tasks:
        name = without_attempt(task.display_name or "")
        is_step = name in STEPS and (name == task.display_name or name not in exact)
        if is_step:  # and no attempt of one that is listed, too
            state = _step_state(task, drivers.get(f"{name}-driver"))
            # what goes on is said to have ended in the year 1
            finished = None if state == "RUNNING" else task.end_time
            yield Step(name, state, task.start_time, finished)


def _step_state(task: Any, driver: Any) -> str:
    if driver is not None and driver.state == "FAILED" and task.state is None:
        return "FAILED"
    if task.state == "SUCCEEDED" and task.start_time == task.end_time:
        return "CACHED"  # no pod ends in the second in which it was made
    return _STEP_STATES.get(task.state, "SKIPPED")


def _address_in_pod(namespace: str) -> str | None:
    """Of the API, where this process is in a pod of the cluster, such as a notebook; None elsewhere."""
    if os.environ.get("KUBECONFIG") or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return None
    for home in (namespace, _HOME):
        with suppress(OSError):
            socket.getaddrinfo(f"{_SERVICE}.{home}", _PORT)
            return f"http://{_SERVICE}.{home}:{_PORT}"
    return None


def _client(address: str, namespace: str, token: str | None) -> "kfp.Client":
    """Args:
    address: of the API.
    namespace: of the runs.
    token: for where there are profiles, unless a file has another.
    """
    path = os.environ.get(_TOKEN_PATH) or (_TOKEN_FILE if os.path.exists(_TOKEN_FILE) else None)
    if path and not os.access(path, os.R_OK):
        raise ClusterError(f"{_TOKEN_PATH} is {path}, which cannot be read; name a file with a token")
    # kfp prints that it finds no configuration, and the libraries beneath it warn; what is wrong is told by
    # the error.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import kfp
        from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

        credentials = ServiceAccountTokenVolumeCredentials(path) if path else None
        authorities = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
        # With the namespace kubeflow it would ask for its health, and pause for 5 s before each of 5 tries.
        client = kfp.Client(host=address, namespace="-", credentials=credentials, ssl_ca_cert=authorities)
        health, _, headers = client._healthz_api.healthz_service_get_healthz_with_http_info()
    if "json" not in headers.get("Content-Type", ""):  # kfp takes any page for health
        raise ClusterError(
            f"{address} answers with a page and not as Kubeflow Pipelines' API, perhaps to log in; name its"
            f" API with LOSSMAP_PIPELINES, and a token with {_TOKEN_PATH}"
        )
    profiles = health.multi_user
    # Only where there are profiles may a request name a namespace, and need it say who asks.
    client._context_setting = {**client._context_setting, "namespace": namespace if profiles else ""}
    if profiles and token and not path:
        client._existing_config.api_key["authorization"] = token
        client._existing_config.api_key_prefix["authorization"] = "Bearer"
    return client


@contextmanager
def _cluster_errors() -> Iterator[None]:
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        kind = Away if error.status in _PASSING else ClusterError
        raise kind(f"Kubeflow Pipelines refuses: {_message(error)}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = _line(getattr(error, "reason", None) or error).rpartition(": ")[2]
        raise Away(
            f"Kubeflow Pipelines is out of reach: {reason}; check KUBECONFIG, LOSSMAP_PIPELINES and"
            " LOSSMAP_NAMESPACE"
        ) from None
    except (ValueError, TypeError, RuntimeError) as error:  # kfp's own words
        raise ClusterError(f"Kubeflow Pipelines cannot be used: {_line(error)}") from None


def _message(error: Any) -> str:
    try:
        body = json.loads(error.body)
        return _line(body.get("error") or body["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def _line(text: object) -> str:
    return " ".join(str(text).split()).rstrip(".")[:300]
