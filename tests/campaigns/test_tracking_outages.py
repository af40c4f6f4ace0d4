"""MLflow away at the start of a run, in its middle, at its end, now and then, slow, or answering to nobody:
no metric is lost, and what is sent twice is there once.
"""

import sqlite3
import time
from contextlib import closing
from functools import partial

import pytest
from support.campaigns import cases, check_line, draws, outcomes
from support.faulty_proxy import TRACKING_FAULTS, FaultyProxy
from support.small_run import EXPERIMENT, survey
from support.tracking_server import serving_mlflow

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import TrackingError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run, load_epochs
from lossmap.pipelines.kept import send

_EPOCHS = 5
_PAUSE = 0.3  # of an epoch, so that some of it is sent


@pytest.fixture(scope="module")
def server(tmp_path_factory, tracking):
    """The folder and address of an MLflow server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with serving_mlflow(tracking(folder), folder / "artifacts") as port:
        yield folder, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with a finished run of several epochs."""
    store = open_store(str(tmp_path_factory.mktemp("store")))
    training = EXPERIMENT.training.model_copy(update={"epochs": _EPOCHS})
    run = Run(store, "finished")
    survey(
        Settings(store=store.uri, tracking="none"), run, EXPERIMENT.model_copy(update={"training": training})
    )
    store.write(layout.report("finished", "page.html"), b"<p>page</p>")
    store.write(layout.report("finished", "contour.png"), bytes(range(256)))
    return store


def test_no_outage_loses_a_metric(server, finished, monkeypatch):
    folder, uri = server
    expected = None
    for number, generator in enumerate(draws("tracking outages", cases(1, cost=300))):
        with FaultyProxy(uri, generator, 0.0, TRACKING_FAULTS).running() as gate:
            if not expected:
                whole = _copy(finished, "whole")
                _carry_out(whole, gate, partial(_patience, gate, monkeypatch))
                expected = _logged(folder, whole)
                assert expected["epochs"] == _EPOCHS
            run = _copy(finished, f"outage-{number}")
            ending = _carry_out(run, gate, partial(_weather, gate, generator, monkeypatch))
            _patience(gate, monkeypatch)
            for _ in range(2):
                lines = list(send([run.name], finished, _settings(finished, gate)))
                assert lines == [f"{run.name}: MLflow has all of it"]
                assert _logged(folder, run) == expected, (ending, gate.failed)
        outcomes[f"MLflow's outage: the end {ending}; all of it is there once"] += 1
        for fault, count in gate.failed.items():
            outcomes[f"MLflow's fault: {fault}"] += count


def _copy(store, name):
    """The finished run as another one, of a study of its own."""
    original, run = Run(store, "finished"), Run(store, name)
    run.begin(original.experiment.model_copy(update={"study": name}))
    for key in list(store.keys(layout.run("finished", ""))):
        if not key.endswith("experiment.json"):
            store.write(key.replace("/finished/", f"/{name}/"), store.read(key))
    return run


def _carry_out(run, gate, change):
    """The training as MLflow hears of it, epoch by epoch, and the end of the report; returns how it went."""
    result = run.store.read(layout.training_result(run.training))
    run.store.delete(layout.training_result(run.training))

    def launch(run, listeners):
        for epoch in load_epochs(run.store, run.training):
            change()
            listeners.epoch(epoch)
            time.sleep(_PAUSE)
        change()
        run.store.write(layout.training_result(run.training), result)

    change()
    steps.train(run, _settings(run.store, gate), launch=launch)
    change()
    try:
        list(send([run.name], run.store, _settings(run.store, gate)))
    except TrackingError as error:
        check_line(str(error))
        return "told"
    return "logged"


def _settings(store, gate):
    return Settings(store=store.uri, tracking=gate.uri)


def _patience(gate, monkeypatch):
    """All is well with the way to MLflow, and what was under way has arrived."""
    gate.share = 0.0
    gate.settle()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


def _weather(gate, generator, monkeypatch):
    """Another state of the way to MLflow."""
    gate.share = 0.0
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    kind = generator.choice(("well", "now and then", "away"))
    if kind != "well":
        gate.share = {"now and then": 0.3, "away": 1.0}[kind]
        gate.faults = generator.choice((*((fault,) for fault in TRACKING_FAULTS), TRACKING_FAULTS))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def _logged(folder, run):
    """What SQL alone finds of a run, without names and times."""
    study = run.name
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:

        def rows(query, *values):
            return sorted(database.execute(query, values).fetchall(), key=repr)

        [(key, status)] = rows(
            "SELECT run_uuid, status FROM runs JOIN experiments e USING (experiment_id) WHERE e.name = ? AND"
            " runs.lifecycle_stage = 'active'",
            study,
        )
        metrics = rows("SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?", key)
        return {
            "status": status,
            "metrics": metrics,
            "epochs": max(step for _, step, *_ in metrics),
            "parameters": rows("SELECT key, value FROM params WHERE run_uuid = ?", key),
            "models": rows("SELECT status FROM logged_models WHERE source_run_id = ?", key),
            "data": rows("SELECT source_type FROM inputs WHERE destination_id = ?", key),
            "files": sorted(
                path.relative_to(folder).parts[3:]
                for path in (folder / "artifacts").rglob(f"{key}/artifacts/*")
            ),
        }
