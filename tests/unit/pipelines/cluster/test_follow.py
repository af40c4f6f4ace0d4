from datetime import UTC, datetime

import pytest
from fakes.kubernetes_api import NAMESPACE, Cluster, served
from kubernetes import client

from lossmap.components.config.settings import Settings
from lossmap.components.jobs.connection import api_at
from lossmap.pipelines.cluster.follow import cause, own_lines, step_of
from lossmap.pipelines.cluster.kubeflow import PipelineRun, Step

LOG = """\
time=2026-11-25T00:09:54.583Z level=INFO msg="waiting for signals" argo=true
I1125 00:09:54.600000      23 launcher.go:1] input
{
  "executorLabel": "exec-train"
}
[KFP Executor 2026-11-25 00:09:56,288 INFO]: Looking for component `train`
lossmap begins
rank 0: {"event": "progress"}
[KFP Executor 2026-11-25 00:09:57,288 INFO]: Found credentials in environment variables.
train: 5/5
lossmap ends
[KFP Executor 2026-11-25 00:09:58,288 INFO]: Wrote executor output file
{"parameterValues": {}}""".splitlines()


def test_of_a_log_what_the_step_itself_said_is_shown():
    assert list(own_lines(iter(LOG))) == ['rank 0: {"event": "progress"}', "train: 5/5"]


def test_the_error_after_which_a_step_did_not_end_in_peace_is_shown():
    failed = [
        *LOG[:8],
        "lossmap: the data set is empty",
        'time="2026-11-25T00:09:54.583Z" level=INFO msg="sub-process exited" argo=true',
    ]
    assert list(own_lines(iter(failed))) == [
        'rank 0: {"event": "progress"}',
        "lossmap: the data set is empty",
    ]


def test_a_step_that_did_not_come_to_say_anything_shows_what_there_is():
    assert list(own_lines(iter([*LOG[:6], "ModuleNotFoundError: No module named 'lossmap'"]))) == [
        *LOG[2:5],
        "ModuleNotFoundError: No module named 'lossmap'",
    ]


@pytest.mark.parametrize(
    ("node", "step"),
    [
        ("lossmap-5h2zz.root.exit-handler-1.train.executor", "train"),
        ("lossmap-5h2zz.root(0).exit-handler-1(0).train(0).executor(0)", "train"),
        ("lossmap-5h2zz.root.exit-handler-1.tiles.for-loop-1.iteration.tile.retry-system", "tile"),
        ("lossmap-5h2zz(0).root(0).clean-up(1).executor(2)", "clean-up"),
        ("lossmap-5h2zz.root.exit-handler-1.train-driver", None),
        ("lossmap-5h2zz.root(0).exit-handler-1(0).train-driver(0)", None),
        ("", None),
    ],
)
def test_a_pod_belongs_to_the_step_whose_executor_it_is_by_whichever_name(node, step):
    assert step_of(node) == step


NOW = datetime(2026, 11, 30, tzinfo=UTC)
RUN = PipelineRun("id", "run", "study", "FAILED", NOW, NOW, (Step("train", "FAILED", NOW, NOW),))


@pytest.fixture
def cluster():
    return Cluster()


def _pod(cluster, node, phase, *lines):
    metadata = cluster.add_pod(f"pod-{len(cluster.objects['pods'])}", phase=phase)["metadata"]
    metadata["labels"]["pipeline/runid"] = RUN.id
    metadata["annotations"] = {"workflows.argoproj.io/node-name": node}
    for line in lines:
        cluster.print(metadata["name"], line, restarts=0)


def _cause(cluster):
    with served(cluster) as address:
        return cause(
            api_at(client.Configuration(host=address), NAMESPACE, 0.0), Settings(namespace=NAMESPACE), RUN
        )


@pytest.mark.parametrize(
    "nodes",
    [("x.root.train-driver", "x.root.train.executor"), ("x.train-driver(0)", "x.train(0).executor(0)")],
)
def test_the_cause_of_a_failure_is_the_error_of_the_step_by_whichever_name(cluster, nodes):
    _pod(cluster, nodes[0], "Succeeded", "driver")
    _pod(cluster, nodes[1], "Failed", "lossmap begins", "lossmap: training.batch_size is 500, expected less")
    assert _cause(cluster) == "train: training.batch_size is 500, expected less"


def test_of_several_attempts_the_last_one_tells(cluster):
    _pod(cluster, "x.train(0).executor(0)", "Failed", "evicted")
    _pod(cluster, "x.train(0).executor(1)", "Failed", "lossmap begins", "lossmap: the data set is empty")
    assert _cause(cluster) == "train: the data set is empty"


def test_a_driver_that_failed_before_its_step_tells_why(cluster):
    words = "F1130 10:12:00.123456       1 main.go:79] KFP driver: secret lossmap not found"
    _pod(cluster, "x.root(0).train-driver(0)", "Failed", words)
    assert _cause(cluster) == "train: KFP driver: secret lossmap not found"
