"""Ends a run on a cluster, and leaves nothing of it running."""

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError, LossmapError
from lossmap.components.jobs.deployment import of_pipeline_run
from lossmap.pipelines.cluster.kubeflow import Kubeflow, PipelineRun

if TYPE_CHECKING:
    from lossmap.components.jobs.connection import Api

_SECONDS = 60.0
_PAUSE = 1.0
_GOING_ON = ("Pending", "Running")


def end_and_wait(kubeflow: Kubeflow, api: "Api", settings: Settings, run: PipelineRun) -> PipelineRun:
    """Terminate a run, delete its training job, wait until nothing of it runs, and say so in MLflow. Returns
    the run as it ended.

    A run that has ended is left as it is, but for what may still run of it.

    Raises:
        ClusterError: something was still there after a minute; the message names it.
    """
    from lossmap.components.jobs.stop import stop

    if not run.ended:
        kubeflow.terminate(run)
    left = stop(settings.namespace, of_pipeline_run(run.id), api, _SECONDS)
    if not left:
        run, left = _wait_for_end(kubeflow, api, settings, run)
    if left:
        raise ClusterError(
            f"after {_SECONDS:.0f} s there is still {', '.join(left)}; look at it: kubectl -n"
            f" {settings.namespace} describe {left[0]}"
        )
    if run.state == "CANCELLED":
        _end_in_mlflow(api, settings, run)
    return run


def _wait_for_end(
    kubeflow: Kubeflow, api: "Api", settings: Settings, run: PipelineRun
) -> tuple[PipelineRun, list[str]]:
    from lossmap.components.jobs.cluster import pods

    end = time.monotonic() + _SECONDS
    while True:
        run = kubeflow.find(run.id)
        left = [
            f"pod {pod.metadata.name}"
            for pod in pods(settings.namespace, of_pipeline_run(run.id), api)
            if pod.status.phase in _GOING_ON
        ]
        if not run.ended:
            left.append(f"workflow of run {run.id}")
        if not left or time.monotonic() > end:
            return run, left
        time.sleep(_PAUSE)


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
