import pytest

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Curvature, Landscape
from lossmap.components.config.models import Linear
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import DataError, ExperimentError, LossmapError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines.local import open_run

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
