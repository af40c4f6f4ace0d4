"""What a run may ask of a cluster, and what is refused before anything starts."""

import pytest

from lossmap.components.config.cluster import Resources
from lossmap.components.config.parse import override
from lossmap.components.config.pod import Pod
from lossmap.components.config.quantities import millicores, whole_bytes
from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.recipes.registry import load


@pytest.mark.parametrize(
    ("memory", "amount"),
    [
        ("128974848", 128974848),
        ("129e6", 129_000_000),
        ("129M", 129_000_000),
        ("123Mi", 123 * 1024 * 1024),
        ("1.5Gi", 1536 * 1024 * 1024),
        (".5Gi", 512 * 1024 * 1024),
        ("2000000k", 2_000_000_000),
        ("1Ei", 1 << 60),
        ("1E", 10**18),
        ("0.0000000001Gi", 1),
    ],
)
def test_memory_is_read_as_kubernetes_reads_it(memory, amount):
    assert whole_bytes(memory) == amount


@pytest.mark.parametrize(("cpu", "amount"), [("500m", 500), ("0.1", 100), ("2", 2000), ("0.0001", 1)])
def test_cpu_is_read_as_kubernetes_reads_it(cpu, amount):
    assert millicores(cpu) == amount


def test_numbers_of_yaml_are_amounts():
    asked = Resources(cpu=2, cpu_limit=2.5, memory=2_000_000_000)
    assert (asked.cpu, asked.most_cpu, asked.memory) == ("2", "2.5", "2000000000")


REFUSED = {
    "training.cpu=2Gi": (
        "training.cpu: '2Gi' is no amount of CPU, expected a number of cores such as 500m, 0.5 or 2"
    ),
    "survey.memory=1.5gb": (
        "survey.memory: '1.5gb' is no amount of memory, expected an amount such as 500Mi, 1.5Gi or 2G"
    ),
    "steps.memory=32": (
        "steps.memory: '32' is less than a megabyte, expected at least 1Mi; does a unit such as Gi miss?"
    ),
    "steps.cpu=0": "steps.cpu: '0' is no CPU at all, expected at least 1m",
    "training.cpu_limit=0.1": "training: cpu_limit is 0.1, expected at least cpu (500m)",
    "tolerations=[{operator: Equal, value: ml}]": (
        "tolerations.0: operator is Equal and there is no key, expected a key, or operator Exists"
    ),
    "tolerations=[{key: dedicated, value: ml}]": (
        "tolerations.0: value is 'ml' and operator is Exists, expected operator Equal"
    ),
    "node_selector={a b: c}": (
        "node_selector.a b: 'a b' is no key of a label, expected such as kubernetes.io/arch or pool"
    ),
    "priority_class=High": (
        "priority_class: 'High' is no name of a Kubernetes object, expected lower-case letters, digits,"
        " dashes"
    ),
    "pod.user=0": "pod.user is 0, expected greater than 0",
    "pod.labels={pipeline/runid: mine}": (
        "pod.labels: pipeline/runid is a label by which a run is found, expected another"
    ),
    "pod.variables={LOSSMAP_STORE: x}": (
        "pod: LOSSMAP_STORE is a variable that lossmap sets itself, expected another"
    ),
    "pod.variables={API_TOKEN: x}": (
        "pod.variables: API_TOKEN looks like a credential, which everybody who may see the run could read,"
        " expected it in cluster.pod.environment, from a Secret"
    ),
    "pod.environment=[{keys: {A: a}}]": "pod.environment.0: expected either config_map or secret",
    "pod.environment=[{secret: s, keys: {A: a}}, {secret: t, keys: {A: b}}]": (
        "pod: A is there twice, expected each variable once"
    ),
    "pod.files=[{secret: s, path: /tmp}]": (
        "pod.files: '/tmp' has other files in it, expected a folder such as /etc/ssl/company"
    ),
    "pod.files=[{secret: s, path: certificates}]": (
        "pod.files.0.path: 'certificates' is no folder in a pod, expected an absolute path without .."
    ),
}


@pytest.mark.parametrize(("assignment", "message"), REFUSED.items())
def test_what_kubernetes_would_refuse_is_refused_in_one_line(assignment, message):
    with pytest.raises(ExperimentError) as refused:
        override(load("blobs-mlp"), [f"cluster.{assignment}"])
    assert str(refused.value) == f"cluster.{message}"


def test_pods_that_are_to_wait_in_a_queue_need_one():
    with pytest.raises(
        ExperimentError, match="queued_pods is 'survey' and there is no queue, expected a queue"
    ):
        override(load("blobs-mlp"), ["cluster.queued_pods=survey"])


def test_what_yaml_takes_for_something_else_is_a_text_in_kubernetes():
    pod = Pod.model_validate({"labels": {"team": 7, "spot": True}, "variables": {"NCCL_IB_DISABLE": 1}})
    assert (pod.labels, pod.variables) == ({"team": "7", "spot": "true"}, {"NCCL_IB_DISABLE": "1"})


def test_another_profile_takes_nothing_away_that_was_asked_for():
    sets = ["cluster.survey_pods=1", "cluster.pod.user=null", "cluster.profile=gpu"]
    asked = override(load("blobs-mlp"), sets)
    assert (asked.cluster.survey_pods, asked.cluster.pod.user, asked.cluster.shared_memory) == (
        1,
        None,
        "8Gi",
    )
    assert override(asked, ["cluster.profile=cpu"]).cluster.pod.user is None


def test_istios_container_stays_out_unless_it_is_asked_for():
    inject = "sidecar.istio.io/inject"
    assert Pod(annotations={"a": "b"}).annotations == {inject: "false", "a": "b"}
    assert Pod.model_validate({"annotations": {inject: True}}).annotations == {inject: "true"}
