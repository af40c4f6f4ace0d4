import gc
import json
import os
import signal
import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
from fakes.kubernetes_api import NAMESPACE, TRAINER, TRAINING_OPERATOR, Cluster, served
from kubernetes import client

from lossmap.components.config import experiment
from lossmap.components.core.errors import (
    ClusterError,
    ExperimentError,
    Interrupted,
    StoreError,
    TrainingError,
    TrainingKilled,
)
from lossmap.components.jobs.connection import api_at
from lossmap.components.jobs.kinds import KINDS, check_trainer, chosen_kind
from lossmap.components.jobs.launch import launch_in
from lossmap.components.jobs.request import Launcher, Request, name_of
from lossmap.components.jobs.watch import Arrival, Pace
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.training.listen import Listeners

TRAINING = "0123456789abcdef" * 4
PACE = Pace(poll=0.05, quiet=0.1, hopeless=0.5, result=0.5)
# A request that SIGTERM or the server cuts off can leave its socket to the garbage collector, which comes by
# in whichever test is next.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Not in the tests of another file, where such a socket is an error."""
    yield
    gc.collect()


class Scene:
    """A launcher and the cluster it speaks to."""

    def __init__(self, cluster, api, folder):
        self.cluster, self.api, self.store = cluster, api, open_store(str(folder))
        self.said, self.progress, self.epochs = [], [], []
        self.asked = self.request()

    def request(self, **changes):
        return Request(
            TRAINING, "run-1", self.store.uri, experiment.Training(), experiment.Cluster(**changes), 2
        )

    @property
    def of_kind(self):
        return KINDS[self.cluster.operator.jobs.removesuffix("s")]

    @property
    def kind(self):
        return self.of_kind.name

    @property
    def deletions(self):
        return [request for request in self.cluster.requests if request.startswith("DELETE")]

    @property
    def deletions_of_success(self):
        """Of a job that would stay for ever."""
        return {"PyTorchJob": [], "TrainJob": ["DELETE trainjobs"]}[self.kind]

    @property
    def job(self):
        return name_of(self.asked)

    @property
    def pods(self):
        return [f"{self.job}-worker-{index}" for index in range(2)]

    def launch(self, **changes):
        listeners = Listeners(lambda *step: self.progress.append(step), self.epochs.append)
        launch_in(self.request(**changes), listeners, self.said.append, self.api, PACE)

    def start(self, job=None, **status):
        """What the operator does when a job is created."""
        for pod in self.pods:
            self.cluster.add_pod(pod, self.job, **status)

    def succeed(self):
        self.store.write(layout.training_result(TRAINING), b"{}")
        self.cluster.finish(self.job, "Succeeded")

    def say(self, rank, **event):
        self.cluster.print(self.pods[rank], f"[rank {rank}]: {json.dumps(event)}")

    def later(self, *acts, wait=0.3):
        """Do one thing after the other while the launcher waits, once its job is there."""

        def play():
            self.until(lambda: self.job in self.cluster.jobs)
            for act in acts:
                time.sleep(wait)
                act()

        threading.Thread(target=play, daemon=True).start()

    def until(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.01)


@contextmanager
def _scene(folder, monkeypatch, patience=20.0, operator=TRAINING_OPERATOR):
    cluster = Cluster(operator)
    cluster.add_pod("step")
    monkeypatch.setenv("KFP_POD_NAME", "step")
    with served(cluster) as address:
        yield Scene(cluster, api_at(client.Configuration(host=address), NAMESPACE, patience), folder)


@pytest.fixture(params=[TRAINING_OPERATOR, TRAINER], ids=lambda operator: operator.jobs)
def scene(request, tmp_path, monkeypatch):
    with _scene(tmp_path, monkeypatch, operator=request.param) as scene:
        scene.cluster.on_create = scene.start
        yield scene


def test_a_training_is_carried_out_and_heard_of(scene):
    def speak():
        scene.say(0, event="progress", done=3, total=8, detail="epoch 1/2")
        scene.say(0, event="epoch", epoch=1, test_error=0.25)
        scene.say(1, event="warning", message="odd")
        scene.cluster.print(scene.pods[1], "torchrun's own words")

    scene.later(speak, scene.succeed)
    scene.launch()
    assert scene.progress == [(3, 8, "epoch 1/2")]
    assert scene.epochs == [{"epoch": 1, "test_error": 0.25}]
    assert f"created {scene.kind} tests/{scene.job}" in scene.said
    assert 'rank 1: {"event": "warning", "message": "odd"}' in scene.said
    assert f"{scene.pods[1]}: torchrun's own words" in scene.said


