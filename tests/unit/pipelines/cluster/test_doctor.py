"""What the doctor says of a namespace in which runs are to be."""

import pytest
from fakes.kubernetes_api import NAMESPACE, Cluster, served

from lossmap.components.config.settings import Settings
from lossmap.pipelines.cluster.doctor import examine_cluster

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def cluster():
    return Cluster()


def _finding(cluster, name, tmp_path, monkeypatch):
    with served(cluster) as address:
        (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(address))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        found = examine_cluster(
            Settings(namespace=NAMESPACE, image="image:1", pipelines="http://127.0.0.1:9")
        )
    return {each.name: each for each in found}[name]


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: tests
clusters: [{{name: tests, cluster: {{server: "{}"}}}}]
contexts: [{{name: tests, context: {{cluster: tests, user: tests}}}}]
users: [{{name: tests, user: {{}}}}]
"""


@pytest.mark.parametrize(
    ("accounts", "ok", "detail"),
    [
        (("lossmap-run", "lossmap-training"), True, "not in tests, where the accounts' roles give the keys"),
        (("lossmap-run",), False, "not in tests"),
    ],
)
def test_keys_of_s3_are_missing_unless_a_role_of_both_accounts_gives_them(
    cluster, tmp_path, monkeypatch, accounts, ok, detail
):
    for name in ("lossmap-run", "lossmap-training"):
        role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/s3"} if name in accounts else {}
        cluster.objects["serviceaccounts"][name] = {"metadata": {"name": name, "annotations": role}}
    found = _finding(cluster, "Secret lossmap-object-store", tmp_path, monkeypatch)
    assert (found.ok, found.detail) == (ok, detail)
