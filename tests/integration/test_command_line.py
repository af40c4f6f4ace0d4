"""The command line as a user types it: a real store, a real MLflow database.

Two networks are run, and what is interrupted is, by processes of their own; the rest by this one.
"""

import csv
import html
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from readmes.rights import rights
from support.command_line import LOSSMAP, environment, lossmap, process, start

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines.local import new_name, open_run
from lossmap.pipelines.recipes.resolve import resolve

SMALL = [
    *(
        "--set",
        "data.blobs.train_per_class=40",
        "--set",
        "training.epochs=3",
        "--set",
        "landscape.samples=50",
    ),
    *("--set", "landscape.plane={x: {points: 5}, y: {points: 3}}", "--set", "landscape.line={points: 7}"),
]
ALONE = ["--set", "training.processes=1", "--set", "landscape.workers=1"]  # several are those of `place`


@pytest.fixture(scope="module")
def place(tmp_path_factory, tracking):
    """A folder in which two networks were run: one by two processes of each kind, one by one."""
    folder = tmp_path_factory.mktemp("place")
    tracking(folder / "lossmap-runs")
    alone = "training: {batch_size: 64, processes: 1}\nlandscape: {workers: 1}\n"
    mine = "name: mine\nstudy: blobs\ndata: {source: blobs}\nmodel: {architecture: linear}\n"
    (folder / "mine.yaml").write_text(mine + alone)
    found = process("run", "blobs-mlp", "mine.yaml", *SMALL, cwd=folder)
    (folder / "output.txt").write_text(found.stdout)
    return folder


def _runs(folder):
    return sorted(path.name for path in (folder / "lossmap-runs/runs").iterdir())


def test_a_run_prints_where_report_comparison_and_ui_are(place):
    output = (place / "output.txt").read_text()
    for run in _runs(place):
        assert f"report       {place}/lossmap-runs/runs/{run}/report/page.html" in output
    comparison = next(line.split()[1] for line in output.splitlines() if line.startswith("comparison"))
    assert Path(comparison).read_text().startswith("<!doctype html>")
    assert f"MLflow UI    {LOSSMAP} ui\n" in output


def test_every_object_is_where_the_layout_says(place):
    store = open_store(str(place / "lossmap-runs"))
    for run in _runs(place):
        training, survey = vars(Run(store, run).links).values()
        for key in (
            layout.experiment(run),
            layout.weights(training),
            layout.training_result(training),
            layout.survey_plan(survey),
            layout.scalars(run),
        ):
            assert store.exists(key), key
        names = {key.rsplit("/", 1)[1] for key in store.keys(layout.report(run, ""))}
        pictures = {"contour.png", "surface.png", "learning_curves.png", "line.png"}
        assert names == pictures | {"page.html", "experiment.yaml", "scalars.json", "surface.npz", "line.npz"}
        assert len(list(store.keys(layout.snapshots(training)))) == 4
        surface = np.load(place / "lossmap-runs" / layout.report(run, "surface.npz"), allow_pickle=False)
        assert surface["loss"].shape == (3, 5)


def test_mlflow_has_one_finished_run_each_with_parameters_and_metrics(place):
    database = sqlite3.connect(place / "lossmap-runs/mlflow.db")
    found = dict(
        database.execute(
            "select t.value, r.status from runs r join tags t on t.run_uuid = r.run_uuid where t.key ="
            " 'lossmap.run'"
        )
    )
    assert found == dict.fromkeys(_runs(place), "FINISHED")
    epochs = database.execute(
        "select count(*) from metrics where key = 'test_error' and step > 0"
    ).fetchone()[0]
    assert epochs == 6
    parameters = dict(
        database.execute(
            "select p.value, count(*) from params p where p.key = 'model.architecture' group by 1"
        )
    )
    assert parameters == {"mlp": 1, "linear": 1}
    assert not database.execute("select key from params where key like 'cluster.%'").fetchall()
    [notes] = database.execute(
        "select group_concat(value, ' ') from tags where key = 'mlflow.note.content'"
    ).fetchall()
    assert notes[0].count("get-artifact?path=contour.png") == 2
    final = {key for (key,) in database.execute("select distinct key from metrics where step = 0")}
    assert {"basin_fraction", "floor", "parameters"} <= final
    assert len(final) <= 25
    assert not [key for key in final if key.endswith(("_low", "_high", "_range_of"))]
    [(study,)] = database.execute(
        "select value from experiment_tags where key = 'mlflow.note.content'"
    ).fetchall()
    assert "trained networks, not two architectures" in study


