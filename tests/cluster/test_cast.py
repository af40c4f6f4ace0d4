"""Networks of every kind on the cluster, trained by a job of every kind."""

import secrets

import pytest
from cluster.launching import trainers
from cluster.running import STORE, Place, run_locally, same_surfaces

from lossmap.components.config.parse import override
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.merge import load_surfaces
from lossmap.pipelines.recipes.registry import load

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]  # kfp's, of what lies beneath it

SMALL = [
    "training.epochs=1",
    "landscape.pairs=1",
    "landscape.samples=64",
    "landscape.adaptive=null",
    "landscape.plane.x.points=5",
    "landscape.plane.y.points=5",
    "landscape.line.points=5",
    "landscape.curvature=null",
    *(
        f"cluster.{pods}.{of}"
        for pods in ("training", "survey", "steps")
        for of in ("cpu=100m", "cpu_limit=2")
    ),
]


TRAINERS = {"digits-moe": "trainjob", "digits-multimodel": "pytorchjob"}


@pytest.fixture(scope="module")
def submitted(installation, study, tmp_path_factory):
    """The command line; and each recipe's experiment and run, which go on side by side."""
    place = Place(installation, tmp_path_factory.mktemp("place"))
    experiments = {recipe: _experiment(recipe, study) for recipe in TRAINERS}
    return place, {recipe: (asked, place.submit(asked)[0]) for recipe, asked in experiments.items()}


def _experiment(recipe, study):
    kind = TRAINERS[recipe] if TRAINERS[recipe] in trainers() else "auto"
    seed = secrets.randbelow(1 << 31)  # of a training that nobody has carried out
    sets = [f"study={study}", f"training.seed={seed}", f"cluster.trainer={kind}"]
    return override(load(recipe), [*SMALL, *sets])


@pytest.mark.parametrize("recipe", TRAINERS)
def test_a_recipe_has_the_local_runs_bits(submitted, recipe, s3_forward, tmp_path):
    place, runs = submitted
    experiment, run = runs[recipe]
    here, there = run_locally(experiment, tmp_path), open_store(STORE)
    followed = place.lossmap("logs", run, "-f")
    assert place.state(run) == "SUCCEEDED", followed
    local, pods = Run(here, "run"), Run(there, run)
    assert local.training == pods.training
    assert here.read(layout.weights(local.training)) == there.read(layout.weights(pods.training))
    assert same_surfaces(load_surfaces(local), load_surfaces(pods))
