import pytest
from fakes.kubernetes_api import NAMESPACE, Cluster, served
from kubernetes import client

from lossmap.components.jobs.connection import api_at
from lossmap.components.jobs.workflow import was_terminated


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", "me")
    cluster = Cluster()
    cluster.add_pod("me")["metadata"]["labels"]["workflows.argoproj.io/workflow"] = "lossmap-x"
    return cluster


@pytest.mark.parametrize(
    ("workflows", "expected"),
    [
        ({"lossmap-x": {"spec": {"activeDeadlineSeconds": 0}}}, True),
        ({"lossmap-x": {"spec": {"activeDeadlineSeconds": 600}}}, False),
        ({}, False),
    ],
    ids=["terminated", "goes on", "gone"],
)
def test_a_pipeline_run_whose_deadline_is_zero_was_terminated(cluster, workflows, expected):
    cluster.objects["workflows"] = workflows
    with served(cluster) as host:
        assert was_terminated(api_at(client.Configuration(host=host), NAMESPACE, 5.0)) is expected
