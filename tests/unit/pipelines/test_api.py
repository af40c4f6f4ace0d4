"""A survey in Python: its settings, what it keeps, and what it gives back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.pipelines.api import survey

SMALL = Landscape(plane=Plane(x=Axis(points=5), y=Axis(points=3)), line=Axis(points=7), samples=30)
torch.manual_seed(0)
MODEL, X, Y = (
    nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
    torch.randn(30, 4),
    torch.arange(30) % 3,
)
LOADER = DataLoader(TensorDataset(X, Y), 8, shuffle=True)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """An empty folder, nothing in the environment, and no window."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOSSMAP_")]:
        monkeypatch.delenv(name)
    matplotlib.use("Agg")


@pytest.fixture(scope="module")
def result():
    return survey(MODEL, "cross-entropy", LOADER, test=(X[:10], Y[:10]), landscape=SMALL, quiet=True)


def test_nothing_is_written_where_nobody_asked(result, tmp_path):
    again = survey(MODEL, "cross-entropy", LOADER, test=(X[:10], Y[:10]), landscape=SMALL, quiet=True)
    assert list(tmp_path.iterdir()) == []
    assert not list(Path(result.store.removeprefix("file://")).glob("mlflow*"))
    assert (again.store, again.plane.loss.tobytes()) == (result.store, result.plane.loss.tobytes())


@pytest.mark.parametrize("asked", ["argument", "variable"])
def test_a_store_that_was_asked_for_is_kept_and_mlflow_told(asked, tmp_path, tracking, monkeypatch):
    tracking(tmp_path / "kept")
    if asked == "variable":
        monkeypatch.setenv("LOSSMAP_STORE", str(tmp_path / "kept"))
    options = {"store": tmp_path / "kept"} if asked == "argument" else {}
    kept = survey(MODEL, "cross-entropy", X, Y, landscape=SMALL, quiet=True, **options)
    assert kept.store == (tmp_path / "kept").as_uri()
    assert Path(kept.page).is_file()
    assert kept.run.encode() in (tmp_path / "kept" / "mlflow.db").read_bytes()


def test_mlflow_alone_can_be_asked_for(tmp_path, tracking):
    uri = tracking(tmp_path / "mlflow")
    found = survey(MODEL, "cross-entropy", X, Y, landscape=SMALL, quiet=True, tracking=uri)
    assert found.run.encode() in (tmp_path / "mlflow" / "mlflow.db").read_bytes()
    assert not (tmp_path / "lossmap-runs").exists()


