"""Whole runs through Kubeflow Pipelines, as a user has them: the command line beside a cluster."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cluster.kubectl import get
from cluster.launching import is_ended_trainjob, trainers
from mlflow import MlflowClient

from lossmap.components.config.cluster import Cluster, Resources
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import ResNet
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.progress import silent
from lossmap.components.jobs.deployment import of_pipeline_run
from lossmap.components.jobs.kinds import CRDS
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.tracking.client import RUN_TAG
from lossmap.pipelines import local

LOSSMAP = Path(sys.executable).with_name("lossmap")
STORE = "s3://lossmap/store"
LITTLE = Resources(cpu="100m", cpu_limit="2")
LONG = 100_000  # epochs that no test waits for


def little(study, seed, epochs=3, points=7, **cluster):
    """A network of seconds."""
    return Experiment(
        name="test",
        study=study,
        data=Data(source="blobs", blobs=Blobs(train_per_class=30, test_per_class=8)),
        model=ResNet(depth=8),
        training=Training(epochs=epochs, batch_size=24, seed=seed, checkpoint_seconds=1.0),
        landscape=Landscape(
            plane=Plane(x=Axis(points=points), y=Axis(points=points)),
            line=Axis(points=5),
            samples=100,
            tile_points=10,
        ),
        cluster=Cluster(training=LITTLE, survey=LITTLE, steps=LITTLE, **cluster),
    )


class Place:
    """A folder with the command line, and the cluster that it speaks to."""

    def __init__(self, installation, folder):
        self.namespace, self._folder = installation.runs, folder
        self.environment = {
            **os.environ,
            "LOSSMAP_IMAGE": installation.image,
            "LOSSMAP_NAMESPACE": installation.runs,
            "COLUMNS": "300",
        }
        for name in [name for name in self.environment if name.startswith("AWS_")]:
            del self.environment[name]

    def lossmap(self, *arguments, code=0, seconds=600, **environment):
        """What the command prints."""
        command = [str(LOSSMAP), *arguments]
        found = subprocess.run(
            command,
            cwd=self._folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert found.returncode == code, (
            f"{' '.join(arguments)}: {found.returncode}\n{found.stdout}\n{found.stderr}"
        )
        assert "Traceback" not in found.stdout + found.stderr
        return found.stdout + found.stderr

    def submit(self, experiment, *options, **environment):
        """Name and Kubeflow's id of a new run."""
        [started] = json.loads(
            self.lossmap("submit", self.file(experiment), "--json", *options, **environment)
        )
        return started["run"], started["pipeline_run"]

    def status(self, run, code=0):
        return json.loads(self.lossmap("status", run, "--json", code=code))

    def state(self, run):
        """Its state, whatever the exit code says of it."""
        found = subprocess.run(
            [str(LOSSMAP), "status", run, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(found.stdout)["state"]

    def file(self, experiment):
        """The experiment as a file."""
        file = self._folder / "experiment.yaml"
        file.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
        return str(file)

    def until_epoch(self, run, epoch):
        """Wait until a run has trained so far; returns the store and the training's address."""
        store = open_store(STORE)
        until(
            lambda: (
                store.exists(layout.links(run))
                and store.exists(layout.epoch_metrics(Run(store, run).training, epoch))
            ),
            200,
            f"epoch {epoch}",
        )
        return store, Run(store, run).training

    def going_on(self, pipeline_run):
        """What is left of a run: jobs of any kind that have not ended, pods that run or wait, and services
        of trainings that are gone.
        """
        jobs, here = ",".join(CRDS[trainer] for trainer in trainers()), ("--namespace", self.namespace)
        of_run = get(f"{jobs},pods", *here, f"--selector={of_pipeline_run(pipeline_run)}")["items"]
        left = [each for each in of_run if _goes_on(each)]
        names = tuple(each["metadata"]["name"] for each in get(jobs, *here)["items"])
        services = (each for each in get("services", *here)["items"] if _is_of_training(each))
        orphans = [each for each in services if not each["metadata"]["name"].startswith(names)]
        return [f"{each['kind']} {each['metadata']['name']}" for each in (*left, *orphans)]


def _goes_on(found):
    if found["kind"] == "Pod":
        return found["status"]["phase"] in ("Pending", "Running")
    return not is_ended_trainjob(found)


def _is_of_training(service):
    return service["metadata"]["name"].startswith("train-")


def until(condition, seconds, what):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"{what} does not hold after {seconds} s"
        time.sleep(1)
    return time.monotonic() - start


def run_locally(experiment, folder):
    """The same run by processes of this machine, with BLAS as it is in a pod: with another number of threads,
    or another kernel, sums of the curvature differ in their last bits.
    """
    settings = Settings(store=str(folder / "local"))
    run = local.open_run("run", settings)
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("OMP_", "MKL_", "OPENBLAS_"))]:
            environment.delenv(name)
        local.run(run, experiment, settings, lambda _stage: contextlib.nullcontext(silent))
    return open_store(settings.store)


def same_surfaces(first, second):
    assert first.keys() == second.keys()
    return all(
        vars(first[name])[field].tobytes() == vars(second[name])[field].tobytes()
        for name in first
        for field in vars(first[name])
    )


def mlflow_run(uri, study, run):
    client = MlflowClient(uri)
    [found] = client.search_runs(
        [client.get_experiment_by_name(study).experiment_id], f"tags.`{RUN_TAG}` = '{run}'"
    )
    return client, found
