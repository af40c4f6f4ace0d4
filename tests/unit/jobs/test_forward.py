import pytest

from lossmap.components.jobs.forward import in_cluster


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
