"""Runs of a store, as they are listed, completed and removed by commands."""

import json
import os
import sqlite3

import pytest
import typer.main
from support.small_run import EXPERIMENT
from support.training import in_process
from typer._completion_classes import BashComplete
from typer.testing import CliRunner

from lossmap.components import steps
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError, StoreError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run, load_epochs
from lossmap.components.stores.tracking.client import RunTracker
from lossmap.pipelines.cli import app
from lossmap.pipelines.kept import kept_runs, seconds_of


class Listing:
    """A store that counts how often it is asked, and gives nothing else than a list."""

    def __init__(self, store):
        self._store, self.asked = store, 0

    def entries(self, prefix):
        self.asked += 1
        return self._store.entries(prefix)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Two finished runs and one that is not, in the usual place of this folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOSSMAP_STORE", raising=False)
    opened = open_store("lossmap-runs")
    for second, name in enumerate(("older", "newer", "going")):
        Run(opened, name).begin(Experiment(study="mine"))
        if name != "going":
            opened.write(layout.scalars(name), b"{}")
        for key in opened.keys(layout.run(name, "")):
            os.utime(tmp_path / "lossmap-runs" / key, (1000 + second, 1000 + second))
    return opened


def said(*arguments):
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def test_runs_are_listed_newest_first_by_one_question(store):
    listing = Listing(store)
    runs = kept_runs(listing)
    assert [(run.name, run.finished) for run in runs] == [("going", False), ("newer", True), ("older", True)]
    assert listing.asked == 1
    first, *_ = json.loads(said("runs", "--json"))
    size = len(store.read(layout.experiment("going")))
    assert first == {"run": "going", "finished": False, "changed": "1970-01-01T00:16:42+00:00", "bytes": size}
    table = [line.split() for line in said("runs").splitlines()]
    assert [(row[0], row[3]) for row in table[1:]] == [
        ("going", "not"),
        ("newer", "finished"),
        ("older", "finished"),
    ]


def test_an_empty_store_says_so(tmp_path):
    uri = tmp_path.as_uri()
    assert said("runs", "--store", uri) == f"{uri} has no runs; `lossmap run` makes one\n"


def test_delete_removes_the_run_and_puts_mlflows_into_its_bin(store, tmp_path, tracking):
    uri = tracking(tmp_path / "lossmap-runs")
    for name in ("older", "newer"):
        RunTracker(uri, "mine", name, store.uri).start({}, {})
    before = set(store.keys(""))
    told = said("delete", "older", "--dry-run")
    assert "1 run would be removed: " in told
    assert set(store.keys("")) == before
    told = json.loads(said("delete", "older", "--json"))
    assert told["runs"] == ["older"] and told["removed"]
    assert [run.name for run in kept_runs(store)] == ["going", "newer"]
    with sqlite3.connect(tmp_path / "lossmap-runs/mlflow.db") as database:
        stages = dict(database.execute("select name, lifecycle_stage from runs").fetchall())
    assert stages == {"older": "deleted", "newer": "active"}


def test_without_mlflow_the_run_is_removed_and_a_line_says_what_mlflow_keeps(store):
    found = CliRunner().invoke(
        app, ["delete", "older", "--tracking", "http://127.0.0.1:9"], catch_exceptions=False
    )
    assert "MLflow keeps its run of older: MLflow at http://127.0.0.1:9 is out of reach" in found.stderr
    assert "older" not in [run.name for run in kept_runs(store)]
    assert not (store.folder / "mlflow.db").exists()


def test_a_run_that_is_not_finished_is_sent_as_far_as_it_is(store, tmp_path, tracking):
    uri = tracking(tmp_path / "lossmap-runs")
    run = Run(store, "begun")
    steps.prepare(run, EXPERIMENT)
    rest = "it is not finished, go on with it: lossmap run --resume"
    assert said("sync", "begun", "going") == (
        f"begun: there is nothing to send; {rest} begun\ngoing: there is nothing to send; {rest} going\n"
    )
    settings = Settings(store=store.uri, tracking="none")
    steps.train(run, settings, launch=in_process(settings))
    for status in ("KILLED", "RUNNING"):
        assert said("sync", "begun") == f"begun: MLflow has its 2 epochs; {rest} begun\n"
        with sqlite3.connect(tmp_path / "lossmap-runs/mlflow.db") as database:
            assert database.execute("select status from runs").fetchall() == [(status,)]
            losses = database.execute("select step, value from metrics where key = 'test_loss' order by step")
            expected = [(each["epoch"], each["test_loss"]) for each in load_epochs(store, run.training)]
            assert losses.fetchall() == expected
        RunTracker(uri, EXPERIMENT.study, "begun", store.uri).start({}, {})  # as of a run that goes on


def test_what_cannot_be_sent_is_refused_before_anything_is(store):
    other = CliRunner().invoke(app, ["sync", "begun", "other", "--tracking", "http://127.0.0.1:9"]).exception
    assert isinstance(other, StoreError) and "has no run begun" in str(other)
    untracked = CliRunner().invoke(app, ["sync", "older", "--tracking", "none"]).exception
    assert str(untracked) == "--tracking is none, expected the address of MLflow"


def test_gc_takes_what_is_old(store):
    told = json.loads(said("gc", "--older-than", "1h", "--dry-run", "--json", "--tracking", "none"))
    assert set(told["runs"]) == {"older", "newer", "going"}
    said("gc", "--older-than", "1h", "--tracking", "none")
    assert set(store.keys("")) == set()


def test_unknown_runs_and_ages_are_refused(store):
    assert isinstance(CliRunner().invoke(app, ["delete", "other"]).exception, StoreError)
    with pytest.raises(ExperimentError) as refused:
        seconds_of("a month")
    assert str(refused.value) == (
        "--older-than is a month, expected hours, days or weeks, such as 12h, 30d or 2w"
    )
    assert seconds_of("2w") == 14 * 86400


def completed(*words):
    """What a shell offers for the last of the words."""
    command = typer.main.get_command(app)
    complete = BashComplete(command, {}, "lossmap", "_LOSSMAP_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_a_shell_completes_recipes_runs_measures_and_files(store, tmp_path):
    assert completed("run", "digits-resnet56") == ["digits-resnet56", "digits-resnet56-noshort"]
    (tmp_path / "mine.yaml").touch()
    assert completed("run", "mi") == ["mine.yaml"]
    assert set(completed("compare", "")) == set(completed("sync", "")) == {"older", "newer", "going"}
    assert completed("export", "--store", store.uri, "old") == ["older"]
    (tmp_path / "old.npz").touch()
    assert set(completed("picture", "old")) == {"older", "old.npz"}
    assert "basin_fraction" in completed("explain", "bas")
    assert completed("compare", "--store", "s3://bucket/x", "") == []
