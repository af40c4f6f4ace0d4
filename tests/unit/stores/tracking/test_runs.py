import contextlib
import importlib.metadata
import sqlite3

import pytest

from lossmap.components.config.manifest import Manifest
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.tracking.runs import open_tracker, parameters, tags
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
    assert not any(isinstance(value, dict) for value in found.values())


def test_runs_that_differ_only_in_name_and_study_have_the_same_parameters():
    renamed = EXPERIMENT.model_copy(update={"name": "other", "study": "elsewhere"})
    assert parameters(renamed, MANIFEST) == parameters(EXPERIMENT, MANIFEST)


def test_tags_say_what_one_groups_by_and_where_the_run_lies(run):
    found = tags(run)
    assert (found["recipe"], found["model"], found["data"]) == ("digits-resnet20-noshort", "resnet", "digits")
    assert found["store"] == f"{run.store.uri}/runs/r/"
    assert found["experiment.digest"] == EXPERIMENT.digest()
    assert found["version"].startswith(f"{importlib.metadata.version('lossmap')}+g")


def test_the_study_explains_its_numbers_and_each_run_its_artifacts(run, tmp_path, tracking):
    uri = tracking(tmp_path)
    for _ in range(2):
        open_tracker(uri, run)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        [(study, words)] = connection.execute(
            "SELECT e.name, t.value FROM experiments e JOIN experiment_tags t USING (experiment_id) WHERE"
            " t.key = 'mlflow.note.content'"
        )
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        assert (
            connection.execute("SELECT value FROM tags WHERE key = 'mlflow.note.content'")
            .fetchone()[0]
            .startswith("Among the artifacts: `page.html`")
        )
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