def test_compare_gives_the_same_numbers_as_table_json_csv_and_page(place):
    records = json.loads(lossmap("compare", "--study", "blobs", "--json", cwd=place).stdout)
    assert sorted(record["run"] for record in records) == _runs(place)
    rows = list(csv.DictReader(io.StringIO(lossmap("compare", *_runs(place), "--csv", cwd=place).stdout)))
    by_run = {record["run"]: record for record in records}
    assert all(float(row["test_error"]) == by_run[row["run"]]["test_error"] for row in rows)
    table = lossmap("compare", "--study", "blobs", cwd=place).stdout
    assert " ".join(records[0]["answer"].split()) in " ".join(table.split())
    assert all(caveat in " ".join(table.split()) for caveat in records[0]["caveats"])
    assert records[0]["differences"] == []
    assert {each["verdict"] for each in records[1]["differences"]} <= {"decided", "alone", "open"}
    assert all(each["second"] == records[1]["run"] for each in records[1]["differences"])
    page = next(line.split()[1] for line in table.splitlines() if line.startswith("comparison"))
    assert records[0]["answer"] in html.unescape(Path(page).read_text())
    for record in records:
        line = next(line for line in table.splitlines() if line.split()[:1] == [record["recipe"]])
        assert f"{record['test_error']:.2%}" in line
    twice = lossmap("compare", _runs(place)[0], _runs(place)[0], cwd=place).stdout
    assert [line.split()[0] for line in twice.splitlines()[1:3]] == [_runs(place)[0]] * 2


def test_the_linear_networks_line_is_convex(place):
    records = json.loads(lossmap("compare", "--study", "blobs", "--json", cwd=place).stdout)
    assert next(record for record in records if record["recipe"] == "mine")["line_convex_fraction"] == 1.0


def test_a_finished_run_that_is_resumed_changes_nothing(place):
    run = _runs(place)[0]
    weights = (
        place / "lossmap-runs" / layout.weights(Run(open_store(str(place / "lossmap-runs")), run).training)
    )
    written = weights.stat().st_mtime_ns
    surface = (place / "lossmap-runs" / layout.report(run, "surface.npz")).read_bytes()
    lossmap("run", "--resume", run, cwd=place)
    assert weights.stat().st_mtime_ns == written
    assert (place / "lossmap-runs" / layout.report(run, "surface.npz")).read_bytes() == surface


def _press_ctrl_c(process):
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process of the command


def _hang_up(process):
    process.send_signal(signal.SIGHUP)  # as a shell that has lost its terminal


@pytest.mark.parametrize(
    ("changes", "until", "interrupt"),
    [
        (["--set", "training.epochs=2000"], "trainings/*/epochs/00005.json", _press_ctrl_c),
        (
            ["--set", "landscape.plane={x: {points: 401}, y: {points: 401}}"],
            "surveys/*/plan.json",
            subprocess.Popen.terminate,
        ),
        (
            ["--set", "landscape.plane={x: {points: 401}, y: {points: 401}}"],
            "surfaces/*/tiles/*.npz",
            _hang_up,
        ),
    ],
    ids=["training", "workers starting", "survey"],
)
def test_an_interrupted_run_says_how_to_go_on_and_leaves_no_process(
    place, tmp_path, changes, until, interrupt
):
    run = _begun(place, tmp_path, changes)
    before = set(tmp_path.glob(f"lossmap-runs/{until}"))
    going = start("run", "--resume", run, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    end = time.monotonic() + 120
    while set(tmp_path.glob(f"lossmap-runs/{until}")) <= before:
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)
    started = psutil.Process(going.pid).children(recursive=True)
    interrupt(going)
    _, errors = going.communicate(timeout=90)
    assert (
        errors.splitlines()[-1]
        == f"lossmap: interrupted; what is finished is kept. Go on with: lossmap run --resume {run}"
    )
    assert "Traceback" not in errors
    assert going.returncode == 130
    with sqlite3.connect(tmp_path / "lossmap-runs/mlflow.db") as database:
        assert database.execute("select status from runs where name = ?", (run,)).fetchall() == [("KILLED",)]
    assert psutil.wait_procs(started, timeout=10)[1] == []


def _begun(place, folder, changes):
    """A run beside those of `place`, whose network it finds trained if it has the same; MLflow does not know
    it.
    """
    shutil.copytree(place / "lossmap-runs", folder / "lossmap-runs")
    settings = Settings(store=str(folder / "lossmap-runs"))
    experiment = resolve("blobs-mlp", [*SMALL[1::2], *changes[1::2]])
    run = open_run(new_name(experiment), settings)
    steps.prepare(run, experiment)
    return run.name


