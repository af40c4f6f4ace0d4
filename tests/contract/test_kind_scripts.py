"""The scripts for kind, with programs of their names that write down what they are asked: kind itself
needs Docker.
"""

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "k8s" / "kind"
FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $*" in
    "kind get clusters") echo "$CLUSTERS" ;;
    *"get secret lossmap-object-store"*jsonpath*) [ -n "$KEYS" ] && printf %s "$KEYS" || exit 1 ;;
    *"create secret generic"*) cat >> "$SECRETS" ;;
    *wait*Available*) [ -z "$NEVER_READY" ] ;;
    *"apply -f -") cat > /dev/null ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    """Runs a script; `without` names a program that the machine does not have."""

    def start(name, without="", **environment):
        programs = tmp_path / f"bin{without}"
        programs.mkdir(exist_ok=True)
        for program in {"kind", "docker", "kubectl", "git"} - {without}:
            (programs / program).write_text(FAKE)
            (programs / program).chmod(0o755)
        for program in (
            "bash",
            "sh",
            "env",
            "cat",
            "basename",
            "dirname",
            "base64",
            "od",
            "tr",
            "grep",
            "mkdir",
            "tail",
        ):
            if not (programs / program).exists():
                (programs / program).symlink_to(shutil.which(program))
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        variables = {
            "PATH": str(programs),
            "CALLS": str(calls),
            "SECRETS": str(tmp_path / "secrets"),
            "CLUSTERS": "",
            "KEYS": "",
            "NEVER_READY": "",
        }
        found = subprocess.run(
            [SCRIPTS / name],
            env={**variables, **environment},
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        return found, calls.read_text().splitlines() if calls.exists() else []

    return start


TRAINER_READY = "kubectl --context kind-lossmap -n kubeflow-system wait --for=condition=Available"


@pytest.mark.parametrize(
    ("settings", "operator", "overlay", "ready"),
    [
        ({}, "training-operator", "kind", []),
        ({"TRAINER": "trainjob"}, "trainer", "kind-trainer", [TRAINER_READY]),
    ],
)
def test_up_installs_everything_in_order_and_says_what_to_do_next(run, settings, operator, overlay, ready):
    found, calls = run("up.sh", **settings)
    assert found.returncode == 0, found.stderr
    steps = [
        "kind create cluster --name lossmap --config k8s/kind/cluster.yaml",
        (
            "docker build --file k8s/image/Dockerfile --build-arg TORCH=cpu --tag"
            " docker.io/lossmap/lossmap:dev ."
        ),
        "kind load docker-image docker.io/lossmap/lossmap:dev --name lossmap",
        "k8s/third-party/pipelines-cluster",
        f"k8s/third-party/{operator}",
        "k8s/third-party/pipelines",
        *ready,
        "kubectl --context kind-lossmap -n lossmap create secret generic lossmap-object-store",
        f"kubectl --context kind-lossmap apply --server-side -k k8s/overlays/{overlay}",
        "kubectl --context kind-lossmap -n lossmap wait --for=condition=Available",
        "kubectl --context kind-lossmap -n kubeflow wait --for=condition=Available",
    ]
    at = [
        next(
            index
            for index, call in enumerate(calls)
            if step in call and (not step.endswith(("pipelines", overlay)) or call.endswith(step))
        )
        for step in steps
    ]
    assert at == sorted(at)
    assert "lossmap submit digits-resnet20 --follow" in found.stdout


def test_up_refuses_an_operator_that_there_is_not(run):
    found, calls = run("up.sh", TRAINER="tfjob")
    assert found.returncode == 2
    assert found.stderr == "up.sh: TRAINER is tfjob, expected pytorchjob or trainjob\n"
    assert calls == []


def test_up_keeps_a_cluster_and_its_keys(run, tmp_path):
    found, calls = run("up.sh", CLUSTERS="other\nlossmap", KEYS=base64.b64encode(b"of-before").decode())
    assert found.returncode == 0, found.stderr
    assert not [call for call in calls if "create cluster" in call]
    assert (
        tmp_path / "secrets"
    ).read_text() == "AWS_ACCESS_KEY_ID=of-before\nAWS_SECRET_ACCESS_KEY=of-before\n" * 2


def test_up_makes_keys_that_are_the_same_in_both_namespaces_and_in_no_argument(run, tmp_path):
    run("up.sh")
    first, second = (
        (tmp_path / "secrets").read_text().splitlines()[:2],
        (tmp_path / "secrets").read_text().splitlines()[2:],
    )
    assert first == second
    secret = first[1].partition("=")[2]
    assert len(secret) == 64
    assert secret not in (tmp_path / "calls").read_text()


def test_up_says_what_is_not_ready_and_fails(run):
    found, calls = run("up.sh", NEVER_READY="1", TIMEOUT="7")
    assert found.returncode == 1
    assert found.stderr.endswith(
        "up.sh: the namespace lossmap is not ready after 7 s; repeat up.sh once the cause is gone\n"
    )
    assert "kubectl --context kind-lossmap -n lossmap get pods" in calls


@pytest.mark.parametrize("program", ["kind", "kubectl", "docker", "git"])
def test_up_names_a_program_that_is_missing_and_where_to_get_it(run, program):
    found, calls = run("up.sh", without=program)
    assert found.returncode == 2
    assert found.stderr.startswith(f"up.sh: {program} is missing: install it from https://")
    assert calls == []


def test_down_keeps_the_logs_before_it_deletes(run, tmp_path):
    found, calls = run("down.sh", CLUSTERS="lossmap", LOGS=str(tmp_path / "logs"))
    assert found.returncode == 0, found.stderr
    assert calls[1:] == [
        f"kind export logs {tmp_path / 'logs'} --name lossmap",
        "kind delete cluster --name lossmap",
    ]


def test_down_of_a_cluster_that_is_not_there_does_nothing(run):
    found, calls = run("down.sh", CLUSTERS="other")
    assert (found.returncode, found.stdout) == (0, "there is no cluster lossmap\n")
    assert calls == ["kind get clusters"]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
@pytest.mark.parametrize("name", ["up.sh", "down.sh"])
def test_shellcheck_finds_nothing(name):
    found = subprocess.run(["shellcheck", SCRIPTS / name], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert os.access(SCRIPTS / name, os.X_OK)
