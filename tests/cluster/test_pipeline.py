"""Whole runs through Kubeflow Pipelines, as a user submits, follows, cancels and retries them."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import kfp
import pytest
import yaml
from cluster.kubectl import apply, get, kubectl
from mlflow import MlflowClient

from lossmap.components.config.cluster import Cluster, Resources
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Axis, Curvature, Landscape, Plane
from lossmap.components.config.models import ResNet
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.progress import silent
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.tracking.client import RUN_TAG
from lossmap.components.surveys.merge import load_surfaces
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines import local
from lossmap.pipelines.cluster.follow import step_of

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]  # kfp's, of what lies beneath it

LOSSMAP = Path(sys.executable).with_name("lossmap")
STORE = "s3://lossmap/store"
LITTLE = Resources(cpu="100m", cpu_limit="2")
LONG = 100_000  # epochs that no test waits for


def _experiment(study, seed, epochs=3, points=7):
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
        cluster=Cluster(training=LITTLE, survey=LITTLE, steps=LITTLE),
    )


@pytest.fixture(scope="module")
def study():
    """A name that no other session of tests has used."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def seed():
    """Of a training that nobody has carried out, so that neither the store nor Kubeflow's cache knows it."""
    return secrets.randbelow(1 << 31)


@pytest.fixture
def place(installation, tmp_path):
    return Place(installation, tmp_path)


@pytest.fixture
def person(installation, place, tmp_path):
    """The same for somebody who has the role lossmap-user and no other."""
    bindings = [
        _binding(namespace, installation.runs) for namespace in (installation.runs, installation.services)
    ]
    apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "person", "namespace": installation.runs},
        },
        *bindings,
    )
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"] = [
        {
            "name": "person",
            "user": {"token": kubectl("--namespace", installation.runs, "create", "token", "person").strip()},
        }
    ]
    config["contexts"][0]["context"]["user"] = "person"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    place.environment["KUBECONFIG"] = str(tmp_path / "kubeconfig")
    place.environment.pop("KF_PIPELINES_ENDPOINT", None)  # the API server leads there
    return place


def _binding(namespace, home):
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lossmap-user"}
    subject = {"kind": "ServiceAccount", "name": "person", "namespace": home}
    what = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "person", "namespace": namespace},
    }
    return what | {"roleRef": role, "subjects": [subject]}


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
        _until(
            lambda: (
                store.exists(layout.links(run))
                and store.exists(layout.epoch_metrics(Run(store, run).training, epoch))
            ),
            200,
            f"epoch {epoch}",
        )
        return store, Run(store, run).training

    def going_on(self, pipeline_run):
        """What is left of a run: jobs and services of any kind, and pods that run or wait."""
        found = get(
            "pytorchjobs,services,pods",
            "--namespace",
            self.namespace,
            f"--selector=pipeline/runid={pipeline_run}",
        )["items"]
        jobs = {
            each["metadata"]["name"] for each in get("pytorchjobs", "--namespace", self.namespace)["items"]
        }
        services = [
            each
            for each in get("services", "--namespace", self.namespace)["items"]
            if each["metadata"]["name"].startswith("train-")
        ]
        orphans = [
            each
            for each in services
            if each["metadata"]["labels"]["training.kubeflow.org/job-name"] not in jobs
        ]
        left = [
            each
            for each in found
            if each["kind"] != "Pod" or each["status"]["phase"] in ("Pending", "Running")
        ]
        return [f"{each['kind']} {each['metadata']['name']}" for each in (*left, *orphans)]


def _until(condition, seconds, what):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"{what} does not hold after {seconds} s"
        time.sleep(1)
    return time.monotonic() - start


def _locally(experiment, folder):
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


def _same_surfaces(first, second):
    assert first.keys() == second.keys()
    return all(
        vars(first[name])[field].tobytes() == vars(second[name])[field].tobytes()
        for name in first
        for field in vars(first[name])
    )


def _mlflow_run(uri, study, run):
    client = MlflowClient(uri)
    [found] = client.search_runs(
        [client.get_experiment_by_name(study).experiment_id], f"tags.`{RUN_TAG}` = '{run}'"
    )
    return client, found


