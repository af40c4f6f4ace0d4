import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import boto3
import pytest
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError
from cluster.kubectl import forward, get, kubectl, run_python, wait_for_deployment
from mlflow import MlflowClient
from readmes.rights import cluster_rights

from lossmap.components.stores.objects import open_store

pytestmark = pytest.mark.cluster

RUN_AND_ARTIFACT = """
from mlflow import MlflowClient
import os
client = MlflowClient(os.environ["LOSSMAP_TRACKING"])
run = client.create_run("0")
client.log_metric(run.info.run_id, "error", 0.25)
client.log_text(run.info.run_id, "surface", "note.txt")
client.set_terminated(run.info.run_id)
print(run.info.run_id)
"""

STORE = """
from lossmap.components.config.settings import Settings
from lossmap.components.stores.objects import open_store
store = open_store(Settings().store)
print(store.read("from-outside").decode())
store.write("from-a-pod", b"written in a pod")
"""

WITHOUT_TOKEN = """
import os, urllib.request, urllib.error
assert not os.path.exists("/var/run/secrets/kubernetes.io"), "there is a token"
print(open("/proc/self/status").read())
try:
    open("/opt/lossmap/new", "w")
except OSError as error:
    print("read-only:", error.errno)
"""


def test_every_pod_satisfies_restricted_pod_security(installation):
    labels = get("namespace", installation.services)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for pod in get("pods", "--namespace", installation.services)["items"]
    } == {
        "mlflow",
        "object-store",
    }
    # Another version of the standard makes Kubernetes look at the pods that are there again.
    standard = [
        f"pod-security.kubernetes.io/{name}" for name in ("enforce=restricted", "enforce-version=v1.28")
    ]
    command = [
        "kubectl",
        "label",
        "--dry-run=server",
        "--overwrite",
        "namespace",
        installation.services,
        *standard,
    ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


def test_the_object_store_refuses_who_has_no_key(installation, s3_forward):
    anonymous = boto3.client("s3", config=Config(signature_version=UNSIGNED))
    wrong = boto3.client(
        "s3", aws_access_key_id=installation.keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong"
    )
    for client in (anonymous, wrong):
        for call in (
            lambda client=client: client.list_objects_v2(Bucket="lossmap"),
            lambda client=client: client.put_object(Bucket="lossmap", Key="x"),
        ):
            with pytest.raises(ClientError) as refused:
                call()
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_the_store_is_the_same_from_this_machine_and_from_a_pod(installation, s3_forward, run_namespace):
    store = open_store("s3://lossmap/store")
    store.write("from-outside", b"written outside")
    assert run_python(run_namespace, installation.image, STORE).strip() == "written outside"
    assert store.read("from-a-pod") == b"written in a pod"


def test_mlflow_keeps_a_run_and_its_artifact_through_the_service(mlflow_forward):
    with mlflow_forward() as port:
        client = MlflowClient(f"http://127.0.0.1:{port}")
        run = client.create_run("0").info.run_id
        client.log_metric(run, "error", 0.25)
        client.log_text(run, "surface", "note.txt")
        assert client.get_run(run).data.metrics == {"error": 0.25}
        assert Path(client.download_artifacts(run, "note.txt")).read_text() == "surface"


def test_mlflow_answers_pods_by_its_name_and_keeps_artifacts_in_the_object_store(
    installation, mlflow_forward, s3_forward, run_namespace
):
    run = run_python(run_namespace, installation.image, RUN_AND_ARTIFACT).strip().splitlines()[-1]
    with mlflow_forward() as port:
        assert MlflowClient(f"http://127.0.0.1:{port}").get_run(run).data.metrics == {"error": 0.25}
    assert open_store("s3://lossmap/mlflow").read(f"0/{run}/artifacts/note.txt") == b"surface"


def test_the_pods_of_a_run_have_no_token_no_right_to_write_and_no_privilege(installation, run_namespace):
    printed = run_python(run_namespace, installation.image, WITHOUT_TOKEN)
    assert "Uid:\t1000\t1000" in printed
    assert "CapBnd:\t0000000000000000" in printed
    assert "read-only: 30" in printed


def test_mlflow_finds_its_runs_again_after_a_restart(installation, mlflow_forward):
    if not installation.keeps_data:
        pytest.skip("the cluster has no volumes to give")
    with mlflow_forward() as port:
        run = MlflowClient(f"http://127.0.0.1:{port}").create_run("0", run_name="kept").info.run_id
    kubectl(
        "--namespace",
        installation.services,
        "delete",
        "pod",
        "--selector=app.kubernetes.io/name=mlflow",
        "--now",
    )
    wait_for_deployment(installation.services, "mlflow")
    with mlflow_forward() as port:
        assert MlflowClient(f"http://127.0.0.1:{port}").get_run(run).info.run_name == "kept"


REFUSED = """\
get secrets
list secrets
get secrets=lossmap-object-store
get secrets=mysql-secret
get configmaps=lossmap
list configmaps
create pods
delete pods
create pods/exec
create services
delete services
update pytorchjobs.kubeflow.org
create trainingruntimes.trainer.kubeflow.org
create jobs.batch
delete jobs.batch
deletecollection pytorchjobs.kubeflow.org
patch workflows.argoproj.io
create workflows.argoproj.io
delete workflows.argoproj.io
create rolebindings.rbac.authorization.k8s.io
create serviceaccounts/token
impersonate serviceaccounts
delete persistentvolumeclaims"""
REFUSED_PEOPLE = """\
get secrets
list secrets
get secrets=lossmap-object-store
list configmaps
update configmaps=lossmap
create pods
delete pods
create pods/exec
create services
get services/proxy=metadata-ui
create pytorchjobs.kubeflow.org
patch pytorchjobs.kubeflow.org
deletecollection pytorchjobs.kubeflow.org
create trainjobs.trainer.kubeflow.org
create workflows.argoproj.io
delete workflows.argoproj.io
create rolebindings.rbac.authorization.k8s.io
create serviceaccounts/token
impersonate serviceaccounts
delete persistentvolumeclaims"""
RIGHTS = {who: sorted(rights) for who, rights in cluster_rights().items()}


def _allowed(account: str, namespace: str, asked: Sequence[str]) -> list[str]:
    """Those lines, `verb resource.group/subresource=name`, that the account may do in the namespace."""
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{account}",
                "resourceAttributes": _attributes(line, namespace),
            },
        }
        for line in asked
    ]
    answers = kubectl(
        "create",
        "--filename=-",
        "--output=jsonpath={.status.allowed} ",
        text=json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews}),
    )
    return [line for line, answer in zip(asked, answers.split(), strict=True) if answer == "true"]


