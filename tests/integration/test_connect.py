"""lossmap connect as a user types it, on networks trained a moment ago; and its page in a real browser."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from fakes.browser import CHROMIUM, browser
from reference.manifests import manifest
from reference.paths import finished_run
from support.command_line import lossmap, start

from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Mlp
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.models import build
from lossmap.components.stores.objects import open_store

QUICK = ("--points", "5", "--samples", "60", "--curve-epochs", "2")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tracking):
    """A folder with two trained perceptrons."""
    folder = tmp_path_factory.mktemp("place")
    tracking(folder / "lossmap-runs")
    for seed in (0, 1):
        data = Data(source="blobs", blobs=Blobs(train_per_class=40, test_per_class=15, noise=1.0))
        model = Mlp(hidden=(16,), seed=seed)
        experiment = Experiment(
            study="pairs", data=data, model=model, training=Training(seed=seed), landscape=Landscape()
        )
        finished_run(
            Settings(store=str(folder / "lossmap-runs")),
            f"run-{seed}",
            experiment,
            build(model, manifest(classes=4)),
            60,
        )
    return folder


@pytest.fixture(scope="module")
def connected(place):
    return lossmap("connect", "run-0", "run-1", *QUICK, cwd=place)


def test_the_screen_tells_barriers_verdict_and_where_the_report_is(connected):
    lines = connected.stdout.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["path", "linear", "aligned", "repaired", "bezier"]
    assert any(line.startswith("On these 60 training samples the networks are ") for line in lines)
    places = {line.split()[0]: Path(line.split()[1]) for line in lines[-2:]}
    assert places["report"].read_text().startswith("<!doctype html>")
    assert places["picture"].read_bytes()[:4] == b"\x89PNG"


def test_again_it_finds_everything_and_gives_the_same_numbers_as_json(place, connected):
    again = lossmap("connect", "run-0", "run-1", *QUICK, "--json", cwd=place)
    assert again.stderr.count("found in the store") == 5
    record = json.loads(again.stdout)
    assert [path["path"] for path in record["paths"]] == ["linear", "aligned", "repaired", "curve"]
    assert record["samples"] == {"train": 60, "test": 60}
    kept = json.loads(
        (
            place
            / "lossmap-runs"
            / Path(record["page"]).relative_to(place / "lossmap-runs").with_name("connection.json")
        ).read_text()
    )
    assert {name: value for name, value in record.items() if name not in ("page", "picture")} == kept
    shown = next(line for line in connected.stdout.splitlines() if line.startswith(" linear"))
    assert f"{record['paths'][0]['train']['barrier']['loss']['value']:.3g}" in shown


def test_mlflow_has_it_in_the_study_of_the_first_run(place, connected):
    database = sqlite3.connect(place / "lossmap-runs/mlflow.db")
    rows = database.execute(
        "select r.name, r.status, e.name from runs r join experiments e using (experiment_id) join tags t on"
        " t.run_uuid = r.run_uuid where t.key = 'kind' and t.value = 'connection'"
    ).fetchall()
    assert [(name[:8], status, study) for name, status, study in rows] == [("connect-", "FINISHED", "pairs")]
    metrics = {name for (name,) in database.execute("select key from metrics")}
    wanted = {
        f"barrier_{path}{end}"
        for path in ("linear", "aligned", "repaired", "curve")
        for end in ("", "_low", "_high")
    }
    assert wanted <= metrics


def test_interrupted_it_keeps_what_is_finished_and_the_same_command_goes_on(place):
    store = open_store(str(place / "lossmap-runs"))
    arguments = ["connect", "run-0", "run-1", *QUICK[:4], "--curve-epochs", "100000", "--seed", "3"]
    before = set(store.keys("paths/"))
    with start(*arguments, cwd=place, stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + 240
            while (
                len({key for key in set(store.keys("paths/")) - before if key.endswith("profile.npz")}) < 3
                and time.monotonic() < end
            ):
                time.sleep(0.1)
            time.sleep(1)  # into the training of the curve
            process.send_signal(signal.SIGTERM)  # as Ctrl-C, which children of a job in the background ignore
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert (
        said.splitlines()[-1]
        == "lossmap: interrupted; the paths that are finished are kept, and the same command goes on"
    )
    kept = {key.rpartition("/")[2] for key in set(store.keys("paths/")) - before}
    assert kept == {"profile.npz", "state.safetensors", "alignment.json"}
    # three profiles, the aligned network, its note; nothing of the curve
    assert len(set(store.keys("paths/")) - before) == 5
    arguments[arguments.index("100000")] = "1"
    assert lossmap(*arguments, cwd=place).stderr.count("found in the store") == 3


def test_impossible_wishes_are_refused_in_one_line(place):
    for arguments, message in {
        ("--points", "1"): "lossmap: --points is 1, expected greater than or equal to 3",
        ("--curve", "spline"): "lossmap: --curve is spline, expected 'bezier' or 'polygon', or none",
        (
            "--batch-norm",
            "none",
        ): "lossmap: --batch-norm is none, expected 'reestimated', 'interpolated' or 'frozen'",
    }.items():
        assert lossmap("connect", "run-0", "run-1", *arguments, cwd=place, check=2).stderr.strip() == message


@pytest.mark.slow
@pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("LOSSMAP_REQUIRE_BROWSER") != "1",
    reason="no chromium on this machine",
)
def test_the_page_draws_every_figure_in_a_browser_without_a_problem(connected, tmp_path):
    page = Path(next(line.split()[1] for line in connected.stdout.splitlines() if line.startswith("report")))
    with browser(tmp_path) as tab:
        tab.show(page, 1280, scheme="light")
        tab.wait_for("document.body.dataset.drawn")
        paths = tab.evaluate(
            "[...document.querySelectorAll('.plot')].map((div) => div.querySelectorAll('path').length)"
        )
        assert tab.problems == []
        assert len(paths) == 4
        assert all(count > 8 for count in paths)
