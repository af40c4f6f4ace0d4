"""Ends a run on a cluster, and leaves nothing of it running."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError, LossmapError
from lossmap.components.jobs.deployment import of_pipeline_run
from lossmap.pipelines.cluster.follow import steps_among
from lossmap.pipelines.cluster.kubeflow import EXIT_HANDLER, Kubeflow, PipelineRun

if TYPE_CHECKING:
    from lossmap.components.jobs.connection import Api

_SECONDS = 60.0
_PAUSE = 1.0
_GOING_ON = ("Pending", "Running")


@dataclass(frozen=True)
class End:
    """How a run ended.

    Attributes:
        run: as it is now.
        never_starts: why the pod of its exit handler never starts, for which Kubeflow goes on waiting; empty
            where nothing is waited for.
    """

    run: PipelineRun
    never_starts: str = ""

    @property
    def state(self) -> str:
        """Succeeded, failed or cancelled."""
        return "cancelled" if self.never_starts else self.run.state.lower()


def end_and_wait(kubeflow: Kubeflow, api: "Api", settings: Settings, run: PipelineRun) -> End:
    """Terminate a run, delete its training job, wait until nothing of it runs, and say so in MLflow.

    A run that has ended is left as it is, but for what may still run of it. Kubeflow's newer versions run the
    exit handler of a terminated run, and end it only after that; a handler whose image does not exist is not
    waited for, since nothing of it can ever run.

    Raises:
        ClusterError: something was still there after a minute; the message names it.
    """
    from lossmap.components.jobs.stop import stop

    if not run.ended:
        kubeflow.terminate(run)
    left = stop(settings.namespace, of_pipeline_run(run.id), api, _SECONDS)
    end = End(run)
    if not left:
        end, left = _wait_for_end(kubeflow, api, settings, run)
    if left:
        raise ClusterError(
            f"after {_SECONDS:.0f} s there is still {', '.join(left)}; look at it: kubectl -n"
            f" {settings.namespace} describe {left[0]}"
        )
    if end.run.state == "CANCELLED" or end.never_starts:
        _end_in_mlflow(api, settings, end.run)
    return end


def _wait_for_end(
    kubeflow: Kubeflow, api: "Api", settings: Settings, run: PipelineRun
) -> tuple[End, list[str]]:
    from lossmap.components.jobs.cluster import pods

    deadline = time.monotonic() + _SECONDS
    while True:
        run = kubeflow.find(run.id)
        going_on = [
            pod
            for pod in pods(settings.namespace, of_pipeline_run(run.id), api)
            if pod.status.phase in _GOING_ON
        ]
        stuck = _stuck_handlers(going_on)
        if stuck and len(stuck) == len(going_on):
            return End(run, ", ".join(stuck)), []
        left = [f"pod {pod.metadata.name}" for pod in going_on]
        if not run.ended:
            left.append(f"workflow of run {run.id}")
        if not left or time.monotonic() > deadline:
            return End(run), left
        time.sleep(_PAUSE)


def _stuck_handlers(pods: Sequence[Any]) -> list[str]:
    """Why those of these pods that belong to the exit handler never start, one line each."""
    from lossmap.components.jobs.reasons import cause_of

    handlers = [step for step in steps_among(pods) if step.step == EXIT_HANDLER]
    causes = [cause_of(step.pod) for step in handlers if step.phase == "Pending"]
    return [cause.text for cause in causes if cause and cause.hopeless]


def _end_in_mlflow(api: "Api", settings: Settings, run: PipelineRun) -> None:
    """Kubeflow's older versions run no exit handler for a terminated run, so that nobody in the cluster
    would.
    """
    from lossmap.components.jobs.cluster import configuration
    from lossmap.components.stores.tracking.runs import end_run

    try:
        store = configuration(settings.namespace, api).get("LOSSMAP_STORE", "")
        with cluster_tracking(api, settings) as uri:
            end_run(uri, run.study, run.name, "KILLED", store)
    except LossmapError:
        return  # the run is cancelled all the same


def cluster_tracking(api: "Api", settings: Settings, local_port: int = 0) -> AbstractContextManager[str]:
    """The cluster's MLflow under an address that this machine reaches."""
    from lossmap.components.jobs.cluster import configuration
    from lossmap.components.jobs.forward import reached

    uri = configuration(settings.namespace, api).get("LOSSMAP_TRACKING", "")
    return reached(api, uri, settings.namespace, local_port)
