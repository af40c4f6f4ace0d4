"""The end of a run as `lossmap cancel` waits for it, with Kubernetes' and Kubeflow's answers."""

import pytest
from fakes.kubernetes_api import NAMESPACE, Cluster, container, served
from fakes.pipelines_api import Pipelines, serving
from kubernetes import client

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs.connection import api_at
from lossmap.pipelines.cluster import cancel
from lossmap.pipelines.cluster.kubeflow import Kubeflow

pytestmark = pytest.mark.filterwarnings("default")
NO_IMAGE = {"reason": "ErrImagePull", "message": "docker.io/lossmap/lossmap:there-is-none: not found"}
AWAY = {"reason": "ErrImagePull", "message": "dial tcp: i/o timeout"}


@pytest.fixture
def pipelines():
    return Pipelines()


@pytest.fixture
def cluster():
    return Cluster()


def _end(cluster, pipelines, name):
    run_id = pipelines.runs[name]["run_id"]
    for pod in cluster.objects["pods"].values():
        pod["metadata"]["labels"]["pipeline/runid"] = run_id
    with served(cluster) as kubernetes, serving(pipelines) as address:
        kubeflow = Kubeflow(Settings(pipelines=address))
        return cancel.end_and_wait(
            kubeflow,
            api_at(client.Configuration(host=kubernetes), NAMESPACE, 0.0),
            Settings(namespace=NAMESPACE),
            kubeflow.find(run_id),
        )


def _pod(cluster, node, waiting):
    pod = cluster.add_pod(node, phase="Pending", containerStatuses=[container(waiting=waiting)])
    pod["metadata"]["annotations"] = {"workflows.argoproj.io/node-name": node}


def _cancelling(pipelines):
    pipelines.runs["going on"] |= {"state": "CANCELING", "state_history": [{"state": "CANCELING"}]}


def test_a_run_that_has_ended_is_left_as_it_is(cluster, pipelines):
    end = _end(cluster, pipelines, "cancelled")
    assert (end.state, end.never_starts, pipelines.terminated) == ("cancelled", "", [])


def test_an_exit_handler_whose_image_does_not_exist_is_not_waited_for(cluster, pipelines):
    _cancelling(pipelines)
    _pod(cluster, "x(0).clean-up(0).executor(0)", NO_IMAGE)
    end = _end(cluster, pipelines, "going on")
    assert pipelines.terminated == [end.run.id]
    assert end.state == "cancelled"
    assert end.never_starts.startswith("image image:1 cannot be pulled: docker.io/lossmap/lossmap:there-is")


@pytest.mark.parametrize(
    ("node", "waiting"),
    [
        ("x.clean-up.executor", AWAY),  # the registry may come back
        ("x.root.exit-handler-1.train.executor", NO_IMAGE),  # a termination ends it
    ],
)
def test_whatever_may_go_on_is_waited_for(cluster, pipelines, node, waiting, monkeypatch):
    monkeypatch.setattr(cancel, "_SECONDS", 0.1)
    _cancelling(pipelines)
    _pod(cluster, node, waiting)
    with pytest.raises(ClusterError, match=f"there is still pod {node}, workflow of run"):
        _end(cluster, pipelines, "going on")