def test_what_the_store_has_needs_no_cluster(scene):
    scene.store.write(layout.training_result(TRAINING), b"{}")
    scene.launch()
    assert scene.cluster.requests == []


def test_the_job_of_an_earlier_start_is_gone_on_with(scene):
    starts = {
        f"created {scene.kind} tests/{scene.job}": threading.Thread(target=scene.launch),
        f"going on with {scene.kind} tests/{scene.job}, which is there already": threading.Thread(
            target=scene.launch
        ),
    }
    for told, start in starts.items():
        start.start()
        scene.until(lambda told=told: told in scene.said)
    scene.succeed()
    for start in starts.values():
        start.join()


def test_a_job_that_ended_without_a_result_is_made_anew(scene):
    scene.later(lambda: scene.cluster.finish(scene.job, "Failed"))
    with pytest.raises(TrainingError):
        scene.launch()
    _create(scene)
    scene.cluster.finish(scene.job, "Failed")
    scene.later(lambda: None, lambda: None, lambda: None, lambda: None, scene.succeed)
    scene.launch()
    assert scene.said[-1] == f"created {scene.kind} tests/{scene.job}"


def test_a_job_of_an_earlier_pipeline_run_makes_room_when_it_has_noticed(scene):
    _create(scene, {"pipeline/runid": "an-earlier-one"})
    scene.later(
        lambda: None,
        lambda: scene.cluster.remove(scene.job),
        lambda: None,
        lambda: None,
        lambda: None,
        lambda: None,
        scene.succeed,
    )
    scene.launch()
    assert scene.said[-1] == f"created {scene.kind} tests/{scene.job}"
    assert scene.deletions == scene.deletions_of_success


def test_a_job_of_somebody_else_is_left_alone(scene):
    _create(scene, {"lossmap/run": "another"})
    with pytest.raises(ClusterError) as refused:
        scene.launch()
    assert str(refused.value).startswith(
        f"{scene.kind} {scene.job} is there for somebody else (lossmap/run: another; "
    )
    assert scene.job in scene.cluster.jobs


def _create(scene, labels=None):
    """Have the cluster have the job that is asked for, with other labels."""
    launcher = Launcher.of(scene.api.core.read_namespaced_pod("step", NAMESPACE))
    scene.of_kind.create(scene.api, scene.asked, launcher, NAMESPACE)
    assert scene.job in scene.cluster.jobs
    scene.cluster.jobs[scene.job]["metadata"]["labels"] |= labels or {}


def test_success_is_what_the_store_has_not_what_the_job_says(scene):
    scene.later(lambda: scene.cluster.finish(scene.job, "Succeeded", "all is well"))
    with pytest.raises(TrainingError) as failed:
        scene.launch()
    assert str(failed.value) == "training failed: all is well"


def test_a_result_may_come_after_the_jobs_success(scene):
    scene.later(
        lambda: scene.cluster.finish(scene.job, "Succeeded"),
        lambda: scene.store.write(layout.training_result(TRAINING), b"{}"),
        wait=0.2,
    )
    scene.launch()
    assert scene.store.exists(layout.training_result(TRAINING))  # it waited for that


def test_a_job_that_was_removed_after_its_end_has_its_result(scene):
    def vanish():
        scene.store.write(layout.training_result(TRAINING), b"{}")
        scene.cluster.remove(scene.job)

    scene.later(vanish)
    scene.launch()
    assert scene.store.exists(layout.training_result(TRAINING))
    assert scene.job not in scene.cluster.jobs


def test_a_job_deleted_by_somebody_else_was_interrupted(scene):
    scene.later(lambda: scene.cluster.remove(scene.job))
    with pytest.raises(Interrupted) as stopped:
        scene.launch()
    expected = (
        "was deleted by somebody else, as `lossmap cancel` does; `lossmap retry` goes on from its checkpoint"
    )
    assert str(stopped.value) == f"the training job {expected}"