def test_the_temporary_store_ends_with_the_process(tmp_path):
    script = """
import atexit, os
from lossmap.pipelines.result import temporary_store
folder = temporary_store()
assert folder == temporary_store() and os.path.isdir(folder)
if os.fork() == 0:
    raise SystemExit
os.wait()
assert os.path.isdir(folder)
print(folder)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not Path(ended.stdout.strip()).exists()


def test_surfaces_are_arrays(result):
    plane, line = result.plane, result.line
    assert (plane.x.tolist(), plane.y.tolist()) == ([-1, -0.5, 0, 0.5, 1], [-1, 0, 1])
    assert plane.loss.shape == plane.error.shape == plane.loss_standard_error.shape == (3, 5)
    assert (line.x.shape, line.loss.shape) == ((7,), (1, 7))
    assert plane.loss[1, 2] == line.loss[0, 3] == pytest.approx(result.scalars["train_loss"], rel=1e-6)
    assert (len(result.planes), len(result.lines)) == (1, 1)


def test_it_draws_on_axes_of_the_users(result):
    plane, line = Figure().subplots(1, 2)
    assert result.plot(plane, colorbar=False) is plane
    assert result.plot_line(line, color="black", label="mine") is line
    mesh = plane.collections[0].get_array()
    assert np.asarray(mesh).ravel() == pytest.approx(np.clip(result.plane.loss, 0.01, 100).ravel())
    [curve] = [each for each in line.lines if len(each.get_xdata()) == 7]
    assert curve.get_ydata() == pytest.approx(result.line.loss[0])
    assert (curve.get_color(), curve.get_label()) == ("black", "mine")


def test_without_axes_it_draws_on_the_current_ones(result):
    from matplotlib import pyplot

    pyplot.close("all")
    _, axes = pyplot.subplots()
    assert result.plot() is axes
    assert len(axes.figure.axes) == 2  # with a colour bar
    assert result.plot_line() is axes
    surface = result.plot_surface()
    assert (surface.name, surface.figure is axes.figure) == ("3d", False)
    pyplot.close("all")


def test_a_notebook_shows_the_picture_and_the_numbers(result):
    shown = result._repr_html_()
    assert "src='data:image/png;base64,iVBOR" in shown
    assert f"{result.scalars['train_loss']:.3g}" in shown
    assert f"{result.scalars['test_error']:.2%}" in shown
    assert "None" not in shown


def test_without_a_line_there_is_none_to_draw():
    landscape = SMALL.model_copy(update={"line": None})
    found = survey(MODEL, "cross-entropy", X, Y, landscape=landscape, quiet=True)
    with pytest.raises(LossmapError, match=r"has no line, expected landscape\.line to be an axis"):
        found.plot_line()


def test_integers_are_what_they_are_said_to_be(result):
    loss = nn.CrossEntropyLoss()
    counted = survey(MODEL, loss, LOADER, classes=False, landscape=SMALL, quiet=True)
    assert counted.scalars["train_error"] is None
    assert np.isnan(counted.plane.error).all()
    assert result.scalars["train_error"] == float((MODEL(X).argmax(1) != Y).double().mean())


def test_what_is_not_finite_is_kept_where_it_is_asked_for():
    targets = torch.zeros(30, 3)
    targets[4, 1] = torch.nan
    with pytest.raises(
        LossmapError, match="values that are not finite: 1 NaN, the first in sample 4, column 1"
    ):
        survey(MODEL, "mse", X, targets, quiet=True)
    found = survey(MODEL, "mse", X, targets, not_finite="keep", landscape=SMALL, quiet=True)
    assert np.isnan(found.plane.loss).all()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"limit": 0}, "data.limit is 0, expected greater than 0"),
        ({"split": 2}, "data.split is 2, expected less than 1"),
        ({"classes": "maybe"}, "model.classes is 'maybe', expected a valid boolean"),
        ({"not_finite": "drop"}, "data.not_finite is 'drop', expected 'refuse' or 'keep'"),
    ],
)
def test_settings_are_those_of_an_experiment(options, line):
    with pytest.raises(ExperimentError) as refused:
        survey(MODEL, "cross-entropy", X, Y, **options)
    assert line in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["-c", "-"])
def test_it_is_called_from_a_line_or_from_standard_input(how, tmp_path):
    script = """
import json, torch
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.pipelines.api import survey
small = Landscape(plane=Plane(x=Axis(points=3), y=Axis(points=3)), line=None)
targets = torch.arange(30) % 3
model, inputs = torch.nn.Linear(4, 3), torch.randn(30, 4)
result = survey(model, "cross-entropy", inputs, targets, landscape=small, quiet=True)
print(json.dumps([result.store, float(result.plane.loss[1, 1]), result.scalars["train_loss"]]))
"""
    arguments, given = ([how, script], "") if how == "-c" else ([how], script)
    outside = {name: value for name, value in os.environ.items() if name != "PATH"}
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=given,
        cwd=tmp_path,
        env=outside,
        capture_output=True,
        text=True,
        check=True,
    )
    store, centre, loss = json.loads(ended.stdout)
    assert centre == pytest.approx(loss, rel=1e-6)
    assert not Path(store.removeprefix("file://")).exists()
    assert list(tmp_path.iterdir()) == []
