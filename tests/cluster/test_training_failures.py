"""What is wrong with a training is told in one line, and soon."""

import re

import pytest
from cluster.kubectl import apply
from cluster.launching import experiment

from lossmap.components.config.cluster import Resources
from lossmap.components.config.pod import Pod
from lossmap.components.jobs.deployment import FILES, FILES_PATH
from lossmap.components.jobs.stop import stop
from lossmap.components.stores import layout

pytestmark = pytest.mark.cluster

SOON = 30  # seconds after the creation of the job

_BROKEN = "lossmap.components.training.loop"
_BREAK_RANKS = f"import os, sys\nif 'RANK' in os.environ:\n    sys.modules['{_BROKEN}'] = None"


def _last_line(run):
    assert run.until_it_ends() == 1
    return run.log().splitlines()[-1]


def _until_told(run, text):
    run.until(lambda: f"created {run.kind.name}" in run.log(), what="the job")
    print(f"told after {run.until(lambda: text in run.log(), SOON, text):.0f} s")


def test_an_experiment_that_cannot_be_carried_out_is_told_by_its_field(launched):
    run = launched(experiment(batch_size=128))
    assert (
        _last_line(run)
        == "TrainingError: training failed: training.batch_size is 128, expected at most the number of"
        " training images (96)"
    )
    assert run.left() == []


def test_a_damaged_description_of_a_training_is_told(launched):
    run = launched(experiment())
    run.store.write(layout.training_computation(run.training), b"{}")
    assert re.fullmatch(
        r"TrainingError: training failed: s3://\S+/task\.json is damaged: .* makes it again", _last_line(run)
    )
    assert run.left() == []


def test_what_a_rank_raises_is_told_with_its_traceback(launched, run_namespace):
    apply(_files(run_namespace, {"sitecustomize.py": _BREAK_RANKS}))
    run = launched(experiment(pod=Pod(variables={"PYTHONPATH": FILES_PATH}), restarts=0))
    told = f"rank 1: ModuleNotFoundError: import of {_BROKEN} halted; None in sys.modules"
    run.until(lambda: told in run.log().splitlines(), what=told)
    assert "rank 1: Traceback (most recent call last):" in run.log().splitlines()
    assert stop(run.namespace, f"lossmap/run={run.name}") == []


def _files(namespace, data):
    metadata = {"name": FILES, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_an_image_that_does_not_exist_is_told_and_not_waited_for(launched):
    image = "docker.io/lossmap/lossmap:there-is-none"
    run = launched(experiment(), training_image=image)
    _until_told(run, f"image {image} cannot be pulled: ")
    assert _last_line(run).startswith(
        f"TrainingError: training cannot start: image {image} cannot be pulled: "
    )
    assert run.left() == []


def test_a_request_that_fits_no_node_is_told_and_waited_for_as_long_as_asked(launched):
    run = launched(experiment(training=Resources(cpu="1000"), start_minutes=0.5))
    _until_told(run, f"no node for pod {run.pod(0)}: ")
    expected = (
        "TrainingError: training did not start within cluster.start_minutes (0.5): no node for pod"
        f" {run.pod(0)}: "
    )
    assert _last_line(run).startswith(expected) and "Insufficient cpu" in _last_line(run)
    assert run.left() == []


def test_want_of_memory_is_told_with_the_limit_and_the_field(launched):
    # PyTorch alone takes more
    run = launched(experiment(training=Resources(cpu="300m", cpu_limit="2", memory="150Mi")))
    cure = (
        "ran out of memory; its limit is 150Mi: raise cluster.training.memory, or lower training.batch_size"
    )
    last = _last_line(run)
    assert last.startswith("TrainingError: training failed: pod train-") and last.endswith(cure)
    assert run.left() == []
