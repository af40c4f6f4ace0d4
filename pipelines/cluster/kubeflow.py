"""Runs in Kubeflow Pipelines: submitted, found, ended. The only module that speaks to its API."""

import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs.cluster import interactive_api
from lossmap.components.jobs.deployment import STEPS_ACCOUNT
from lossmap.components.jobs.forward import port_forward

if TYPE_CHECKING:
    import kfp

STEPS = ("prepare", "train", "plan", "tile", "merge", "report", "clean-up")
_SERVICE, _PORT = "ml-pipeline", 8888
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


class Kubeflow:
    """Kubeflow Pipelines in one namespace. Every failure is a ClusterError of one line.

    Args:
        settings: where its API is; without an address, here or in KF_PIPELINES_ENDPOINT, the API server of
            KUBECONFIG leads there.
    """

    def __init__(self, settings: Settings):
        self._way = ExitStack()  # kfp's own way there, a proxy, forgets the path where KUBECONFIG has a token
        with _cluster_errors():
            address = settings.pipelines or os.environ.get("KF_PIPELINES_ENDPOINT")
            address = address or self._way.enter_context(
                port_forward(interactive_api(), settings.namespace, _SERVICE, _PORT)
            )
            self._client = _client(address, settings.namespace)

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

    def find(self, run: str) -> PipelineRun:
        """The newest run of that name, or the run with that id of Kubeflow's.

        Raises:
            ClusterError: there is none.
        """
        with _cluster_errors():
            answer = self._newest(run) or self._by_id(run)
            if answer is None:
                raise ClusterError(f"Kubeflow Pipelines has no run {run}; {self._hint()}")
            return _run(answer, self._study(answer.experiment_id))

    def _hint(self) -> str:
        newest = [run.display_name for run in self._list(page_size=3)]
        if not newest:
            return "there are no runs yet; `lossmap submit` makes one"
        return f"the newest are {', '.join(newest)}"

    def lookup(self, run: str) -> PipelineRun | None:
        """The newest run of that name, if there is one."""
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
        for listed in self._list(page_size=100):
            if listed.run_id == run:
                return self._client.get_run(run)
        return None

    def _list(self, **how: Any) -> Sequence[Any]:
        return self._client.list_runs(sort_by="created_at desc", **how).runs or ()

    def _study(self, experiment: str) -> str:
        return str(self._client.get_experiment(experiment).display_name)


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


def _steps(tasks: Sequence[Any]) -> Iterator[Step]:
    drivers = {task.display_name: task for task in tasks if (task.display_name or "").endswith("-driver")}
    for task in tasks:
        if task.display_name in STEPS:
            state = _step_state(task, drivers.get(f"{task.display_name}-driver"))
            # what goes on is said to have ended in the year 1
            finished = None if state == "RUNNING" else task.end_time
            yield Step(task.display_name, state, task.start_time, finished)


def _step_state(task: Any, driver: Any) -> str:
    if driver is not None and driver.state == "FAILED" and task.state is None:
        return "FAILED"
    if task.state == "SUCCEEDED" and task.start_time == task.end_time:
        return "CACHED"  # no pod ends in the second in which it was made
    return _STEP_STATES.get(task.state, "SKIPPED")


def _client(address: str, namespace: str) -> "kfp.Client":
    # kfp prints that it finds no configuration, and the libraries beneath it warn; what is wrong is told by
    # the error.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import kfp

        return kfp.Client(host=address, namespace=namespace)


@contextmanager
def _cluster_errors() -> Iterator[None]:
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        raise ClusterError(f"Kubeflow Pipelines refuses: {_message(error)}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = _line(getattr(error, "reason", None) or error).rpartition(": ")[2]
        raise ClusterError(
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