def test_a_permanent_error_ends_the_job_at_once(scene):
    scene.later(
        lambda: scene.say(0, event="error", message="training.batch_size is 128, expected at most 96")
    )
    with pytest.raises(TrainingError) as failed:
        scene.launch()
    assert str(failed.value) == "training failed: training.batch_size is 128, expected at most 96"
    assert scene.cluster.jobs == {}
    # for a TrainJob that waited for the end of its JobSet, Trainer would make another one
    assert scene.cluster.policies == [{"PyTorchJob": "Foreground", "TrainJob": "Background"}[scene.kind]]


def test_the_loss_of_a_peer_ends_nothing(scene):
    scene.later(lambda: scene.say(0, event="lost", message="connection closed"), scene.succeed)
    scene.launch()
    assert 'rank 0: {"event": "lost", "message": "connection closed"}' in scene.said
    assert scene.deletions == scene.deletions_of_success


def test_the_last_words_of_a_rank_are_in_the_error(scene):
    def crash():
        scene.cluster.print(scene.pods[1], "[rank 1]: Traceback …")
        scene.cluster.print(scene.pods[1], "[rank 1]: Segmentation fault")

    scene.later(
        crash,
        lambda: scene.cluster.restart(scene.pods[1], 1),
        lambda: scene.cluster.finish(scene.job, "Failed", "backoff limit"),
    )
    with pytest.raises(TrainingError) as failed:
        scene.launch()
    expected = (
        f"pod {scene.pods[1]} ended with exit code 1; rank 1: Traceback … | Segmentation fault; backoff limit"
    )
    assert str(failed.value) == f"training failed: {expected}"


def test_want_of_memory_is_named_with_the_limit_and_the_field(scene):
    def crash():
        scene.cluster.restart(scene.pods[0], 137, "OOMKilled")

    scene.later(crash, crash)
    with pytest.raises(TrainingError) as failed:
        scene.launch(training={"memory": "3Gi"})
    cure = "its limit is 3Gi: raise cluster.training.memory, or lower training.batch_size"
    assert str(failed.value) == f"training failed: pod {scene.pods[0]} ran out of memory; {cure}"


def test_a_killed_process_is_one_that_lacked_memory_perhaps(scene):
    scene.later(
        lambda: scene.cluster.print(scene.pods[0], "Signal 9 (SIGKILL) received by PID 7"),
        lambda: scene.cluster.finish(scene.job, "Failed"),
    )
    with pytest.raises(TrainingKilled):
        scene.launch()


def test_a_training_that_takes_too_long_says_which_field_to_raise(scene):
    scene.later(
        lambda: scene.cluster.finish(
            scene.job, "Failed", "Job x has failed because it was active longer than specified deadline"
        )
    )
    with pytest.raises(TrainingError) as failed:
        scene.launch(hours=2)
    assert (
        str(failed.value)
        == "training took longer than cluster.hours (2); raise it and retry: training goes on from its"
        " checkpoint"
    )


def test_processes_that_stopped_where_they_were_are_an_interruption(scene):
    scene.later(
        lambda: scene.say(0, event="stopped", message="saved step 7 of 9"),
        lambda: scene.cluster.finish(scene.job, "Succeeded"),
    )
    with pytest.raises(Interrupted) as stopped:
        scene.launch()
    assert str(stopped.value) == "saved step 7 of 9"


def test_sigterm_deletes_the_job(scene):
    scene.later(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted) as stopped:
        scene.launch()
    assert str(stopped.value) == f"training was asked to stop; {scene.kind} {scene.job} is deleted"
    assert scene.cluster.jobs == {}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_sigterm_ends_the_wait_for_room(scene):
    _create(scene, {"pipeline/runid": "an-earlier-one"})
    scene.later(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted) as stopped:
        scene.launch()
    assert str(stopped.value) == (
        f"training was asked to stop before there was room for {scene.kind} {scene.job}"
    )
    assert scene.deletions == []


