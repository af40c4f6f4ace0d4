"""Networks that lossmap did not train, as a user brings them: by the command line, and by three lines of
Python.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.data import load_samples
from reference.landscape import naive_point
from reference.networks import Flattening, Language, Striding, Viewing, table, wide
from safetensors.torch import load
from support.command_line import lossmap, process, start

from lossmap.components import steps
from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Convexity, Curvature, Landscape, Plane
from lossmap.components.config.models import Imported
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.core.progress import silent
from lossmap.components.importing.digests import with_digests
from lossmap.components.importing.network import import_network
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_json
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run, list_runs
from lossmap.components.surveys.problems import Problems
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.api import survey
from lossmap.pipelines.commands.survey import survey as command
from lossmap.pipelines.local import open_run
from lossmap.pipelines.screens.proof import proof_json, show_proof
from lossmap.pipelines.survey import Network, imported_experiment, prove_invariance

# MLflow 3.17 with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

SMALL = Landscape(
    plane=Plane(x=Axis(points=3), y=Axis(points=3)), line=None, samples=30, tile_points=2, workers=1
)
USERS_MODULE = Path(__file__).parents[1] / "reference" / "networks.py"


def _finished(store):
    database = sqlite3.connect(Path(store) / "mlflow.db")
    return dict(
        database.execute(
            "select t.value, r.status from runs r join tags t on t.run_uuid = r.run_uuid where t.key ="
            " 'lossmap.run'"
        )
    )


def _survey_here(run, experiment, settings):
    """Everything but the report."""
    opened = open_run(run, settings)
    steps.prepare(opened, experiment)
    import_network(opened)
    steps.plan(opened)
    steps.merge(opened)
    return opened.store, load_result(opened).planes[0]


def _expected(store, run, network, x, y):
    """Loss and error at a point, one sample at a time in float64."""
    network.load_state_dict(load(store.read(layout.weights(Run(store, run).training))))
    directions = load(store.read(layout.directions(Run(store, run).survey.parts[0].plane)))
    along = [
        {
            name.removeprefix(f"{axis}/"): value
            for name, value in directions.items()
            if name.startswith(f"{axis}/")
        }
        for axis in "xy"
    ]
    manifest = Run(store, run).manifest
    inputs, targets = load_samples(store, manifest, "train", torch.arange(manifest.count("train")))
    return naive_point(network, *along, x, y, inputs, targets)[:2]


@pytest.fixture
def settings(tmp_path, tracking):
    return Settings(store=str(tmp_path / "store"), tracking=tracking(tmp_path / "store"))


def test_a_language_model_from_the_current_folder_is_killed_and_goes_on_with_the_same_bits(
    tmp_path, tracking
):
    tracking(tmp_path / "lossmap-runs")
    shutil.copy(USERS_MODULE, tmp_path / "of_the_user.py")
    tokens = np.random.default_rng(0).integers(0, 11, (30, 6))
    np.savez(
        tmp_path / "tokens.npz",
        inputs=tokens,
        targets=np.roll(tokens, -1, 1),
        test_inputs=tokens[:7],
        test_targets=tokens[:7],
    )
    torch.manual_seed(0)
    torch.save(
        {
            "state_dict": {f"module.{name}": value for name, value in Language().state_dict().items()},
            "epoch": 3,
        },
        tmp_path / "w.pt",
    )
    given = [
        "--model",
        "of_the_user:Language",
        "--weights",
        "w.pt",
        "--data",
        "tokens.npz",
        "--study",
        "language",
    ]
    landscape = [
        "landscape.plane={x: {points: 21}, y: {points: 21}}",
        "landscape.line=null",
        "landscape.tile_points=1",
        "landscape.samples=30",
    ]
    store = open_store(str(tmp_path / "lossmap-runs"))
    with start(
        "survey", *given, *(word for field in landscape for word in ("--set", field)), cwd=tmp_path
    ) as killed:
        end = time.monotonic() + 200
        while len(list(store.keys("surfaces/"))) < 20:
            assert time.monotonic() < end
            assert killed.poll() is None
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
    [run] = list_runs(store)
    assert not store.exists(layout.scalars(run))
    output = process("survey", "--resume", run, cwd=tmp_path).stdout
    assert f"{tmp_path}/lossmap-runs/runs/{run}/report/page.html" in output

    fields = {"factory": "of_the_user:Language", "weights": str(tmp_path / "w.pt")}
    plane = Plane(x=Axis(points=21), y=Axis(points=21))
    same = Experiment(
        data=Data(source=str(tmp_path / "tokens.npz")),
        model=Imported(**fields),
        landscape=SMALL.model_copy(update={"plane": plane, "tile_points": 500}),
    )
    here, expected = _of_the_user(
        tmp_path, lambda: _survey_here("run", with_digests(same), Settings(store=str(tmp_path / "other")))
    )
    found = load_result(Run(store, run)).planes[0]
    assert (found.loss.tobytes(), found.error.tobytes()) == (
        expected.loss.tobytes(),
        expected.error.tobytes(),
    )
    assert _finished(tmp_path / "lossmap-runs") == {run: "FINISHED"}
    scalars, result = (
        load_json(store, layout.scalars(run)),
        load_json(here, layout.training_result(Run(here, "run").training)),
    )
    assert (scalars["test_loss"], scalars["test_error"]) == (result["test"]["loss"], result["test"]["error"])
    # float32 outputs, other batches
    assert scalars["centre_loss"] == pytest.approx(result["train"]["loss"], abs=1e-6)
    page = store.read(layout.report(run, "page.html")).decode()
    assert "Language on tokens.npz, imported from w.pt (SHA-256 " in page
    assert "Learning curves" not in page


def _of_the_user(folder, call):
    """As in the folder of the user."""
    here, path = Path.cwd(), list(sys.path)
    try:
        os.chdir(folder)
        return call()
    finally:
        os.chdir(here)
        sys.path[:] = path


def test_torchvisions_resnet18_is_surveyed_on_images_of_cifar10(tmp_path, shared_cifar10, tracking):
    tracking(tmp_path / "lossmap-runs")
    with zipfile.ZipFile(shared_cifar10) as whole, zipfile.ZipFile(tmp_path / "some.zip", "w") as part:
        kept = {}
        for name in whole.namelist():
            split, label = tuple(Path(name).parts)[-3:-1] if name.endswith(".png") else ("", "")
            kept[split, label] = kept.get((split, label), 0) + 1
            if name.endswith(".png") and kept[split, label] <= 2:
                part.writestr(name, whole.read(name))
    stated = [
        "data.mean=[0.4914, 0.4822, 0.4465]",
        "data.deviation=[0.247, 0.2435, 0.2616]",
        "landscape.samples=20",
        "landscape.workers=1",
    ]
    fields = ["landscape.plane={x: {points: 3}, y: {points: 3}}", "landscape.line=null", *stated]
    given = [
        "--model",
        "torchvision.models:resnet18",
        "--factory-arguments",
        '{"num_classes": 10}',
        "--data",
        "some.zip",
    ]
    lossmap("survey", *given, *(word for field in fields for word in ("--set", field)), cwd=tmp_path)
    store = open_store(str(tmp_path / "lossmap-runs"))
    [run] = list_runs(store)
    plane, scalars = load_result(Run(store, run)).planes[0], load_json(store, layout.scalars(run))
    assert plane.loss.shape == (3, 3)
    assert plane.finite.all()
    assert scalars["parameters"] == 11_181_642
    # float32 outputs, other batches
    assert scalars["centre_loss"] == pytest.approx(scalars["train_loss"], rel=1e-5)
    assert Run(store, run).manifest.mean == (0.4914, 0.4822, 0.4465)
    assert _finished(tmp_path / "lossmap-runs") == {run: "FINISHED"}


def test_three_lines_of_python_survey_a_regression_and_a_second_call_finds_it(tmp_path, tracking):
    tracking(tmp_path / "store")
    torch.manual_seed(0)
    model, inputs = table(outputs=1), torch.randn(30, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"landscape": SMALL, "name": "mine", "store": str(tmp_path / "store"), "quiet": True}

    result = survey(model, "mse", inputs, inputs.sum(1, keepdim=True), **options)
    store = open_store(result.store)
    tiles = set(store.keys("surfaces/"))
    again = survey(model, "mse", inputs, inputs.sum(1, keepdim=True), **options)

    assert result.run.startswith("mine-")
    assert Path(result.page).read_text().count("handed over in Python") == 1
    assert {key for key in store.keys("surfaces/") if "/tiles/" in key} == {
        key for key in tiles if "/tiles/" in key
    }
    assert again.plane.loss.tobytes() == result.plane.loss.tobytes()
    assert _finished(tmp_path / "store") == {result.run: "FINISHED", again.run: "FINISHED"}
    assert (result.scalars["test_loss"], result.scalars["train_error"]) == (None, None)
    expected = ((model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean().item()
    assert result.scalars["centre_loss"] == pytest.approx(expected, rel=1e-6)  # float32 outputs
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_a_network_of_a_million_parameters_agrees_with_the_obvious_computation(settings, tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", inputs=random.normal(size=(20, 30)), targets=random.integers(0, 3, 20))
    experiment = Experiment(
        data=Data(source=str(tmp_path / "rows.npz")),
        model=Imported(factory="reference.networks:wide"),
        landscape=SMALL,
    )
    store, plane = _survey_here("run", with_digests(experiment), settings)
    assert (
        load_json(store, layout.training_result(Run(store, "run").training))["parameters"]
        == 31_000 + 1_001_000 + 3_003
    )
    loss, error = _expected(store, "run", wide(), plane.x[2], plane.y[0])
    # float32 sums over 1000 weights in three layers: 1e-7 each, relative
    assert plane.loss[0, 2] == pytest.approx(loss, rel=1e-5)
    assert plane.error[0, 2] == error


@pytest.mark.parametrize("network", [Viewing, Striding])
def test_a_network_that_does_not_take_channels_last_is_surveyed_in_the_format_that_it_takes(
    network, settings, tmp_path
):
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "images.npz", inputs=random.normal(size=(30, 3, 8, 8)), targets=random.integers(0, 4, 30)
    )
    model = Imported(factory=f"reference.networks:{network.__name__}")
    landscape = SMALL.model_copy(
        update={"convexity": Convexity(samples=10), "curvature": Curvature(samples=10, trace_products=2)}
    )
    experiment = Experiment(data=Data(source=str(tmp_path / "images.npz")), model=model, landscape=landscape)
    store, plane = _survey_here("run", with_digests(experiment), settings)
    for row, column in ((0, 2), (1, 1)):
        loss, error = _expected(store, "run", network(), plane.x[column], plane.y[row])
        assert plane.loss[row, column] == pytest.approx(loss, rel=1e-5)  # float32 outputs
        assert plane.error[row, column] == error
    assert load_result(Run(store, "run")).curvature


@pytest.mark.parametrize(("network", "last"), [(Flattening, True), (Viewing, False), (Striding, False)])
def test_images_are_laid_out_channels_last_where_the_network_takes_that(network, last, settings, tmp_path):
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "images.npz", inputs=random.normal(size=(30, 3, 8, 8)), targets=random.integers(0, 4, 30)
    )
    model = Imported(factory=f"reference.networks:{network.__name__}")
    steps.prepare(
        open_run("run", settings),
        with_digests(
            Experiment(data=Data(source=str(tmp_path / "images.npz")), model=model, landscape=SMALL)
        ),
    )
    import_network(open_run("run", settings))
    inputs = Problems(open_run("run", settings)).problem(5).samples.inputs
    assert inputs.is_contiguous(memory_format=torch.channels_last) is last
    assert inputs.is_contiguous() is not last


@contextmanager
def _no_stage(_name):
    yield silent


def test_the_proof_of_invariance_needs_no_survey_and_leaves_a_run_that_can_go_on(settings, tmp_path, capsys):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", inputs=random.normal(size=(20, 4)), targets=random.integers(0, 3, 20))
    network = Network("reference.networks:table")
    experiment = imported_experiment(
        network, str(tmp_path / "rows.npz"), "study", None, ["landscape.samples=20"]
    )
    proof = prove_invariance(open_run("run", settings), experiment, _no_stage)
    found = json.loads(proof_json(proof, "run"))
    assert {"element", "neuron"} <= set(found["unchanged"])
    assert "filter" in found["changed"]
    show_proof(proof, "run")
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[:7]] == [
        "normalisation",
        "filter",
        "layer",
        "model",
        "element",
        "neuron",
        "none",
    ]
    assert "survey it: lossmap survey --resume run" in printed
    store = open_store(settings.store)
    assert store.exists(layout.training_result(Run(store, "run").training))
    assert [key.rpartition("/")[2] for key in store.keys("surfaces/")] == ["samples.safetensors"]


def test_the_proof_waits_for_a_network_that_is_not_trained(settings):
    steps.prepare(open_run("run", settings), Experiment(data=Data(source="blobs")))
    with pytest.raises(
        LossmapError,
        match=r"^the network of run is not trained yet; train it first: lossmap run --resume run$",
    ):
        steps.prove_invariance(open_run("run", settings))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {},
            (
                "survey takes --model with --data, or --resume RUN, or --run RUN with --prove-invariance; see"
                " `lossmap survey --help`"
            ),
        ),
        (
            {"model": "a:b", "resume": "run"},
            (
                "survey takes --model with --data, or --resume RUN, or --run RUN with --prove-invariance; see"
                " `lossmap survey --help`"
            ),
        ),
        (
            {"of_run": "run"},
            (
                "--run and --json are for --prove-invariance, expected that too; to go on with a run, give"
                " --resume RUN"
            ),
        ),
        (
            {"resume": "run", "data": "x"},
            "a run that has begun keeps its network, its data and its settings; start a new one with --model",
        ),
        (
            {"model": "a:b"},
            (
                "--data is missing, expected where the samples come from: cifar10, a folder or zip of images,"
                " or a file of tensors such as .npz or .csv"
            ),
        ),
        (
            {"model": "ab", "data": "x"},
            (
                "model: factory is 'ab', expected package.module:function, for example"
                " torchvision.models:resnet18"
            ),
        ),
        (
            {"model": "a:b", "data": "x", "arguments": "[1]"},
            "--factory-arguments is '[1]', expected an object such as '{\"num_classes\": 10}'",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(options, line, tmp_path):
    with pytest.raises(ExperimentError) as refused:
        command(store=str(tmp_path), **options)
    assert str(refused.value) == line
