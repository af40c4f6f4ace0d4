"""A training job of two pods, of either kind, under restricted Pod Security, launched by a pod with the
account of a pipeline's steps.
"""

import json
import time

import pytest
from cluster.launching import experiment, same_weights

from lossmap.components.jobs.stop import stop
from lossmap.components.stores import layout

pytestmark = pytest.mark.cluster

LONG = 4000  # epochs that no test waits for


def test_two_pods_come_to_the_bits_of_two_processes_here(launched, undisturbed):
    run = launched(experiment())
    code, log = run.until_it_ends(), run.log()
    assert code == 0, log
    assert same_weights(run.store, run.training, undisturbed)
    assert f"created {run.kind.name}" in log and "epoch 40" in log


@pytest.mark.parametrize("worker", [0, 1])
def test_a_pod_lost_in_mid_epoch_changes_no_bit(launched, undisturbed, worker):
    run = launched(experiment())
    run.until_epoch(3)
    lost = run.pod(worker)
    run.kubectl("delete", "pod", lost, "--grace-period=0", "--force")
    code, log = run.until_it_ends(), run.log()
    assert code == 0, log
    assert f"pod {lost} was lost, and is made anew" in log
    assert same_weights(run.store, run.training, undisturbed)


def test_stop_leaves_nothing_within_a_minute(launched):
    run = launched(experiment(epochs=LONG))
    run.until_epoch(1)
    start = time.monotonic()
    assert stop(run.namespace, f"lossmap/run={run.name}") == []
    assert time.monotonic() - start < 60
    assert run.left() == []
    assert run.until_it_ends(60) == 130
    assert "Interrupted: the training job was deleted by somebody else" in run.log()


def test_a_launcher_that_is_asked_to_stop_deletes_the_job(launched):
    run = launched(experiment(epochs=LONG))
    run.until_epoch(1)
    run.kubectl("delete", "pod", run.name, "--wait=false")
    run.until(lambda: run.left() == [], 60, "nothing left")
    assert run.left() == []  # and nothing comes back


def test_of_a_launcher_that_is_killed_nothing_is_left_after_a_minute(launched):
    run = launched(experiment(epochs=LONG), owned=True)
    run.until_epoch(1)
    run.kill()
    took = run.until(lambda: run.left() == [], 60, "nothing left")
    print(f"nothing is left {took:.0f} s after the launcher")
    reached = json.loads(run.store.read(layout.latest_checkpoint(run.training)))[0]["step"]
    assert reached > 4, "it saved where it was"