def test_a_run_has_the_local_ones_bits_and_the_next_is_answered_from_the_cache(
    place, study, seed, s3_forward, mlflow_forward, tmp_path
):
    everything = {
        "pairs": 2,
        "adaptive": Adaptive(spacing=4),
        "curvature": Curvature(samples=20, trace_products=4, tolerance=0.1),
    }
    experiment = _experiment(study, seed, points=9)
    experiment = experiment.model_copy(
        update={"landscape": experiment.landscape.model_copy(update=everything)}
    )
    run, pipeline_run = place.submit(experiment)
    followed = place.lossmap("logs", run, "-f")
    assert "train: succeeded" in followed and "report: succeeded" in followed
    status = place.status(run)
    assert status["state"] == "SUCCEEDED"
    assert [step["name"] for step in status["steps"]] == [
        "prepare",
        "train",
        "plan",
        "tile",
        "tile",
        "merge",
        "report",
        "clean-up",
    ]
    assert {step["state"] for step in status["steps"]} == {"SUCCEEDED"}
    assert "rank 1: " in place.lossmap("logs", run, "--step", "train")
    assert all(line.startswith("rank 0: ") for line in place.lossmap("logs", run, "--rank", "0").splitlines())

    here, there = _locally(experiment, tmp_path), open_store(STORE)
    assert Run(here, "run").training == Run(there, run).training
    assert here.read(layout.weights(Run(here, "run").training)) == there.read(
        layout.weights(Run(there, run).training)
    )
    locally, pods = load_result(Run(here, "run")), load_result(Run(there, run))
    assert len(pods.planes) == 2
    assert all(
        _same_surfaces({"plane": a}, {"plane": b}) for a, b in zip(locally.planes, pods.planes, strict=True)
    )
    assert (locally.curvature, locally.bound) == (pods.curvature, pods.bound)
    report = {key.rsplit("/", 1)[1] for key in there.keys(layout.report(run, ""))}
    assert {"page.html", "surface.png", "contour.png", "surface.npz", "scalars.json"} <= report

    with mlflow_forward() as port:
        client, found = _mlflow_run(f"http://127.0.0.1:{port}", study, run)
        assert found.info.status == "FINISHED"
        assert found.data.params["model.depth"] == "8" and found.data.params["data.digest"]
        assert found.data.tags["kubeflow.run"] == pipeline_run
        scalars = json.loads(there.read(layout.scalars(run)))
        assert found.data.metrics["floor"] == scalars["floor"]
        assert len(client.get_metric_history(found.info.run_id, "train_loss")) >= 3
        assert "page.html" in {artifact.path for artifact in client.list_artifacts(found.info.run_id)}

    again, _ = place.submit(experiment)
    place.lossmap("logs", again, "-f")
    assert place.state(again) == "SUCCEEDED"
    states = {step["name"]: step["state"] for step in place.status(again)["steps"]}
    assert {name for name, state in states.items() if state == "CACHED"} == {"train", "plan", "merge"}, states
    assert _same_surfaces(load_surfaces(Run(there, run)), load_surfaces(Run(there, again)))


def test_a_lost_tile_pods_share_is_made_good_by_kubeflow_or_by_a_retry(
    place, study, seed, s3_forward, tmp_path
):
    experiment = _experiment(study, seed, points=31)
    run, pipeline_run = place.submit(experiment)
    store = open_store(STORE)
    _until(
        lambda: (
            store.exists(layout.links(run)) and store.exists(layout.survey_plan(Run(store, run).links.survey))
        ),
        200,
        "a planned survey",
    )
    tiles = layout.tiles(Run(store, run).survey.surfaces[0])
    _until(lambda: list(store.keys(tiles)), 120, "a tile in the store")
    pods = get("pods", "--namespace", place.namespace, f"--selector=pipeline/runid={pipeline_run}")["items"]
    running = {
        pod["metadata"]["name"]: pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"]
        for pod in pods
        if pod["status"]["phase"] == "Running"
    }
    victim = next(name for name, node in running.items() if step_of(node) == "tile")
    kubectl("--namespace", place.namespace, "delete", "pod", victim, "--grace-period=0", "--force")
    assert pending_tiles(Run(store, run))
    _until(lambda: place.state(run) not in ("PENDING", "RUNNING"), 300, "the end of the run")
    if place.state(run) == "FAILED":  # Kubeflow Pipelines 2.0.5 starts no lost pod again
        place.lossmap("retry", run)
        _until(lambda: place.state(run) not in ("PENDING", "RUNNING"), 300, "the end of the retry")
    status = place.status(run)
    assert status["state"] == "SUCCEEDED", status
    assert _same_surfaces(
        load_surfaces(Run(_locally(experiment, tmp_path), "run")), load_surfaces(Run(store, run))
    )


