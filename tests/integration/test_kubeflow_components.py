"""The steps as Kubeflow components, executed by Kubeflow's own local runner."""

import json
import os
import sys
from pathlib import Path

import pytest

from lossmap.components import pods, steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import Mlp
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_json
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.merge import load_surfaces
from lossmap.pipelines.local import open_run

EXPERIMENT = Experiment(
    name="test",
    data=Data(source="blobs", blobs=Blobs(train_per_class=20, test_per_class=5)),
    model=Mlp(hidden=(4,)),
    training=Training(epochs=1, batch_size=16, processes=1),
    landscape=Landscape(
        plane=Plane(x=Axis(points=3), y=Axis(points=3)), line=None, samples=20, tile_points=5, workers=1
    ),
)


@pytest.fixture
def settings(tmp_path, monkeypatch, tracking):
    settings = Settings(store=str(tmp_path), tracking=tracking(tmp_path), run="run")
    for name, value in {**settings.environment(), "LOSSMAP_RUN": settings.run}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return settings


@pytest.mark.filterwarnings("default", "ignore:You may be attemping to run a task that uses custom")
def test_the_whole_chain_runs_as_components(settings, tmp_path):
    from kfp import dsl, local

    from lossmap.components.merge import merge
    from lossmap.components.plan import plan
    from lossmap.components.prepare import prepare
    from lossmap.components.report import report
    from lossmap.components.tile import tile
    from lossmap.components.train import train

    @dsl.pipeline
    def chain(experiment: str) -> None:
        prepared = prepare(experiment=experiment)
        software = prepared.outputs["software"]
        trained = train(network="{}", digest=prepared.outputs["digest"], software=software)
        planned = plan(
            landscape="{}",
            training=trained.outputs["Output"],
            software=software,
            pods=5,
            model=trained.outputs["model"],
        )
        first, second = (tile(share=share) for share in ("0/2", "1/2"))
        merged = merge(survey=planned.outputs["survey"], software=software).after(first, second)
        report().after(merged)

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    chain(experiment=EXPERIMENT.canonical_json())
    store = open_store(settings.store)
    artifacts = {path.name: path for path in (tmp_path / "kfp").glob("*/*/*")}
    (shard,) = json.loads(artifacts["dataset"].read_text())["train"]
    assert shard["count"] == 80
    assert json.loads(artifacts["model"].read_text()) == load_json(
        store, layout.training_result(Run(store, "run").training)
    )
    assert artifacts["page"].read_bytes() == store.read(layout.report("run", "page.html"))
    told = [json.loads(path.read_text()) for path in (tmp_path / "kfp").glob("*/*/executor_output.json")]
    reported = next(each["artifacts"] for each in told if "page" in each.get("artifacts", {}))
    links = reported["page"]["artifacts"][0]["metadata"]
    assert (links["run"], links["store"]) == ("run", f"{store.uri}/{layout.report('run', '')}")
    assert "mlflow" not in links
    numbers = reported["metrics"]["artifacts"][0]["metadata"]
    assert {"basin_fraction", "floor", "train_loss"} <= numbers.keys()
    assert not [name for name in numbers if name.endswith(("_low", "_high", "_range_of"))]
    assert len(list(store.keys(layout.tiles(Run(store, "run").survey.surfaces[0])))) == 2
    plane = load_surfaces(Run(store, "run"))["plane"]
    assert plane.evaluated.all()
    assert plane.finite.all()
    assert json.loads(store.read(layout.scalars("run")))["points"] == 9


def test_what_a_tile_cannot_evaluate_is_left_to_the_merge_which_tells_why(settings, capsys):
    steps.prepare(open_run(settings.run, settings), EXPERIMENT)
    pods.tile("0/1")  # nothing is planned yet
    said = capsys.readouterr().out
    with pytest.raises(SystemExit) as failed:
        pods.merge()
    assert f"what is missing is left to the merge: {str(failed.value).removeprefix('lossmap: ')}\n" in said
    assert "has no object surveys/" in str(failed.value)
