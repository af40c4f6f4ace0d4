"""Kueue: who waits for room says why and at what place; who is pushed out goes on from where it was."""

import json
import re

import pytest
from cluster.kubectl import get, kubectl
from cluster.launching import TRAINERS, experiment, same_weights, trainers
from cluster.queueing import Queue
from cluster.running import LONG, little, until

from lossmap.components.jobs.deployment import of_pipeline_run
from lossmap.components.jobs.stop import stop
from lossmap.components.stores import layout

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]  # kfp's, of what lies beneath it

NAME = "research"


@pytest.fixture(autouse=True)
def kueue():
    """Skips where the cluster has none."""
    if not kubectl("get", "customresourcedefinition", "workloads.kueue.x-k8s.io", "--ignore-not-found"):
        pytest.skip("the cluster has no Kueue")


@pytest.fixture
def queue(installation, run_namespace):
    """A queue in the namespace of a training."""
    queue = Queue(run_namespace, NAME, installation.image)
    queue.make("700m")  # a training of two pods takes 600m
    yield queue
    queue.remove()


def _training_pods(run):
    pods = get("pods", "--namespace", run.namespace)["items"]
    return [each for each in pods if each["metadata"]["name"].startswith("train-")]


def _step(run):
    return json.loads(run.store.read(layout.latest_checkpoint(run.training)))[0]["step"]


def test_a_training_waits_for_room_is_pushed_out_and_comes_to_the_same_bits(queue, launched, undisturbed):
    queue.occupy("first", "200m")
    run = launched(experiment(queue=NAME))
    told = f"is queued by Kueue in {NAME}, at place 1: couldn't assign flavors to pod set "
    run.until(lambda: told in run.log() and "insufficient unused quota for cpu" in run.log(), what=told)
    assert _training_pods(run) == []
    queue.leave("first")
    run.until_epoch(3)
    queue.occupy("urgent", "200m", urgent=True)
    run.until(lambda: "Preempted to accommodate a workload" in run.log(), what="the preemption")
    run.until(lambda: _training_pods(run) == [], what="no training pods")
    reached = _step(run)
    queue.leave("urgent")
    code, log = run.until_it_ends(), run.log()
    assert code == 0, log
    assert 8 < reached < 160, "it was pushed out in mid-training, after it had saved"
    assert log.splitlines().count("epoch 1") == 1, "it went on from there"
    assert same_weights(run.store, run.training, undisturbed)


def test_a_training_in_a_queue_that_is_not_there_says_so_and_can_be_cancelled(launched):
    run = launched(experiment(queue="nowhere"))
    told = "is queued by Kueue in nowhere: LocalQueue nowhere doesn't exist"
    run.until(lambda: told in run.log(), what=told)
    assert stop(run.namespace, f"lossmap/run={run.name}") == []
    assert run.left() == []
    assert run.until_it_ends(60) == 130
    assert get("workloads.kueue.x-k8s.io", "--namespace", run.namespace)["items"] == []


def _waiting(person, run):
    return "\n".join(person.status(run)["waiting"])


def test_runs_that_a_queue_holds_say_so_until_room_is_made(person, study, seed, s3_forward):
    queue = Queue(person.namespace, NAME, "")
    queue.make("100m")  # a training of two pods takes 200m
    try:
        kinds = [trainer for trainer in TRAINERS if trainer in trainers()]
        first, last = kinds[0], kinds[-1]
        held, pipeline_run = person.submit(little(study, seed, epochs=LONG, queue=NAME, trainer=first))
        until(lambda: "at place 1: " in _waiting(person, held), 240, "a place in the queue")
        told = rf"^waiting: train-\S+ is queued by Kueue in {NAME}, at place 1: couldn't assign flavors"
        assert re.search(told, person.lossmap("status", held), re.MULTILINE)
        run, _ = person.submit(little(study, seed + 1, queue=NAME, trainer=last))
        until(lambda: "at place 2: " in _waiting(person, run), 240, "a place in the queue behind it")
        person.lossmap("cancel", held)
        assert person.going_on(pipeline_run) == []
        assert person.state(held) == "CANCELLED"
        until(lambda: "at place 1: " in _waiting(person, run), 30, "a better place")
        queue.enlarge("1")
        followed = person.lossmap("logs", run, "-f")
        assert person.state(run) == "SUCCEEDED", followed
        assert any(
            line.startswith("  train | ") and f"is queued by Kueue in {NAME}, at place 2: " in line
            for line in followed.splitlines()
        ), followed
    finally:
        queue.remove()


def test_where_every_pod_is_queued_a_run_says_so_and_goes_on_when_it_may(person, study, seed, s3_forward):
    queue = Queue(person.namespace, "default", "")  # the name by which Kueue takes everything in
    queue.make("1m")
    try:
        run, pipeline_run = person.submit(little(study, seed))
        until(
            lambda: "is queued by Kueue in default, at place " in _waiting(person, run), 120, "a queued pod"
        )
        assert _waiting(person, run).startswith("pod ")
        queue.enlarge("16")
        person.lossmap("logs", run, "-f")
        assert person.state(run) == "SUCCEEDED"
        of_run = (f"--selector={of_pipeline_run(pipeline_run)}", "--namespace", person.namespace)
        assert {pod["metadata"]["name"] for pod in get("pods", *of_run)["items"]} <= queue.pods()
    finally:
        queue.remove()
