"""lossmap study as a user types it: interrupted, gone on with, extended, reported on."""

import json
import math
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from readmes.study_tables import filled
from support.command_line import lossmap, start

from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store

STUDY = """
name: tiny
title: Does a perceptron need 32 hidden units?
networks: {wide: blobs-mlp, narrow: blobs-mlp}
network_assignments: {narrow: ["model.hidden=[4]"]}
assignments:
  - data.blobs.train_per_class=30
  - training.processes=1
  - training.epochs=2
  - landscape.samples=50
  - landscape.plane.x.points=3
  - landscape.plane.y.points=3
  - landscape.line.points=5
  - landscape.workers=1
seeds: 1
connections: 1
measures: [test_error, floor]
contrasts: [{network: wide, against: narrow}]
statements: [{text: Wide is better, rule: less, measure: test_error, network: wide, against: narrow}]
"""

# What every process of a cell says first; not their fork servers: a line of theirs might follow the reason.
TALKATIVE = """
import os, sys
if not any("multiprocessing" in word for word in sys.orig_argv):
    lines = "a line\\n" * 20_000
    sys.stderr.write(lines)
    with open(f"{os.path.dirname(__file__)}/said-{os.getpid()}", "w") as file:
        file.write(lines)
"""


def _begun(store):
    return sorted(key.split("/")[1] for key in store.keys("runs/") if key.endswith("experiment.json"))


