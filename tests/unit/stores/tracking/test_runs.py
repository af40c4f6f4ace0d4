import contextlib
import importlib.metadata
import sqlite3

import pytest

from lossmap.components.config.data import Data
from lossmap.components.config.manifest import Manifest
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.tracking.runs import note_comparison, open_tracker, parameters, tags
from lossmap.pipelines.recipes.registry import load

# MLflow 3.17 with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

EXPERIMENT = load("digits-resnet20-noshort")
MANIFEST = Manifest(
    digest="ab" * 32,
    source="digits",
    classes=("0", "1"),
    shape=(1, 8, 8),
    mean=(0.5,),
    deviation=(0.5,),
    train=(),
    test=(),
)


@pytest.fixture
def run(tmp_path):
    kept = Run(open_store(str(tmp_path / "store")), "r")
    kept.begin(EXPERIMENT)
    kept.keep_manifest(MANIFEST)
    return kept


def test_every_field_of_the_experiment_but_its_names_is_a_flat_parameter():
    found = parameters(EXPERIMENT, MANIFEST)
    expected = {
        "model.depth": 20,
        "model.shortcuts": False,
        "training.optimizer.learning_rate": 0.1,
        "training.schedule.warmup_epochs": 1,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["landscape.plane.x.points"] == EXPERIMENT.landscape.plane.x.points
    assert found["data.digest"] == "ab" * 32
    assert not {"name", "study"} & found.keys()
    assert not [name for name in found if name.startswith("cluster.")]
    assert not any(isinstance(value, dict) for value in found.values())


def test_fields_of_the_data_that_another_source_has_are_no_parameters():
    found = {}
    for source in ("digits", "blobs", "tasks"):
        experiment = EXPERIMENT.model_copy(update={"data": Data(source=source)})
        named = {name.split(".")[1] for name in parameters(experiment, MANIFEST) if name.startswith("data.")}
        found[source] = named & {"blobs", "tasks", "images"}
    assert found == {"digits": set(), "blobs": {"blobs"}, "tasks": {"tasks", "images"}}


def test_runs_that_differ_only_in_name_and_study_have_the_same_parameters():
    renamed = EXPERIMENT.model_copy(update={"name": "other", "study": "elsewhere"})
    assert parameters(renamed, MANIFEST) == parameters(EXPERIMENT, MANIFEST)


def test_tags_say_what_one_groups_by_and_where_the_run_lies(run):
    found = tags(run)
    assert (found["recipe"], found["model"], found["data"]) == ("digits-resnet20-noshort", "resnet", "digits")
    assert found["store"] == f"{run.store.uri}/runs/r/"
    assert found["experiment.digest"] == EXPERIMENT.digest()
    assert found["version"].startswith(f"{importlib.metadata.version('lossmap')}+g")


def test_a_run_on_a_cluster_has_what_it_asks_of_it_among_its_parameters(monkeypatch):
    monkeypatch.setenv("LOSSMAP_PIPELINE_RUN", "1234")
    assert "cluster.queue" in parameters(EXPERIMENT, MANIFEST)


def test_what_a_comparison_says_stands_in_the_study_and_a_description_of_somebody_s_stays(
    run, tmp_path, tracking
):
    uri = tracking(tmp_path)
    assert not note_comparison(uri, "digits", "nothing is there yet")
    tracker = open_tracker(uri, run)
    tracker.describe("the run")
    assert tracker.artifact_address("contour.png").startswith("get-artifact?path=contour.png&run_uuid=")
    for text in ("first", "second"):
        assert note_comparison(uri, "digits", text)
    note = (
        "SELECT value FROM experiment_tags WHERE key = 'mlflow.note.content' UNION SELECT value FROM tags"
        " WHERE key = 'mlflow.note.content' ORDER BY value"
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        (study,), (described,) = connection.execute(note)
        connection.execute("UPDATE experiment_tags SET value = 'mine' WHERE key = 'mlflow.note.content'")
        connection.commit()
    assert study.endswith("\n\nsecond")
    assert "first" not in study
    assert described == "the run"
    assert not note_comparison(uri, "digits", "third")


def test_the_study_explains_its_numbers(run, tmp_path, tracking):
    uri = tracking(tmp_path)
    for _ in range(2):
        open_tracker(uri, run)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        [(study, words)] = connection.execute(
            "SELECT e.name, t.value FROM experiments e JOIN experiment_tags t USING (experiment_id) WHERE"
            " t.key = 'mlflow.note.content'"
        )
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert study == "digits"
    assert "`lossmap compare --study digits`" in words
    assert all(
        f"`{name}`" in words
        for name in (
            "test_error",
            "centre_loss",
            "floor",
            "ceiling",
            "basin_fraction",
            "line_convex_fraction",
        )
    )
