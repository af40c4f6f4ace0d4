"""The survey by a pool of processes: killed, interrupted, cut differently; always the same bits."""

import itertools
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from support.training import in_process

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Axis, Convexity, Curvature, Landscape, Plane
from lossmap.components.config.models import ResNet
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.errors import LossmapError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.merge import load_surfaces
from lossmap.components.surveys.tiles import evaluated_points
from lossmap.pipelines.local import open_run

EXPERIMENT = Experiment(
    name="test",
    data=Data(source="blobs", blobs=Blobs(train_per_class=20, test_per_class=5)),
    model=ResNet(depth=8),
    training=Training(epochs=1, batch_size=16),
    landscape=Landscape(
        plane=Plane(x=Axis(points=9), y=Axis(points=7)),
        line=Axis(points=5),
        samples=40,
        tile_points=4,
        workers=2,
    ),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tracking):
    """A store with a trained run `base`, and its surface from one worker and one tile."""
    folder = tmp_path_factory.mktemp("store")
    settings = Settings(store=str(folder), tracking=tracking(folder))
    steps.prepare(open_run("base", settings), EXPERIMENT)
    steps.train(open_run("base", settings), settings, launch=in_process(settings))
    return settings, _survey(settings, "base", tile_points=1000, workers=1)


def _survey(settings, run, **changes):
    """Survey the base run's weights once more under another name, in a surface folder of its own."""
    _adopt(settings, run, **changes)
    steps.plan(open_run(run, settings))
    steps.evaluate(open_run(run, settings))
    steps.merge(open_run(run, settings))
    return _bytes(settings, run)


def _adopt(settings, run, **changes):
    store = open_store(settings.store)
    landscape = EXPERIMENT.landscape.model_copy(update=changes)
    store.delete(layout.experiment(run))
    store.delete(layout.links(run))
    adopted, base = Run(store, run), Run(store, "base")
    adopted.begin(EXPERIMENT.model_copy(update={"landscape": landscape}))
    adopted.keep_manifest(base.manifest)
    assert adopted.training == base.training
    for key in list(store.keys("surfaces/")):
        store.delete(key)


def _bytes(settings, run):
    return {
        name: surface.loss.tobytes() + surface.error.tobytes()
        for name, surface in load_surfaces(open_run(run, settings)).items()
    }


@pytest.mark.parametrize(("tile_points", "workers"), [(4, 2), (7, 3), (1, 2)])
def test_any_number_of_tiles_and_workers_gives_the_same_bits(trained, tile_points, workers):
    settings, expected = trained
    assert _survey(settings, "other", tile_points=tile_points, workers=workers) == expected


def test_rounds_with_slow_parts_beside_them_give_the_same_bits(trained):
    settings, _ = trained
    parts = {
        "plane": Plane(x=Axis(points=17), y=Axis(points=13)),
        "adaptive": Adaptive(held_out=9),
        "curvature": Curvature(samples=20, trace_products=8, tolerance=0.1),
        "convexity": Convexity(plane=Plane(x=Axis(points=3), y=Axis(points=3)), samples=20, tolerance=0.5),
    }
    expected = _survey(settings, "alone", **parts, tile_points=1000, workers=1), _documents(settings, "alone")
    _adopt(settings, "beside", **parts, tile_points=2, workers=3)
    steps.plan(open_run("beside", settings))
    heard = []
    steps.merge(open_run("beside", settings), lambda done, total, _: heard.append((done, total)))
    assert (_bytes(settings, "beside"), _documents(settings, "beside")) == expected
    steps_taken = [after - before for (before, _), (after, _) in itertools.pairwise(heard)]
    assert min(steps_taken) >= 0
    assert all(done <= total for done, total in heard)
    assert heard[-1][0] == heard[-1][1]


def _documents(settings, name):
    run = open_run(name, settings)
    parts = [part for part in run.survey.parts if part.kind in ("curvature", "convexity")]
    assert len(parts) == 2
    return [evaluated_points(run, part) for part in parts]


def test_a_finer_survey_evaluates_only_new_points_and_agrees_on_the_old(trained):
    settings, _ = trained
    _survey(settings, "coarse")
    coarse = load_surfaces(open_run("coarse", settings))["plane"]
    store = open_store(settings.store)
    finer = EXPERIMENT.landscape.model_copy(update={"plane": Plane(x=Axis(points=17), y=Axis(points=7))})
    Run(store, "finer").begin(EXPERIMENT.model_copy(update={"landscape": finer}))
    Run(store, "finer").keep_manifest(Run(store, "base").manifest)
    assert sum(len(tile.points) for tile in steps.plan(open_run("finer", settings)).current) == 8 * 7
    steps.merge(open_run("finer", settings))
    fine = load_surfaces(Run(store, "finer"))["plane"]
    assert fine.loss[:, ::2].tobytes() == coarse.loss.tobytes()


def test_a_killed_worker_is_one_clear_line_and_the_survey_goes_on(trained):
    settings, expected = trained
    _adopt(settings, "killed", tile_points=1)
    tiles = len(steps.plan(open_run("killed", settings)).current)
    killed = []

    def kill(done, _total, _detail):
        if done >= 3 and not killed:
            killed.append(_workers(psutil.Process())[0])
            killed[0].kill()

    with pytest.raises(LossmapError) as failed:
        steps.evaluate(open_run("killed", settings), kill)
    assert (
        str(failed.value)
        == "a process evaluating the surface of killed was killed, perhaps out of memory; finished tiles"
        " are kept: go on with --resume killed, with fewer landscape.workers if memory is short"
    )
    store = open_store(settings.store)
    finished = len(list(store.keys(layout.tiles(Run(store, "killed").survey.surfaces[0]))))
    assert 3 <= finished < tiles
    steps.merge(open_run("killed", settings))
    assert _bytes(settings, "killed") == expected


def test_workers_end_when_their_parent_is_killed(trained):
    settings, _ = trained
    _adopt(settings, "orphans", plane=Plane(x=Axis(points=301), y=Axis(points=301)))
    steps.plan(open_run("orphans", settings))
    script = (
        "from lossmap.components import steps; from lossmap.components.config.settings import Settings;"
        " from lossmap.pipelines.local import open_run; "
    )
    script += "steps.evaluate(open_run('orphans', Settings())) if __name__ == '__main__' else None"
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, **settings.environment()}
    ) as process:
        try:
            store = open_store(settings.store)
            prefix = layout.tiles(Run(store, "orphans").survey.surfaces[0])
            end = time.monotonic() + 120
            while not list(store.keys(prefix)):
                assert time.monotonic() < end
                time.sleep(0.1)
            assert len(_workers(psutil.Process(process.pid))) == 2
            started = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive


def _workers(parent):
    """The fork server's children."""
    return [child for server in parent.children() for child in server.children()]
