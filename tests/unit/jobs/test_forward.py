import gc
import socket
import threading
import urllib.request

import pytest
from fakes.kubernetes_api import NAMESPACE, Cluster, served
from kubernetes import client

from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs.connection import api_at
from lossmap.components.jobs.forward import in_cluster, port_forward, reached


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://mlflow.lossmap:5000", ("lossmap", "mlflow", 5000)),
        ("http://mlflow.lossmap.svc:5000", ("lossmap", "mlflow", 5000)),
        ("http://mlflow.lossmap.svc.cluster.local", ("lossmap", "mlflow", 80)),
        ("https://mlflow.lossmap/path", ("lossmap", "mlflow", 443)),
        ("http://mlflow:5000", ("kubeflow", "mlflow", 5000)),
        ("https://mlflow.example.org", None),
        ("https://s3.eu-central-1.amazonaws.com", None),
        ("", None),
    ],
)
def test_addresses_in_the_cluster_are_told_from_others(uri, expected):
    assert in_cluster(uri, "kubeflow") == expected


# Threads that a forward leaves behind keep their sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Not in the tests of another file, where such a socket is an error."""
    yield
    gc.collect()


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def api(cluster):
    with served(cluster) as address:
        yield api_at(client.Configuration(host=address), NAMESPACE, 0.0)


def _answer(address):
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def test_each_connection_goes_to_a_pod_that_is_ready_then(api, cluster):
    for pod in ("first", "second"):
        cluster.add_pod(pod)
    cluster.serve("ui", "first")
    with port_forward(api, NAMESPACE, "ui", 80) as address:
        assert [_answer(address), _answer(address)] == ["first", "first"]
        del cluster.objects["pods"]["first"]
        cluster.serve("ui", "first")  # the endpoints do not know yet
        threading.Timer(0.3, cluster.serve, ("ui",)).start()
        threading.Timer(0.9, cluster.serve, ("ui", "second")).start()
        assert _answer(address) == "second"


def test_a_service_without_pods_is_told_at_once(api, cluster):
    cluster.serve("ui")
    with pytest.raises(ClusterError, match=r"^service ui in tests has no pod that is ready; look at it: "):
        port_forward(api, NAMESPACE, "ui", 80).__enter__()


@pytest.mark.parametrize("forbidden", [(), ("endpoints",)])
def test_a_host_of_two_parts_that_is_no_service_is_spoken_to_as_it_is(api, cluster, monkeypatch, forbidden):
    lookup, known = socket.getaddrinfo, {"mlflow.corp": "localhost"}
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda host, *others, **how: lookup(known.get(host, host), *others, **how)
    )
    cluster.forbidden.update(forbidden)
    with reached(api, "http://mlflow.corp:5000/path", NAMESPACE) as address:
        assert address == "http://mlflow.corp:5000/path"
    with pytest.raises(ClusterError, match="endpoints"):
        reached(api, "http://nobody-knows.lossmap:5000", NAMESPACE).__enter__()


def test_a_service_is_forwarded_with_its_path(api, cluster):
    cluster.serve("mlflow", "pod")
    with reached(api, "http://mlflow.tests:5000/path", "kubeflow") as address:
        assert address.startswith("http://127.0.0.1:") and address.endswith("/path")
