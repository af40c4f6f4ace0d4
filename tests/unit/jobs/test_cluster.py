import socket
import threading
import time

import pytest
from fakes.kubernetes_api import NAMESPACE, Cluster, container, served
from kubernetes import client

from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs import cluster as look
from lossmap.components.jobs.connection import ApiError, api_at, connect
from lossmap.components.jobs.stop import stop
from lossmap.components.jobs.waiting import waiting_jobs, waiting_pods, why_waiting


@pytest.fixture
def there():
    """A cluster with one pod, and the way to it."""
    cluster = Cluster()
    cluster.add_pod("pod")
    with served(cluster) as address:
        yield cluster, api_at(client.Configuration(host=address), NAMESPACE, 20.0)


def _read(api, lines, follow=True):
    thread = threading.Thread(
        target=lambda: lines.extend(look.pod_log(NAMESPACE, "pod", "pytorch", follow, api)), daemon=True
    )
    thread.start()
    return thread


def _until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_a_log_is_read_until_now(there):
    cluster, api = there
    for line in ("first", "", "third  with spaces"):
        cluster.print("pod", line)
    assert list(look.pod_log(NAMESPACE, "pod", "pytorch", api=api)) == ["first", "", "third  with spaces"]


def test_what_the_kubelet_says_in_place_of_a_log_is_no_line_of_it(there):
    cluster, api = there
    cluster.logs["pod", 0] = ["unable to retrieve container logs for containerd://0123"]
    cluster.print("pod", "first")
    assert list(look.pod_log(NAMESPACE, "pod", "pytorch", api=api)) == ["first"]


def test_a_followed_log_has_each_line_once_across_cuts(there):
    cluster, api = there
    lines = []
    thread = _read(api, lines)
    printed = [f"line {number // 2}" for number in range(60)]  # every line twice, which is no repetition
    for number, line in enumerate(printed):
        cluster.print("pod", line)
        if number % 20 == 19:
            _until(lambda wanted=number + 1: len(lines) == wanted)
            cluster.cut()
    cluster.status("pod")["phase"] = "Succeeded"
    thread.join(20)
    assert lines == printed


def test_a_followed_log_goes_on_after_an_outage_and_a_restart(there):
    cluster, api = there
    lines = []
    thread = _read(api, lines)
    cluster.print("pod", "before")
    _until(lambda: lines == ["before"])
    cluster.go_away(1.5)
    cluster.print("pod", "while away")
    cluster.print("pod", "last words")
    cluster.restart("pod", 1)
    cluster.print("pod", "again")
    _until(lambda: len(lines) == 4)
    cluster.status("pod")["phase"] = "Succeeded"
    thread.join(20)
    assert lines == ["before", "while away", "last words", "again"]


def test_a_pod_that_has_not_started_is_waited_for_and_one_that_is_gone_is_not(there):
    cluster, api = there
    cluster.status("pod")["containerStatuses"] = [container(waiting={"reason": "ContainerCreating"})]
    lines = []
    thread = _read(api, lines)
    time.sleep(0.2)
    cluster.status("pod")["containerStatuses"] = [container(running={})]
    cluster.print("pod", "started")
    _until(lambda: lines == ["started"])
    cluster.objects["pods"].clear()
    thread.join(20)
    assert not thread.is_alive()


def test_the_log_of_another_pod_of_the_same_name_is_not_read(there):
    cluster, api = there
    lines = []
    thread = _read(api, lines)
    time.sleep(0.2)
    cluster.restart("pod", 1)
    cluster.add_pod("pod")
    cluster.print("pod", "somebody else's")
    thread.join(20)
    assert not thread.is_alive() and lines == []