def test_a_cancelled_run_leaves_nothing_within_a_minute_and_can_go_on(
    place, study, seed, s3_forward, mlflow_forward
):
    run, pipeline_run = place.submit(_experiment(study, seed, epochs=LONG))
    store, training = place.until_epoch(run, 3)
    start = time.monotonic()
    assert f"{run} is cancelled; nothing of it is running" in place.lossmap("cancel", run)
    assert place.going_on(pipeline_run) == []
    assert time.monotonic() - start < 60
    assert place.status(run, code=130)["state"] == "CANCELLED"
    with mlflow_forward() as port:
        _, found = _mlflow_run(f"http://127.0.0.1:{port}", study, run)
        assert found.info.status == "KILLED"
    assert f"{run} had ended before: it is cancelled" in place.lossmap("cancel", run)

    reached = json.loads(store.read(layout.latest_checkpoint(training)))[0]["step"]
    place.lossmap("retry", run)
    _until(
        lambda: json.loads(store.read(layout.latest_checkpoint(training)))[0]["step"] > reached,
        120,
        f"a checkpoint after step {reached}",
    )
    place.lossmap("cancel", run)


def test_a_run_that_somebody_else_made_and_terminated_leaves_nothing_within_a_minute(
    place, study, seed, s3_forward, tmp_path
):
    """Kubeflow then runs no exit handler here, and deletes nothing: training has to notice by itself."""
    package = tmp_path / "pipeline.yaml"
    place.lossmap("compile", place.file(_experiment(study, seed, epochs=LONG)), "-o", str(package))
    client = kfp.Client(namespace=place.namespace)
    started = client.create_run_from_pipeline_package(
        str(package), run_name="by hand", experiment_name=study, service_account="lossmap-run"
    )
    place.until_epoch(f"test-{started.run_id[:8]}", 3)
    client.terminate_run(started.run_id)
    took = _until(lambda: not place.going_on(started.run_id), 60, f"nothing of {started.run_id}")
    print(f"nothing left after {took:.0f} s")
    # Kubeflow writes it down after the last pod has gone
    _until(lambda: place.state(started.run_id) != "CANCELLING", 120, "the end of the run")
    assert place.status(started.run_id, code=130)["state"] == "CANCELLED"


def test_doctor_tells_what_the_cluster_has_and_lacks(person):
    findings = json.loads(person.lossmap("doctor", "--cluster", "--json"))
    assert {"API server", "Kubeflow Pipelines", "MLflow", "S3", "rights", "Secret lossmap-object-store"} <= {
        finding["name"] for finding in findings
    }
    elsewhere = json.loads(
        person.lossmap("doctor", "--cluster", "--json", code=1, LOSSMAP_NAMESPACE="default")
    )
    missing = {finding["name"]: finding["cure"] for finding in elsewhere if not finding["ok"]}
    assert {"Kubeflow Pipelines", "rights"} <= set(missing)
    assert all(missing.values())


def test_the_mlflow_of_the_cluster_has_an_address_here(person):
    command = [str(LOSSMAP), "ui", "--cluster", "--port", "0"]
    with subprocess.Popen(command, env=person.environment, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[3].partition("/#")[0]
        assert urllib.request.urlopen(f"{address}/health", timeout=20).read() == b"OK"
        process.send_signal(signal.SIGTERM)  # a shell in the background has its children ignore SIGINT
    assert process.returncode == 0


def test_a_step_that_fails_makes_the_run_a_failure_with_the_cause_in_one_line(place, study, seed):
    file = place.file(_experiment(study, seed).model_copy(update={"training": Training(batch_size=500)}))
    followed = place.lossmap("submit", file, "--follow", code=1).splitlines()
    run, cause = (
        followed[0],
        (
            "train: training failed: training.batch_size is 500, expected at most the number of training"
            " images (120)"
        ),
    )
    assert followed[-1].startswith(f"{run} failed: {cause}"), followed
    assert f"failed: {cause}" in place.lossmap("status", run, code=1)


def test_a_step_whose_image_does_not_exist_says_why_it_waits(person, study, seed):
    run, _ = person.submit(_experiment(study, seed), LOSSMAP_IMAGE="docker.io/lossmap/lossmap:there-is-none")
    try:
        _until(
            lambda: any("there-is-none" in reason for reason in person.status(run)["waiting"]),
            60,
            "a reason to wait",
        )
    finally:
        person.lossmap("cancel", run)
