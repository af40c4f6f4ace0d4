"""Whole runs through Kubeflow Pipelines, as a user submits, follows, cancels and retries them."""

import json
import signal
import subprocess
import time
import urllib.request

import kfp
import pytest
from cluster.kubectl import get, kubectl
from cluster.running import LONG, LOSSMAP, STORE, little, mlflow_run, run_locally, same_surfaces, until

from lossmap.components.config.landscape import Adaptive, Curvature
from lossmap.components.config.training import Training
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.merge import load_surfaces
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.cluster.follow import step_of

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]  # kfp's, of what lies beneath it


def test_a_run_has_the_local_ones_bits_and_the_next_is_answered_from_the_cache(
    place, study, seed, s3_forward, mlflow_forward, tmp_path
):
    everything = {
        "pairs": 2,
        "adaptive": Adaptive(spacing=4),
        "curvature": Curvature(samples=20, trace_products=4, tolerance=0.1),
    }
    experiment = little(study, seed, points=9)
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

    here, there = run_locally(experiment, tmp_path), open_store(STORE)
    assert Run(here, "run").training == Run(there, run).training
    assert here.read(layout.weights(Run(here, "run").training)) == there.read(
        layout.weights(Run(there, run).training)
    )
    locally, pods = load_result(Run(here, "run")), load_result(Run(there, run))
    assert len(pods.planes) == 2
    assert all(
        same_surfaces({"plane": a}, {"plane": b}) for a, b in zip(locally.planes, pods.planes, strict=True)
    )
    assert (locally.curvature, locally.bound) == (pods.curvature, pods.bound)
    report = {key.rsplit("/", 1)[1] for key in there.keys(layout.report(run, ""))}
    assert {"page.html", "surface.png", "contour.png", "surface.npz", "scalars.json"} <= report

    with mlflow_forward() as port:
        client, found = mlflow_run(f"http://127.0.0.1:{port}", study, run)
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
    assert same_surfaces(load_surfaces(Run(there, run)), load_surfaces(Run(there, again)))


def test_a_lost_tile_pods_share_is_made_good_by_kubeflow_or_by_a_retry(
    place, study, seed, s3_forward, tmp_path
):
    experiment = little(study, seed, points=45)
    run, pipeline_run = place.submit(experiment)
    store = open_store(STORE)
    until(
        lambda: (
            store.exists(layout.links(run)) and store.exists(layout.survey_plan(Run(store, run).links.survey))
        ),
        200,
        "a planned survey",
    )
    tiles = layout.tiles(Run(store, run).survey.surfaces[0])
    until(lambda: list(store.keys(tiles)), 120, "a tile in the store")
    pods = get("pods", "--namespace", place.namespace, f"--selector=pipeline/runid={pipeline_run}")["items"]
    running = {
        pod["metadata"]["name"]: pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"]
        for pod in pods
        if pod["status"]["phase"] == "Running"
    }
    victim = next(name for name, node in running.items() if step_of(node) == "tile")
    kubectl("--namespace", place.namespace, "delete", "pod", victim, "--grace-period=0", "--force")
    assert pending_tiles(Run(store, run))
    until(lambda: place.state(run) not in ("PENDING", "RUNNING"), 300, "the end of the run")
    if place.state(run) == "FAILED":  # Kubeflow Pipelines 2.0.5 starts no lost pod again
        place.lossmap("retry", run)
        until(lambda: place.state(run) not in ("PENDING", "RUNNING"), 300, "the end of the retry")
    status = place.status(run)
    assert status["state"] == "SUCCEEDED", status
    assert same_surfaces(
        load_surfaces(Run(run_locally(experiment, tmp_path), "run")), load_surfaces(Run(store, run))
    )


def test_a_cancelled_run_leaves_nothing_within_a_minute_and_can_go_on(
    place, study, seed, trainer, s3_forward, mlflow_forward
):
    run, pipeline_run = place.submit(little(study, seed, epochs=LONG, trainer=trainer))
    store, training = place.until_epoch(run, 3)
    start = time.monotonic()
    assert f"{run} is cancelled; nothing of it is running" in place.lossmap("cancel", run)
    assert place.going_on(pipeline_run) == []
    assert time.monotonic() - start < 60
    assert place.status(run, code=130)["state"] == "CANCELLED"
    with mlflow_forward() as port:
        _, found = mlflow_run(f"http://127.0.0.1:{port}", study, run)
        assert found.info.status == "KILLED"
    assert f"{run} had ended before: it is cancelled" in place.lossmap("cancel", run)

    reached = json.loads(store.read(layout.latest_checkpoint(training)))[0]["step"]
    place.lossmap("retry", run)
    until(
        lambda: json.loads(store.read(layout.latest_checkpoint(training)))[0]["step"] > reached,
        120,
        f"a checkpoint after step {reached}",
    )
    place.lossmap("cancel", run)


def test_a_run_that_somebody_else_made_and_terminated_leaves_nothing_within_a_minute(
    place, study, seed, trainer, s3_forward, tmp_path
):
    """Kubeflow then runs no exit handler here, and deletes nothing: training has to notice by itself."""
    package = tmp_path / "pipeline.yaml"
    experiment = little(study, seed, epochs=LONG, trainer=trainer)
    place.lossmap("compile", place.file(experiment), "-o", str(package))
    client = kfp.Client(namespace=place.namespace)
    started = client.create_run_from_pipeline_package(
        str(package), run_name="by hand", experiment_name=study, service_account="lossmap-run"
    )
    place.until_epoch(f"test-{started.run_id[:8]}", 3)
    client.terminate_run(started.run_id)
    took = until(lambda: not place.going_on(started.run_id), 60, f"nothing of {started.run_id}")
    print(f"nothing left after {took:.0f} s")
    # Kubeflow writes it down after the last pod has gone
    until(lambda: place.state(started.run_id) != "CANCELLING", 120, "the end of the run")
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
    file = place.file(little(study, seed).model_copy(update={"training": Training(batch_size=500)}))
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
    run, _ = person.submit(little(study, seed), LOSSMAP_IMAGE="docker.io/lossmap/lossmap:there-is-none")
    try:
        until(
            lambda: any("there-is-none" in reason for reason in person.status(run)["waiting"]),
            60,
            "a reason to wait",
        )
    finally:
        cancelled = person.lossmap("cancel", run)
    assert f"{run} is cancelled; nothing of it is running" in cancelled