def _attributes(line: str, namespace: str) -> dict[str, str]:
    verb, resource = line.split()
    resource, _, name = resource.partition("=")
    resource, _, subresource = resource.partition("/")
    resource, _, group = resource.partition(".")
    return {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "name": name,
    }


def test_the_account_of_the_steps_may_do_what_it_must_and_no_more(installation):
    account, rights = f"{installation.runs}:lossmap-run", RIGHTS["lossmap-run", "kubeflow"]
    assert _allowed(account, installation.runs, [*rights, *REFUSED.split("\n")]) == rights


def test_people_may_do_what_they_must_and_no_more(installation, person):
    account, refused = f"{installation.runs}:person", REFUSED_PEOPLE.split("\n")
    there, services = RIGHTS["lossmap-user", "kubeflow"], RIGHTS["lossmap-user", "lossmap"]
    assert _allowed(account, installation.runs, [*there, *refused]) == there
    assert _allowed(account, installation.services, [*services, *refused]) == services


def test_the_accounts_of_the_steps_elsewhere_of_training_and_of_services_may_do_nothing(installation):
    everything = sorted({*REFUSED.split("\n"), *(right for rights in RIGHTS.values() for right in rights)})
    for account, namespace in (
        (f"{installation.runs}:lossmap-run", installation.services),
        (f"{installation.runs}:lossmap-training", installation.runs),
        (f"{installation.runs}:lossmap-training", installation.services),
        (f"{installation.services}:default", installation.services),
        (f"{installation.services}:default", installation.runs),
    ):
        assert _allowed(account, namespace, everything) == [], account


def test_applying_again_changes_nothing(installation):
    pods = ["pods", "--namespace", installation.services]
    before = {pod["metadata"]["uid"] for pod in get(*pods)["items"]}
    kubectl("apply", "--server-side", "--kustomize", str(installation.kustomization))
    assert kubectl("diff", "--server-side", "--kustomize", str(installation.kustomization)) == ""
    assert {pod["metadata"]["uid"] for pod in get(*pods)["items"]} == before


def test_a_way_to_a_service_that_is_not_there_says_so(installation):
    with (
        pytest.raises(AssertionError, match='services "nothing" not found'),
        forward(installation.services, "nothing", 1),
    ):
        pass