def test_pods_come_oldest_first_and_say_why_they_wait(there):
    cluster, api = there
    cluster.add_pod(
        "older",
        "job",
        phase="Pending",
        containerStatuses=[container(waiting={"reason": "InvalidImageName", "message": "couldn't parse X"})],
    )
    cluster.objects["pods"]["older"]["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z"
    found = look.pods(NAMESPACE, "", api)
    assert [pod.metadata.name for pod in found] == ["older", "pod"]
    expected = (
        "image image:1 cannot be pulled: couldn't parse X; check its name, its registry and imagePullSecrets"
    )
    assert [why_waiting(api, pod) for pod in found] == [expected, None]
    assert [pod.metadata.name for pod in look.pods(NAMESPACE, "training.kubeflow.org/job-name=job", api)] == [
        "older"
    ]


QUEUED = {"kueue.x-k8s.io/queue-name": "research", "lossmap/run": "a"}
WAITS = {"type": "QuotaReserved", "status": "False", "message": "insufficient unused quota."}
OLD = {"type": "QuotaReserved", "status": "True", "message": "Quota reserved"}


def _queued_job(cluster, name, suspended=True):
    metadata = {"name": name, "uid": f"uid of {name}", "labels": QUEUED}
    specification = {"runPolicy": {"suspend": suspended}, "pytorchReplicaSpecs": {}}
    job = {"apiVersion": "kubeflow.org/v1", "metadata": metadata, "spec": specification}
    cluster.objects["pytorchjobs"][name] = job
    return job


def test_a_job_in_a_queue_says_at_what_place_and_why_and_others_say_nothing(there):
    cluster, api = there
    cluster.queue(_queued_job(cluster, "other", suspended=False), OLD, place=1)
    cluster.queue(_queued_job(cluster, "mine"), WAITS, place=3)
    told = "mine is queued by Kueue in research, at place 3: insufficient unused quota"
    assert waiting_jobs(api, NAMESPACE, "lossmap/run=a") == [told]
    assert waiting_jobs(api, NAMESPACE, "lossmap/run=b") == []


def test_a_job_that_has_just_been_admitted_is_about_to_start(there):
    cluster, api = there
    cluster.queue(_queued_job(cluster, "mine"), OLD, place=1)
    told = "mine has room in research of Kueue, and is about to start"
    assert waiting_jobs(api, NAMESPACE, "lossmap/run=a") == [told]


@pytest.mark.parametrize(
    ("forbidden", "told"),
    [
        ("pendingworkloads", ["mine is queued by Kueue in research: insufficient unused quota"]),
        ("workloads", ["mine is queued by Kueue in research"]),
        ("pytorchjobs", []),
    ],
)
def test_what_an_account_may_not_see_of_a_queue_is_left_out(there, forbidden, told):
    cluster, api = there
    cluster.queue(_queued_job(cluster, "mine"), WAITS, place=3)
    cluster.forbidden.add(forbidden)
    assert waiting_jobs(api, NAMESPACE, "lossmap/run=a") == told


def test_a_pod_in_a_queue_says_at_what_place_and_why(there):
    cluster, api = there
    pod = cluster.add_pod("queued", phase="Pending")
    pod["metadata"]["labels"] |= QUEUED
    pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    cluster.queue(pod, WAITS, place=2)
    told = "pod queued is queued by Kueue in research, at place 2: insufficient unused quota"
    assert waiting_pods(api, NAMESPACE, "lossmap/run=a") == [told]


def test_rights_and_kinds_are_asked_for(there):
    _, api = there
    assert look.can_i("create", "pytorchjobs", NAMESPACE, "kubeflow.org", api=api)
    assert not look.can_i("delete", "pytorchjobs", NAMESPACE, "kubeflow.org", api=api)
    assert look.crds(api) == {"pytorchjobs.kubeflow.org"}


def test_stop_deletes_what_is_selected_and_nothing_else(there):
    cluster, api = there
    for name, run in (("mine", "a"), ("other", "b")):
        cluster.objects["pytorchjobs"][name] = {"metadata": {"name": name, "labels": {"lossmap/run": run}}}
        cluster.add_pod(f"{name}-worker-0", name)
    assert stop(NAMESPACE, "lossmap/run=a", api) == []
    assert list(cluster.objects["pytorchjobs"]) == ["other"]
    assert set(cluster.objects["pods"]) == {"pod", "other-worker-0"}
    assert stop(NAMESPACE, "lossmap/run=a", api) == []


def test_stop_says_what_is_left(there):
    cluster, api = there
    labels = {"training.kubeflow.org/job-name": "mine"}
    cluster.objects["pytorchjobs"]["mine"] = {"metadata": {"name": "mine", "labels": {"lossmap/run": "a"}}}
    cluster.objects["services"]["stuck"] = {"metadata": {"name": "stuck", "labels": labels}}
    assert stop(NAMESPACE, "lossmap/run=a", api, seconds=0.5) == ["service stuck"]


def test_stop_works_without_the_right_to_list_services_and_without_an_operator(there):
    cluster, api = there
    cluster.objects["pytorchjobs"]["mine"] = {"metadata": {"name": "mine", "labels": {"lossmap/run": "a"}}}
    cluster.forbidden.add("services")
    assert stop(NAMESPACE, "lossmap/run=a", api) == []
    cluster.failures = [404]
    assert stop(NAMESPACE, "lossmap/run=a", api) == []


def test_without_a_cluster_the_cure_is_kubeconfig(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError) as absent:
        connect()
    assert str(absent.value).startswith("no cluster: ") and str(absent.value).endswith(
        "; set KUBECONFIG to a file that names one"
    )
    (tmp_path / "none").write_text("{")
    with pytest.raises(ClusterError) as broken:
        connect()
    assert "\n" not in str(broken.value) and str(broken.value).endswith(
        "; set KUBECONFIG to a file that names one"
    )


def test_a_kubeconfig_names_the_server_and_the_namespace(monkeypatch, tmp_path):
    path = tmp_path / "config"
    path.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: k, cluster: {server:"
        " 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}], contexts: [{name: c, context: {cluster: k,"
        " user: u, namespace: mine}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    api = connect(0.1)
    assert (api.host, api.namespace) == ("http://127.0.0.1:1", "mine")
    with pytest.raises(ApiError) as refused:
        look.pods("mine", "", api)
    assert (
        str(refused.value).startswith("the API server 127.0.0.1:1 is out of reach: ")
        and refused.value.status is None
    )


def test_a_server_that_accepts_and_says_nothing_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("lossmap.components.jobs.connection._READ_SECONDS", 0.3)
        api = api_at(client.Configuration(host=f"http://127.0.0.1:{server.getsockname()[1]}"), NAMESPACE, 0.1)
        with pytest.raises(ApiError, match=r"is out of reach: .*timed out"):
            api.get_job("x", NAMESPACE)