REFUSED = [
    (
        ("run", "blobs-mlp", "--resume", "x"),
        2,
        "lossmap: run takes recipes or files, or else --resume RUN; see `lossmap recipes`",
    ),
    (("run", "digits-liner"), 2, "lossmap: there is no recipe digits-liner; did you mean digits-linear?"),
    (("run", "none.yaml"), 2, "lossmap: none.yaml cannot be read: No such file or directory"),
    (
        ("run", "blobs-mlp", "--set", "training.epoch=1"),
        2,
        "lossmap: the experiment has no field training.epoch; did you mean training.epochs?",
    ),
    (
        ("run", "--resume", "x", "--set", "a=1"),
        2,
        "lossmap: --set cannot change a run that has begun; start a new one without --resume",
    ),
    (
        ("run", "blobs-mlp", "--store", "ftp://x"),
        1,
        "lossmap: store is 'ftp://x', expected file:///folder, a path, or s3://bucket/prefix",
    ),
    (("compare",), 2, "lossmap: compare takes names of runs, or else --study NAME"),
    (("show", "nothing"), 2, "lossmap: there is no recipe nothing; `lossmap recipes` lists them"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "line"), REFUSED, ids=[" ".join(arguments) for arguments, _, _ in REFUSED]
)
def test_a_users_mistake_is_one_line(tmp_path, arguments, code, line):
    found = lossmap(*arguments, cwd=tmp_path, check=code)
    assert found.stderr.splitlines()[-1] == line
    assert "Traceback" not in found.stderr


def test_unknown_runs_and_studies_are_named(place):
    store = (place / "lossmap-runs").as_uri()
    newest = lossmap("compare", "nothing", cwd=place, check=1).stderr
    assert newest.startswith(f"lossmap: {store} has no run nothing; the newest are ")
    assert (
        lossmap("compare", "--study", "none", cwd=place, check=1).stderr
        == f"lossmap: {store} has no finished run of study none; `lossmap run` makes one\n"
    )


def test_a_training_process_that_fails_is_one_line_with_its_log(tmp_path, tracking):
    tracking(tmp_path / "lossmap-runs")
    found = lossmap(
        "run", "blobs-mlp", *SMALL, *ALONE, "--set", "training.batch_size=500", cwd=tmp_path, check=1
    )
    assert (
        "training.batch_size is 500, expected at most the number of training images (160); see "
        in found.stderr
    )
    assert "Traceback" not in found.stderr
    with sqlite3.connect(tmp_path / "lossmap-runs/mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FAILED",)]


def test_a_whole_run_lives_in_s3_with_the_rights_that_the_page_tells(s3, s3_account, tmp_path, tracking):
    tracking(tmp_path / "lossmap-runs")
    with s3_account(rights("`lossmap run`")):
        found = lossmap("run", "blobs-mlp", *SMALL, *ALONE, "--store", s3, cwd=tmp_path)
    with s3_account(rights("`lossmap export`")):
        listed = lossmap("compare", "--study", "blobs", "--json", "--store", s3, cwd=tmp_path)
        store, run = open_store(s3), json.loads(listed.stdout)[0]["run"]
        lossmap("export", run, "--format", "csv", "--store", s3, cwd=tmp_path)
    with s3_account(rights("`lossmap compare`")):
        compared = lossmap("compare", run, "--limits", "0", "2", "--store", s3, cwd=tmp_path)
    assert f"comparison   {s3}/comparisons/" in compared.stdout
    assert f"report       {s3}/{layout.report(run, 'page.html')}\n" in found.stdout
    assert store.read(layout.report(run, "page.html")).startswith(b"<!doctype html>")
    assert not (tmp_path / "lossmap-runs" / "runs").exists()


def test_without_mlflow_a_run_is_complete_and_says_how_to_send_it_later(tmp_path, tracking):
    tracking(tmp_path / "lossmap-runs")
    found = lossmap("run", "blobs-mlp", *SMALL, *ALONE, "--tracking", "http://127.0.0.1:9", cwd=tmp_path)
    run = _runs(tmp_path)[0]
    assert (tmp_path / "lossmap-runs" / layout.scalars(run)).exists()
    assert "MLflow did not get this run: MLflow at http://127.0.0.1:9 is out of reach" in found.stdout
    assert f"; the report is complete, and `lossmap sync {run}` sends it\n" in found.stdout
    assert lossmap("sync", run, cwd=tmp_path).stdout == f"{run}: MLflow has all of it\n"
    with sqlite3.connect(tmp_path / "lossmap-runs/mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
        assert (
            database.execute("select count(*) from metrics where key = 'train_loss' and step > 0").fetchone()[
                0
            ]
            >= 3
        )


@pytest.mark.slow
def test_a_run_from_a_script_on_standard_input_ends_as_any_other(tmp_path):
    script = f"""
import sys
from lossmap.pipelines.cli import main
sys.argv = {["-", "run", "blobs-mlp", *SMALL]!r}
main()
"""
    command = [str(LOSSMAP.with_name("python")), "-"]
    outside = {name: value for name, value in environment().items() if name != "PATH"}
    captured = {"capture_output": True, "text": True, "timeout": 600}
    ended = subprocess.run(command, input=script, cwd=tmp_path, env=outside, check=False, **captured)
    assert ended.returncode == 0, ended.stderr
    assert f"MLflow UI    {LOSSMAP} ui" in ended.stdout
