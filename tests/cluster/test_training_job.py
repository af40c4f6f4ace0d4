"""A training job of two pods, of either kind, under restricted Pod Security, launched by a pod with the
account of a pipeline's steps.
"""

import json
import time

import pytest
import torch
from cluster.launching import TRAINERS, experiment, launch, require_trainer
from safetensors.torch import load

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.jobs.stop import stop
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines.local import open_run

pytestmark = pytest.mark.cluster

LONG = 4000  # epochs that no test waits for


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights that two processes of this machine come to."""
    settings = Settings(store=str(tmp_path_factory.mktemp("local")))
    steps.prepare(open_run("run", settings), experiment())
    steps.train(open_run("run", settings), settings)
    store = open_store(settings.store)
    return load(store.read(layout.weights(Run(store, "run").training)))


@pytest.fixture(params=TRAINERS)
def launched(request, installation, run_namespace, s3_forward):
    """Launches a training in a new namespace with restricted Pod Security."""
    require_trainer(request.param)
    return lambda epochs=LONG, **options: launch(
        run_namespace, experiment(epochs=epochs, trainer=request.param), installation.image, **options
    )


def _equal(store, training, expected):
    weights = load(store.read(layout.weights(training)))
    return weights.keys() == expected.keys() and all(
        torch.equal(weights[name], expected[name]) for name in expected
    )


def test_two_pods_come_to_the_bits_of_two_processes_here(launched, undisturbed):
    run = launched(epochs=40)
    code, log = run.until_it_ends(), run.log()
    assert code == 0, log
    assert _equal(run.store, run.training, undisturbed)
    assert f"created {run.kind.name}" in log and "epoch 40" in log


@pytest.mark.parametrize("worker", [0, 1])
def test_a_pod_lost_in_mid_epoch_changes_no_bit(launched, undisturbed, worker):
    run = launched(epochs=40)
    run.until_epoch(3)
    lost = run.pod(worker)
    run.kubectl("delete", "pod", lost, "--grace-period=0", "--force")
    code, log = run.until_it_ends(), run.log()
    assert code == 0, log
    assert f"pod {lost} was lost, and is made anew" in log
    assert _equal(run.store, run.training, undisturbed)


def test_stop_leaves_nothing_within_a_minute(launched):
    run = launched()
    run.until_epoch(1)
    start = time.monotonic()
    assert stop(run.namespace, f"lossmap/run={run.name}") == []
    assert time.monotonic() - start < 60
    assert run.left() == []
    assert run.until_it_ends(60) == 130
    assert "Interrupted: the training job was deleted by somebody else" in run.log()


def test_a_launcher_that_is_asked_to_stop_deletes_the_job(launched):
    run = launched()
    run.until_epoch(1)
    run.kubectl("delete", "pod", run.name, "--wait=false")
    run.until(lambda: run.left() == [], 60, "nothing left")
    assert run.left() == []  # and nothing comes back


def test_of_a_launcher_that_is_killed_nothing_is_left_after_a_minute(launched):
    run = launched(owned=True)
    run.until_epoch(1)
    run.kill()
    took = run.until(lambda: run.left() == [], 60, "nothing left")
    print(f"nothing is left {took:.0f} s after the launcher")
    reached = json.loads(run.store.read(layout.latest_checkpoint(run.training)))[0]["step"]
    assert reached > 4, "it saved where it was"
