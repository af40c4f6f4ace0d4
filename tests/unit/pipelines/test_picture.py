"""`lossmap picture`, of a run and of what `lossmap export` wrote of it."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from reference.manifests import manifest
from typer.testing import CliRunner

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.core.errors import ExperimentError, LossmapError, StoreError
from lossmap.components.landscape.grid import Result, from_npz
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part, Survey
from lossmap.components.surveys.merge import merge
from lossmap.components.surveys.pending import pending_points
from lossmap.components.surveys.tiles import cut, evaluate_tile
from lossmap.pipelines.cli import app

AXIS = Axis(points=5)
LANDSCAPE = Landscape(plane=Plane(x=AXIS, y=AXIS), line=AXIS, adaptive=None)
PART = Part(kind="loss", address="5" * 64, plane="5" * 64)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with a run that is finished, and one that is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOSSMAP_STORE", "runs")
    opened = open_store("runs")
    for run in ("done", "begun"):
        Run(opened, run).begin(Experiment(landscape=LANDSCAPE))
        Run(opened, run).keep_manifest(manifest())
    Run(opened, "done").keep_survey(Survey(parts=(PART,)))
    for tile in cut(PART, pending_points(PART, Survey(parts=(PART,)), LANDSCAPE, {}), 100):
        evaluate_tile(opened, tile, lambda x, y: Result(0.1 + x**2 + 3 * y**2, 0.5, 0.1, (0.5, 1.5)))
    merge(Run(opened, "done"))
    opened.write(layout.scalars("done"), b"{}")
    return opened


def invoked(*arguments):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_run_and_its_file_give_one_picture_and_the_caption_is_told(store, tmp_path):
    found = invoked("picture", "done", "--size", "3")
    assert found.stdout == "picture.png\n"
    assert found.stderr.endswith("All 25 points were evaluated.\n")
    assert Image.open(io.BytesIO((tmp_path / "picture.png").read_bytes())).width == 900
    invoked("export", "done", "--format", "npz", "-o", "done.npz")
    for name in list(store.keys("")):
        store.delete(name)
    again = invoked("picture", "done.npz", "--size", "3", "-o", "again.png")
    assert again.stderr == found.stderr
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "picture.png").read_bytes()


def test_what_export_writes_has_every_array_and_says_what_it_is_of(store, tmp_path):
    invoked("export", "done", "--format", "npz", "-o", "done.npz")
    arrays = from_npz((tmp_path / "done.npz").read_bytes())
    x, y = np.meshgrid(arrays["x"], arrays["y"])
    np.testing.assert_array_equal(arrays["loss"], 0.1 + x**2 + 3 * y**2)
    assert arrays["evaluated"].all() and not arrays["interpolated"].any()
    about, run = json.loads(str(arrays["about"])), Run(store, "done")
    assert (about["run"], about["experiment"]) == ("done", run.experiment.digest())
    assert (about["training"], about["survey"]) == (run.links.training, run.links.survey)


REFUSED = [
    (("begun",), StoreError, "run begun is not finished; go on with it: lossmap run --resume begun"),
    (("none.npz",), LossmapError, "none.npz cannot be read: No such file or directory"),
    (
        ("done", "-o", "x.jpg"),
        ExperimentError,
        "--output is x.jpg, expected a file that ends in .png, .svg, .pdf",
    ),
    (
        ("done", "-o", "none/x.svg"),
        LossmapError,
        "cannot write none/x.svg: No such file or directory; name another file with --output",
    ),
    (
        ("done", "--turn", "x.mp4"),
        ExperimentError,
        "--turn is x.mp4, expected a file that ends in .gif; other programs make films of it, such as ffmpeg"
        " -i FILE.gif FILE.mp4",
    ),
    (
        ("done", "--turn", "x.gif", "-o", "x.png"),
        ExperimentError,
        "picture takes --output FILE for a still, or --turn FILE.gif; expected one",
    ),
    (("done", "--scale", "cubic"), ExperimentError, "--scale is cubic, expected auto, log, linear or symlog"),
]


@pytest.mark.parametrize(("arguments", "kind", "line"), REFUSED, ids=[" ".join(each[0]) for each in REFUSED])
def test_a_mistake_is_one_line(store, arguments, kind, line):
    found = CliRunner().invoke(app, ["picture", *arguments]).exception
    assert (type(found), str(found)) == (kind, line)
