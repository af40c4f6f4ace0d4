"""The steps as Kubeflow components, executed by Kubeflow's own local runner."""

import json
import os
import sys
from pathlib import Path

import pytest

from lossmap.components.config.experiment import Axis, Blobs, Data, Experiment, Landscape, Mlp, Plane, Training
from lossmap.components.config.settings import Settings
from lossmap.components.landscape.merge import load_surfaces
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store

EXPERIMENT = Experiment(
    name="test",
    data=Data(source="blobs", blobs=Blobs(train_per_class=20, test_per_class=5)),
    model=Mlp(hidden=(4,)),
    training=Training(epochs=1, batch_size=16),
    landscape=Landscape(plane=Plane(x=Axis(points=3), y=Axis(points=3)), line=None, samples=20, tile_points=5),
)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    settings = Settings(store=str(tmp_path))
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return settings


@pytest.mark.filterwarnings("default", "ignore:You may be attemping to run a task that uses custom")
def test_the_whole_chain_runs_as_components(settings, tmp_path):
    from kfp import local

    from lossmap.components.merge import merge
    from lossmap.components.plan import plan
    from lossmap.components.prepare import prepare
    from lossmap.components.report import report
    from lossmap.components.tile import tile
    from lossmap.components.train import train

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    store = open_store(settings.store)
    digest = prepare(run="run", experiment=EXPERIMENT.canonical_json()).output
    assert store.exists(layout.dataset(digest))
    train(run="run")
    tiles = plan(run="run").output
    assert len(tiles) == 2
    for one in tiles:
        tile(run="run", digest=one)
    merge(run="run")
    report(run="run")
    plane = load_surfaces(store, "run")["plane"]
    assert plane.evaluated.all()
    assert plane.finite.all()
    assert json.loads(store.read(layout.scalars("run")))["points"] == 9
