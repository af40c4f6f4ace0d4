"""A study whose cells are runs of Kubeflow Pipelines."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]  # kfp's, of what lies beneath it

LOSSMAP = Path(sys.executable).with_name("lossmap")
STORE = "s3://lossmap/store"
LITTLE = [
    f"cluster.{what}.{field}"
    for what in ("training", "survey", "steps")
    for field in ("cpu=100m", "cpu_limit=2")
]


@pytest.fixture
def study(tmp_path):
    """A study that no other session of tests has used, and its file."""
    name = f"study-{secrets.token_hex(4)}"
    content = {
        "name": name,
        "title": "Does a perceptron need 32 hidden units?",
        "networks": {"wide": "blobs-mlp", "narrow": "blobs-mlp"},
        "network_assignments": {"narrow": ["model.hidden=[4]"]},
        "assignments": [
            "data.blobs.train_per_class=30",
            f"data.seed={secrets.randbelow(1 << 31)}",
            "training.processes=1",
            "training.epochs=2",
            "landscape.samples=50",
            "landscape.plane.x.points=3",
            "landscape.plane.y.points=3",
            "landscape.line.points=5",
            *LITTLE,
        ],
        "seeds": 1,
        "measures": ["test_error", "floor"],
        "contrasts": [{"network": "wide", "against": "narrow"}],
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return name, file


def test_cells_are_runs_of_the_cluster_and_what_is_finished_is_not_submitted_again(
    installation, study, s3_forward, mlflow_forward
):
    name, file = study
    environment = {
        **os.environ,
        "LOSSMAP_IMAGE": installation.image,
        "LOSSMAP_NAMESPACE": installation.runs,
        "COLUMNS": "300",
    }
    with mlflow_forward() as port:
        command = [
            LOSSMAP,
            "study",
            file,
            "--submit",
            "--parallel",
            "2",
            "--json",
            "--store",
            STORE,
            "--tracking",
            f"http://127.0.0.1:{port}",
        ]
        found = subprocess.run(
            command,
            cwd=file.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        record = json.loads(found.stdout)
        assert [(run["network"], run["seed"]) for run in record["runs"]] == [("wide", 0), ("narrow", 0)]
        assert (record["missing"], record["failed"]) == ([], [])
        assert sum(" submitted, " in line for line in found.stderr.splitlines()) == 2
        client = MlflowClient(f"http://127.0.0.1:{port}")
        runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        assert len(runs) == 3, "two cells and the study"
        assert {run.info.status for run in runs} == {"FINISHED"}

        again = subprocess.run(
            command, cwd=file.parent, env=environment, capture_output=True, text=True, timeout=600, check=True
        )
        assert "2 of 2 cells are finished" in again.stderr
        assert " submitted, " not in again.stderr
    report = {key.rsplit("/", 1)[1] for key in open_store(STORE).keys(layout.study(name, ""))}
    assert {"page.html", "results.json", "results.csv", "study.yaml"} <= report