def test_what_the_processes_say_at_last_is_heard_although_the_launcher_is_to_stop(scene):
    def end(job):
        def save():
            time.sleep(0.3)
            scene.cluster.print(scene.pods[0], "Traceback (most recent call last):")  # torchrun's, of SIGTERM
            scene.say(0, event="stopped", message="saved step 7 of 9")
            time.sleep(0.3)
            scene.cluster.remove(job)

        threading.Thread(target=save, daemon=True).start()

    scene.cluster.on_delete = end
    scene.later(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        scene.launch()
    assert 'rank 0: {"event": "stopped", "message": "saved step 7 of 9"}' in scene.said
    assert not any("Traceback" in line for line in scene.said)


def test_a_job_that_a_sidecar_keeps_from_ending_ends_when_the_store_has_the_result(scene):
    def finish():
        scene.store.write(layout.training_result(TRAINING), b"{}")
        ended = scene.cluster.container(terminated={"exitCode": 0, "reason": "Completed"})
        for pod in scene.pods:
            sidecar = scene.cluster.container(running={}) | {"name": "istio-proxy"}
            scene.cluster.status(pod)["containerStatuses"] = [ended, sidecar]

    scene.later(finish)
    scene.launch()
    assert scene.cluster.jobs == {}
    assert [line for line in scene.said if "goes on, as with a container beside its own" in line]


def test_a_container_of_a_platform_is_no_training(scene):
    words = "image:1: not found"
    waiting = scene.cluster.container(waiting={"reason": "ErrImagePull", "message": words})
    sidecar = scene.cluster.container(running={}) | {"name": "istio-proxy"}
    crashed = scene.cluster.container(
        terminated={"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:00Z"}
    )
    statuses = [waiting, sidecar, crashed | {"name": "vault-agent"}]
    scene.cluster.on_create = lambda job: scene.start(phase="Pending", containerStatuses=statuses)
    with pytest.raises(TrainingError, match=r"^training cannot start: image image:1 cannot be pulled: "):
        scene.launch()
    assert not [line for line in scene.said if "out of memory" in line]


def test_a_store_that_is_away_for_a_moment_ends_no_training(scene):
    answers = iter([StoreError("away"), False, True, True])

    def has_result():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    result = Arrival(has_result, 0.02)
    scene.until(result.is_settled, 5)
    assert len(list(answers)) == 1


@pytest.mark.parametrize("fault", ["away", "errors"])
def test_an_api_server_that_is_away_for_a_while_is_waited_for(scene, fault):
    def fail():
        if fault == "away":
            scene.cluster.go_away(3.0)
        else:
            scene.cluster.failures = [500, 503, 429, 502]

    scene.later(fail, lambda: scene.say(1, event="warning", message="still here"), scene.succeed)
    scene.launch()
    assert scene.said.count('rank 1: {"event": "warning", "message": "still here"}') == 1


def test_an_api_server_that_stays_away_is_one_line(tmp_path, monkeypatch):
    with _scene(tmp_path, monkeypatch, patience=0.5) as scene:
        scene.cluster.go_away(60)
        with pytest.raises(ClusterError) as away:
            scene.launch()
    assert str(away.value).startswith("the API server 127.0.0.1:") and str(away.value).endswith(
        "; check KUBECONFIG and the network"
    )


@pytest.mark.parametrize("retry_after", ["0", "1", "soon"])
def test_an_overloaded_server_is_asked_again(scene, retry_after):
    scene.cluster.failures, scene.cluster.retry_after = [429], retry_after
    assert scene.of_kind.get(scene.api, "none", NAMESPACE) is None
    assert scene.cluster.requests[-2:] == [f"GET {scene.cluster.operator.jobs}"] * 2


def test_a_server_that_asks_to_wait_for_longer_than_anybody_does_is_asked_once(scene):
    scene.cluster.failures, scene.cluster.retry_after = [429], "3600"
    with pytest.raises(ClusterError, match=r"^the API server refuses GET .*: as told$"):
        scene.of_kind.get(scene.api, "none", NAMESPACE)
    assert scene.cluster.requests == [f"GET {scene.cluster.operator.jobs}"]


def test_a_right_that_is_missing_is_one_line_at_once(scene):
    scene.cluster.forbidden.add(scene.cluster.operator.jobs)
    with pytest.raises(ClusterError) as refused:
        scene.launch()
    of = scene.cluster.operator
    path = f"/apis/{of.group}/{of.version}/namespaces/tests/{of.jobs}"
    assert (
        str(refused.value)
        == f"the API server refuses POST {path}: {of.jobs} is forbidden; give the account this right, see"
        " k8s/base"
    )
    assert scene.cluster.requests.count(f"POST {scene.cluster.operator.jobs}") == 1


def test_no_node_is_told_once_and_ends_the_wait_for_the_start(scene):
    words = (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are"
        " available: 1 No preemption victims found"
    )
    _waiting_for_a_node(scene, words)
    with pytest.raises(TrainingError) as failed:
        scene.launch(start_minutes=0.01)
    line = (
        f"no node for pod {scene.pods[0]}: 0/1 nodes are available: 1 Insufficient cpu; wait for one, or ask"
        " for less in cluster.training"
    )
    assert scene.said.count(line) == 1 and not any(scene.pods[1] in line for line in scene.said)
    assert str(failed.value).startswith(
        "training did not start within cluster.start_minutes (0.01): no node for pod train-run-1-"
    )


def _waiting_for_a_node(scene, words):
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    scene.cluster.on_create = lambda job: scene.start(phase="Pending", conditions=[condition])


def test_an_image_that_does_not_exist_is_not_waited_for(scene):
    words = 'Back-off pulling image "image:1": ErrImagePull: image:1: not found'
    waiting = scene.cluster.container(waiting={"reason": "ImagePullBackOff", "message": words})
    scene.cluster.on_create = lambda job: scene.start(phase="Pending", containerStatuses=[waiting])
    with pytest.raises(TrainingError) as failed:
        scene.launch()
    expected = f"image image:1 cannot be pulled: {words}; check its name, its registry and imagePullSecrets"
    assert str(failed.value) == f"training cannot start: {expected}"
    assert scene.said.count(expected) == 1


def test_a_quota_is_told_from_the_jobs_events_once_for_all_pods(scene):
    def refuse(job):
        for index in range(3):
            scene.cluster.event(
                job, f'Error creating: pods "x-worker-{index}" is forbidden: exceeded quota: small'
            )

    scene.cluster.on_create = refuse
    with pytest.raises(TrainingError):
        scene.launch(start_minutes=0.01)
    told = [line for line in scene.said if "exceeded quota" in line]
    assert told == [
        f'{scene.kind} {scene.job}: Error creating: pods "x-worker-2" is forbidden: exceeded quota: small'
    ]


def test_without_the_right_to_read_events_the_wait_goes_on(scene):
    scene.cluster.forbidden.add("events")
    scene.cluster.on_create = lambda job: None
    scene.later(scene.start, scene.succeed, wait=0.8)
    scene.launch()
    assert (
        f"{scene.kind} {scene.job} has no pods yet; does its operator run? See: lossmap doctor"
        " --cluster" in scene.said
    )


def test_a_missing_secret_is_named(scene):
    waiting = scene.cluster.container(
        waiting={"reason": "CreateContainerConfigError", "message": 'secret "lossmap-object-store" not found'}
    )
    scene.cluster.on_create = lambda job: scene.start(phase="Pending", containerStatuses=[waiting])
    with pytest.raises(TrainingError):
        scene.launch(start_minutes=0.01)
    assert f'pod {scene.pods[0]} cannot start: secret "lossmap-object-store" not found' in scene.said


def test_time_in_a_queue_does_not_count(scene):
    scene.cluster.on_create = lambda job: _queue(scene, job)
    scene.later(lambda: _admit(scene), scene.succeed, wait=1.2)
    scene.launch(start_minutes=0.01, queue="research")
    assert scene.said.count(f"{scene.job} is queued by Kueue in research, at place 2: {NO_ROOM}") == 1


NO_ROOM = "insufficient unused quota for nvidia.com/gpu"


def _queue(scene, job, *evicted):
    scene.cluster.suspend(scene.job, True)
    waits = {"type": "QuotaReserved", "status": "False", "message": NO_ROOM}
    scene.cluster.queue(job, *evicted, waits, place=2)


def _admit(scene):
    scene.cluster.suspend(scene.job, False)
    scene.start()


def test_a_preemption_is_told_also_where_the_job_waited_before(scene):
    def preempt():
        job = scene.cluster.jobs[scene.job]
        _queue(scene, job, {"type": "Evicted", "status": "True", "message": "Preempted by x."})

    scene.cluster.on_create = lambda job: _queue(scene, job)
    scene.later(lambda: _admit(scene), preempt, lambda: _admit(scene), scene.succeed, wait=0.6)
    scene.launch(queue="research")
    told = [line.partition(", at place 2: ")[2] for line in scene.said if "is queued" in line]
    assert told == [NO_ROOM, f"Preempted by x; {NO_ROOM}"]


def test_time_in_which_kueue_holds_pods_back_one_by_one_does_not_count(scene):
    def gate(job):
        scene.start(phase="Pending", conditions=[GATED])
        for name in scene.pods:
            pod = scene.cluster.objects["pods"][name]
            pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
            pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "research"

    scene.cluster.on_create = gate
    scene.later(scene.start, scene.succeed, wait=1.2)
    scene.launch(start_minutes=0.01)
    assert scene.said.count(f"pod {scene.pods[0]} is queued by Kueue in research") == 1


GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def test_somebody_elses_gate_is_named_and_counts(scene):
    def gate(job):
        scene.start(phase="Pending", conditions=[GATED])
        for name in scene.pods:
            scene.cluster.objects["pods"][name]["spec"]["schedulingGates"] = [{"name": "example.com/gate"}]

    scene.cluster.on_create = gate
    told = rf"\(0\.01\): pod {scene.pods[0]} is held back by example.com/gate"
    with pytest.raises(TrainingError, match=told):
        scene.launch(start_minutes=0.01)


def test_a_pod_that_was_lost_is_followed_under_its_new_identity(scene):
    def lose():
        scene.cluster.print(scene.pods[1], "[rank 1]: before")
        time.sleep(0.3)
        scene.cluster.add_pod(scene.pods[1], scene.job)
        scene.cluster.print(scene.pods[1], "[rank 1]: after")

    scene.later(lose, scene.succeed, wait=1.0)
    scene.launch()
    assert [line for line in scene.said if line.startswith("rank 1")] == ["rank 1: before", "rank 1: after"]
    assert scene.said.count(f"pod {scene.pods[1]} was lost, and is made anew") == 1


@pytest.mark.parametrize(
    ("groups", "asked", "expected"),
    [
        ({"kubeflow.org": ["pytorchjobs"], "trainer.kubeflow.org": ["trainjobs"]}, "auto", "PyTorchJob"),
        ({"kubeflow.org": ["pytorchjobs"], "trainer.kubeflow.org": ["trainjobs"]}, "trainjob", "TrainJob"),
        ({"trainer.kubeflow.org": ["trainjobs"]}, "auto", "TrainJob"),
        (
            {"trainer.kubeflow.org": ["trainjobs"]},
            "pytorchjob",
            "cluster.trainer is pytorchjob, and the cluster has no pytorchjobs.kubeflow.org; install the"
            " training operator (k8s/third-party), or set cluster.trainer=auto",
        ),
        (
            {"apps": ["deployments"]},
            "auto",
            "the cluster has neither pytorchjobs.kubeflow.org nor trainjobs.trainer.kubeflow.org; install"
            " Kubeflow Trainer or the training operator (k8s/third-party)",
        ),
    ],
)
def test_the_kind_is_what_the_cluster_has(tmp_path, monkeypatch, groups, asked, expected):
    with _scene(tmp_path, monkeypatch, operator=TRAINER) as scene:
        scene.cluster.groups = groups
        try:
            found = chosen_kind(scene.api, asked).name
        except ClusterError as error:
            found = str(error)
    assert found == expected


KUBECONFIG = """\
{{apiVersion: v1, kind: Config, current-context: c, users: [{{name: u, user: {{}}}}],
clusters: [{{name: k, cluster: {{server: "{}"}}}}],
contexts: [{{name: c, context: {{cluster: k, user: u}}}}]}}
"""


@pytest.mark.parametrize(
    ("groups", "asked", "refused"),
    [
        ({"trainer.kubeflow.org": ["trainjobs"]}, "auto", True),
        ({"trainer.kubeflow.org": ["trainjobs"]}, "pytorchjob", False),
        ({"kubeflow.org": ["pytorchjobs"], "trainer.kubeflow.org": ["trainjobs"]}, "auto", False),
        ({"apps": ["deployments"]}, "trainjob", True),
        ({"apps": ["deployments"]}, "auto", False),
    ],
)
def test_what_trainjobs_cannot_say_is_refused_where_the_cluster_trains_by_them(
    tmp_path, monkeypatch, groups, asked, refused
):
    with _scene(tmp_path, monkeypatch, operator=TRAINER) as scene:
        scene.cluster.groups = groups
        (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(scene.api.host))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        check_trainer(experiment.Cluster(trainer=asked))
        told = nullcontext()
        if refused:
            told = pytest.raises(ExperimentError, match=r"^cluster.priority_class is high, which a TrainJob")
        with told:
            check_trainer(experiment.Cluster(trainer=asked, priority_class="high"))