# as Ctrl-C, which children of a job in the background ignore
def _interrupt(folder, ready, *options, kind=signal.SIGTERM):
    """Stop the study once it is so far; its exit code, and what it said."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start("study", "tiny.yaml", *options, cwd=folder, **streams) as process:
        try:
            end = time.monotonic() + 300
            while not ready(folder) and process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            process.send_signal(kind)
            out, said = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, out, said


def _in_second_cell(folder):
    return len(_begun(open_store(str(folder / "lossmap-runs")))) == 2


def _two_go_on(folder):
    return len(_processes(folder)) == 2


def _processes(folder):
    """Those of cells that run beside each other."""
    store = (folder / "lossmap-runs").as_uri()
    return [each for each in psutil.process_iter() if _goes_on(each, store)]


def _goes_on(process, store):
    try:
        return "--resume" in process.cmdline() and process.environ().get("LOSSMAP_STORE") == store
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, tracking):
    """A folder with a study that was stopped in its second cell, and what it said."""
    folder = tmp_path_factory.mktemp("place")
    tracking(folder / "lossmap-runs")
    (folder / "tiny.yaml").write_text(STUDY)
    return folder, *_interrupt(folder, _in_second_cell, "--parallel", "1")


@pytest.fixture(scope="module")
def gone_on(interrupted):
    return lossmap("study", "tiny.yaml", "--parallel", "1", cwd=interrupted[0])


def test_interrupted_it_keeps_what_is_finished_and_says_how_to_go_on(interrupted):
    folder, code, _, said = interrupted
    store = open_store(str(folder / "lossmap-runs"))
    message = (
        "lossmap: interrupted; 1 of 2 cells were finished and are kept. The same command goes on with the"
        " others"
    )
    assert (code, said.splitlines()[-1]) == (130, message)
    assert [store.exists(layout.scalars(run)) for run in _begun(store)] == [False, True]  # narrow, wide


def test_the_same_command_runs_the_missing_cell_alone_and_reports(interrupted, gone_on):
    lines = gone_on.stdout.splitlines()
    assert lines[:2] == ["tiny: Does a perceptron need 32 hidden units?", "1 of 2 cells are finished"]
    [narrow, _] = _begun(open_store(str(interrupted[0] / "lossmap-runs")))
    assert [line for line in lines if line.startswith("cell ")] == [f"cell 1/1 {narrow}"]
    assert lines[3] == "not decidable here: Wide is better"
    assert Path(lines[-1].split()[1]).read_text().lower().startswith("<!doctype html>")


def test_its_means_make_the_table_of_a_readme(interrupted, gone_on):
    place = "<!-- means of tiny -->\n<!-- end of means -->\n"
    _, heads, _, wide, narrow, _ = filled(place, interrupted[0] / "lossmap-runs/studies").splitlines()
    assert heads == "| network | Test error | Lowest loss on the plane | runs |"
    assert re.fullmatch(r"\| wide \| [\d.]+\N{NARROW NO-BREAK SPACE}% \| [\d.e-]+ \| 1 \|", wide)
    assert narrow.startswith("| narrow |")


def test_another_seed_runs_its_own_cells_only_beside_each_other_and_json_has_all_of_them(
    interrupted, gone_on
):
    folder, first = interrupted[0], set(_begun(open_store(str(interrupted[0] / "lossmap-runs"))))
    code, *_ = _interrupt(folder, _two_go_on, "--seeds", "2", "--parallel", "2", kind=signal.SIGKILL)
    assert code == -signal.SIGKILL
    end = time.monotonic() + 60
    while _processes(folder):  # they end with the study
        assert time.monotonic() < end
        time.sleep(0.2)
    code, _, said = _interrupt(folder, _two_go_on, "--seeds", "2", "--parallel", "2")
    assert (code, said) == (
        130,
        (
            "lossmap: interrupted; 0 of 2 cells were finished and are kept. The same command goes on with the"
            " others\n"
        ),
    )
    away = ("--tracking", "http://127.0.0.1:9")
    ended = lossmap("study", "tiny.yaml", "--seeds", "2", "--parallel", "2", "--json", *away, cwd=folder)
    record = json.loads(ended.stdout)
    runs = {run["run"] for run in record["runs"]}
    for run in runs - first:  # by processes of their own
        line = rf"MLflow did not get this run: .* out of reach.*; .* `lossmap sync {run}` sends it"
        assert len(re.findall(line, ended.stderr)) == 1, ended.stderr
    assert len(runs) == 4
    assert first < runs
    assert (record["failed"], record["missing"]) == ([], [])
    assert {connection["network"] for connection in record["connections"]} == {"wide", "narrow"}
    assert all(math.isfinite(connection["barrier"]) for connection in record["connections"])
    reported = json.loads(
        lossmap("study", "tiny.yaml", "--seeds", "2", "--report-only", "--json", cwd=folder).stdout
    )
    assert {**reported, "page": ""} == {**record, "page": ""}
    again = lossmap("study", "tiny.yaml", "--seeds", "2", cwd=folder).stdout
    assert "4 of 4 cells are finished" in again
    assert "cell 1" not in again and "connection 1" not in again


def test_a_report_on_nothing_and_a_file_that_is_no_study_are_refused_in_one_line(tmp_path):
    (tmp_path / "tiny.yaml").write_text(STUDY)
    said = lossmap("study", "tiny.yaml", "--report-only", cwd=tmp_path, check=1).stderr
    assert (
        said
        == f"lossmap: {(tmp_path / 'lossmap-runs').as_uri()} has no finished cell of study tiny, so there is"
        " nothing to report\n"
    )
    (tmp_path / "tiny.yaml").write_text("name: tiny")
    said = lossmap("study", "tiny.yaml", cwd=tmp_path, check=2).stderr
    assert (
        said == "lossmap: the study's title is missing, expected at least the fields name, title, networks,"
        " measures\n"
    )


def test_cells_beside_each_other_may_say_more_than_a_pipe_holds(tmp_path, tracking, monkeypatch):
    tracking(tmp_path / "lossmap-runs")
    (tmp_path / "tiny.yaml").write_text(
        STUDY.replace("data.blobs.train_per_class=30", "training.batch_size=5000")
    )
    (tmp_path / "sitecustomize.py").write_text(TALKATIVE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = lossmap("study", "tiny.yaml", "--parallel", "2", cwd=tmp_path, check=1)
    assert [path.stat().st_size > 1 << 16 for path in tmp_path.glob("said-*")] == [True, True]
    reason = (
        "training failed: training.batch_size is 5000, expected at most the number of training images (800)"
    )
    assert len(re.findall(rf"tiny-\w+-s0-\w+ failed: {re.escape(reason)}", found.stdout)) == 2
