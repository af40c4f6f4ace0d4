import contextlib
import sqlite3

import pytest
import torch

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Curvature, Landscape
from lossmap.components.config.models import Linear
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import DataError, ExperimentError, LossmapError, TrackingError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines.local import open_run, run
from lossmap.pipelines.stages import silent_stage

EXPERIMENT = Experiment(data=Data(source="blobs", blobs=Blobs(train_per_class=4, test_per_class=2)))


@pytest.fixture
def settings(tmp_path):
    return Settings(store=str(tmp_path / "store"))


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_preparing_a_run_again_mends_its_data_set(settings, damage):
    steps.prepare(open_run("run", settings), EXPERIMENT)
    store = open_store(settings.store)
    key = Run(store, "run").manifest.train[0].key
    content = store.read(key)
    if damage == "missing":
        store.delete(key)
    else:
        store.write(key, content[:-1] + b"x")
    steps.prepare(open_run("run", settings), EXPERIMENT)
    assert store.read(key) == content


def test_a_run_whose_images_have_changed_is_not_continued_with_others(settings, tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            Image.new("L", (8, 8), 50).save(tmp_path / "images" / split / label / "1.png")
    experiment = Experiment(data=Data(source=str(tmp_path / "images")))
    steps.prepare(open_run("run", settings), experiment)
    Image.new("L", (8, 8), 60).save(tmp_path / "images/train/a/1.png")
    assert steps.prepare(open_run("run", settings), experiment)  # what was packed is whole: the run keeps it
    store = open_store(settings.store)
    store.delete(Run(store, "run").manifest.train[0].key)
    with pytest.raises(DataError) as refused:
        steps.prepare(open_run("run", settings), experiment)
    assert (
        str(refused.value) == f"{tmp_path}/images has other images than when run run began; start a new run"
    )


def test_a_runs_experiment_never_changes(settings):
    steps.prepare(open_run("run", settings), EXPERIMENT)
    with pytest.raises(ExperimentError, match=r"^run run exists with another experiment; start a new run$"):
        steps.prepare(open_run("run", settings), EXPERIMENT.model_copy(update={"study": "other"}))
    assert open_store(settings.store).exists(layout.experiment("run"))


@pytest.mark.parametrize(
    ("landscape", "line"),
    [
        (
            {"curvature": Curvature(parameters=("layer9",))},
            "landscape.curvature.parameters has 'layer9', which matches no parameter of the network"
            " Sequential, expected some of 1.* (2)",
        ),
        ({"paths": ("none",)}, "{store} has no run none; the newest are run"),
        ({"directions": "networks", "networks": ("none",)}, "{store} has no run none; the newest are run"),
    ],
)
def test_names_that_there_are_not_are_refused_before_the_training(landscape, line, settings):
    update = {"model": Linear(), "landscape": Landscape.model_validate(landscape)}
    steps.prepare(open_run("run", settings), EXPERIMENT.model_copy(update=update))

    def launch(_run, _listeners):
        pytest.fail("it trains")

    with pytest.raises(LossmapError) as refused:
        steps.train(open_run("run", settings), settings, launch=launch)
    assert str(refused.value) == line.format(store=open_store(settings.store).uri)


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_a_run_of_which_mlflow_has_not_heard_yet_is_there_as_what_it_is_when_it_ends(
    tmp_path, settings, tracking, status
):
    tracking(tmp_path / "store")
    begun = open_run("run", settings)
    steps.prepare(begun, EXPERIMENT)
    for _ in range(2):
        steps.end(begun, settings, status)
    with contextlib.closing(sqlite3.connect(tmp_path / "store/mlflow.db")) as database:
        assert database.execute("SELECT name, status FROM runs").fetchall() == [("run", status)]


@pytest.mark.parametrize(
    ("change", "tracking", "told"),
    [
        ({"landscape": {"device": "cuda"}}, "", "landscape.device is cuda, and torch sees no GPU"),
        ({"training": {"device": "cuda"}}, "", "training.device is cuda, and torch sees no GPU"),
        ({}, "databricks", "tracking URI is databricks, expected http://host:port"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_begins(tmp_path, change, tracking, told):
    if change and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    experiment = Experiment.model_validate(EXPERIMENT.model_dump() | _merged(EXPERIMENT, change))
    settings = Settings(store=str(tmp_path / "store"), tracking=tracking)
    with pytest.raises(LossmapError, match=told) as refused:
        run(open_run("run", settings), experiment, settings, silent_stage)
    assert not isinstance(refused.value, TrackingError)
    assert not (tmp_path / "store").exists()


def test_an_address_of_mlflows_that_is_not_followed_is_told(settings, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:secret@host/runs")
    steps.require_machine(EXPERIMENT, settings)
    assert caplog.messages == [
        "  note: MLFLOW_TRACKING_URI is postgresql://host/runs, which is neither a server nor sqlite; the run"
        f" is logged to {settings.tracking}"
    ]


def _merged(experiment, change):
    return {name: getattr(experiment, name).model_dump() | values for name, values in change.items()}
