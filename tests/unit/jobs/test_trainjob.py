from pathlib import Path

import pytest
import yaml
from kubernetes import client

from lossmap.components.config.cluster import Cluster
from lossmap.components.config.pod import Pod, Toleration
from lossmap.components.config.training import Training
from lossmap.components.core.errors import ExperimentError
from lossmap.components.jobs.request import Launcher, Request
from lossmap.components.jobs.trainjob import render

GOLDEN = Path(__file__).parents[2] / "golden" / "trainjob"
OWNER = client.V1OwnerReference(
    api_version="argoproj.io/v1alpha1", kind="Workflow", name="landscape-x", uid="workflow-uid"
)
LAUNCHER = Launcher("lossmap:1", "Always", ("registry",), OWNER, "kubeflow-run")


def _request(processes=2, pods=2, **cluster):
    training = Training(processes=processes, threads=3)
    return Request(
        "0123456789abcdef" * 4, "digits-20261124-101500", "s3://runs/a", training, Cluster(**cluster), pods
    )


GPU = {
    "profile": "gpu",
    "nodes": 2,
    "node_selector": {"gpu": "h100"},
    "queue": "research",
    "restarts": 1,
    "hours": 1.5,
    "start_minutes": 5,
    "tolerations": (Toleration(key="a", operator="Equal", value="b"),),
}


@pytest.mark.parametrize("name, request_", [("cpu", _request()), ("gpu", _request(8, 2, **GPU))])
def test_the_whole_job_is_as_in_the_golden_file(name, request_):
    assert render(request_, LAUNCHER) == yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"priority_class": "high"},
            "cluster.priority_class is high, .* set priorityClassName in the",
        ),
        (
            {"pod": Pod(runtime_class="gvisor")},
            "cluster.pod.runtime_class is gvisor, .* runtimeClassName",
        ),
        ({"nodes": 2, "least_nodes": 1}, "cluster.least_nodes is 1, and a TrainJob always has all its nodes"),
    ],
)
def test_what_only_a_runtime_or_a_pytorchjob_can_say_is_refused(asked, told):
    with pytest.raises(ExperimentError, match=told):
        render(_request(**asked), LAUNCHER)
