import socket

import pytest
from fakes.kubernetes_api import NAMESPACE, Cluster, served
from kubernetes import client

from lossmap.components.jobs.connection import ApiError, api_at
from lossmap.components.jobs.forward import in_cluster, reached


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


@pytest.mark.parametrize("forbidden", [(), ("endpoints",)])
def test_a_host_of_two_parts_that_is_no_service_is_spoken_to_as_it_is(monkeypatch, forbidden):
    monkeypatch.setattr("socket.getaddrinfo", _known("mlflow.corp"))
    cluster = Cluster()
    cluster.forbidden.update(forbidden)
    with served(cluster) as address:
        api = api_at(client.Configuration(host=address), NAMESPACE, 1.0)
        with reached(api, "http://mlflow.corp:5000/path", NAMESPACE) as place:
            assert place == "http://mlflow.corp:5000/path"
        with reached(api, "https://mlflow.example.org", NAMESPACE) as place:
            assert place == "https://mlflow.example.org"
        with (
            pytest.raises(ApiError, match="endpoints"),
            reached(api, "http://mlflow.lossmap:5000", NAMESPACE),
        ):
            pass


def _known(name, lookup=socket.getaddrinfo):
    """Knows one name and numbers, as where a company's names lead nowhere else."""

    def look(host, *arguments, **options):
        if host == name or host.replace(".", "").isdigit():
            return lookup("127.0.0.1", *arguments, **options)
        raise socket.gaierror(-2, "Name or service not known")

    return look
