"""Checkpoints and several networks on the command line, in this process, on a network of two layers."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.manifests import manifest
from reference.networks import table
from reference.paths import finished_run, naive_barrier, naive_losses
from typer.testing import CliRunner

from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.models import Mlp
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.models import build
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.cli import app
from lossmap.pipelines.commands.options import spread
from lossmap.pipelines.survey import file_name

QUICK = ("--set", "landscape.plane={x: {points: 3}, y: {points: 3}}", "--set", "landscape.line=null")
QUICK += ("--set", "landscape.samples=20", "--set", "landscape.workers=1")
GIVEN = ("--model", "reference.networks:table", "--data", "rows.npz")


@pytest.fixture
def place(tmp_path, tracking, monkeypatch):
    """A folder with samples, and four files of weights."""
    tracking(tmp_path / "lossmap-runs")
    random = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=random.normal(size=(20, 4)), y=random.integers(0, 3, 20))
    for seed in range(4):
        torch.save(_fitted(tmp_path, seed), tmp_path / f"step{seed + 8}.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _fitted(place, seed):
    """A state that fits the samples, so that there are barriers to those of other seeds."""
    torch.manual_seed(seed)
    network, (inputs, targets) = table(dtype="float64"), _rows(place)
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
    return network.float().state_dict()


def _lossmap(*words):
    result = CliRunner().invoke(app, words, catch_exceptions=True)
    if isinstance(result.exception, LossmapError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def _state(place, seed):
    return torch.load(place / f"step{seed + 8}.pt", weights_only=True)


def _rows(place):
    data = np.load(place / "rows.npz")
    return torch.tensor(data["x"]), torch.tensor(data["y"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--many a b --other c", "--many a --many b --other c"),
        ("--many=a b c", "--many=a --many b --many c"),
        ("x --many a --flag b", "x --many a --flag b"),
        ("--many --other c", "--many --other c"),
        ("--many a --many b c", "--many a --many b --many c"),
    ],
)
def test_an_option_takes_all_words_up_to_the_next(words, expected):
    assert spread(words.split(), ["--many"]) == expected.split()


def test_names_of_runs_follow_from_those_of_files():
    names = [file_name(place) for place in ("runs/epoch=3.ckpt", "s3://b/Best.pt", "a.pt:ema", "/x/…")]
    assert names == ["epoch-3", "best", "a-ema", "network"]


def test_checkpoints_of_a_folder_make_the_plane_and_the_last_one_is_the_network(place):
    _lossmap("survey", *GIVEN, "--checkpoints", *sorted(map(str, Path().glob("*.pt"))), *QUICK)
    store = open_store(str(place / "lossmap-runs"))
    (name,) = {key.split("/")[1] for key in store.keys("runs/")}
    run = Run(store, name)
    found = load_result(run)
    assert run.experiment.landscape.directions == "trajectory"
    assert [each.position.epoch for each in found.trajectory] == [1, 2, 3, 4]
    assert found.trails[0].checkpoints == ("step8.pt", "step9.pt", "step10.pt", "step11.pt")
    for seed, each in enumerate(found.trajectory):
        states = (_state(place, seed),) * 2
        losses, _ = naive_losses(table(), states, 0.0, *_rows(place))
        assert each.loss == pytest.approx(np.mean(losses), rel=2e-5)
    assert found.trajectory[-1].position.length == 0
    page = store.read(f"runs/{name}/report/page.html").decode()
    assert "The path of training, on the plane and as it is" in page


def test_two_paths_have_their_names_on_the_page(place):
    paths = ("sgd=step8.pt", "step9.pt", "step10.pt", "adam=step8.pt", "step11.pt")
    _lossmap("survey", *GIVEN, "--checkpoints", *paths, *QUICK)
    store = open_store(str(place / "lossmap-runs"))
    (name,) = {key.split("/")[1] for key in store.keys("runs/")}
    page = store.read(f"runs/{name}/report/page.html").decode()
    assert "The paths of training, on the plane and as they are" in page
    assert page.count("</span>sgd</li>") == page.count("</span>adam</li>") == 1
    assert Run(store, name).experiment.model.weights == str(place / "step10.pt")


def test_the_matrix_of_barriers_is_that_of_every_pair_in_float64(place):
    output = _lossmap("connect", *GIVEN, "step*.pt", "--points", "5", "--json")
    found = json.loads(output[output.index("{") :])
    assert found["networks"] == ["step8.pt", "step9.pt", "step10.pt", "step11.pt"]
    assert set(found["barriers"]) == {"linear", "aligned", "repaired"}  # no curve unless it is asked for
    linear = np.array(found["barriers"]["linear"]["train"])
    np.testing.assert_array_equal(linear, linear.T)
    assert not linear.diagonal().any()
    assert linear.max() > 0.1
    t = np.linspace(0, 1, 5)
    for i, j in combinations(range(4), 2):
        states = (_state(place, i), _state(place, j))
        along = [np.mean(naive_losses(table(), states, place_, *_rows(place))[0]) for place_ in t]
        # a difference of losses in float32
        assert linear[i, j] == pytest.approx(naive_barrier(t, along), abs=2e-6)
        assert found["losses"]["train"][i] == pytest.approx(along[0], rel=2e-5)
    assert len(found["pairs"]) == 6
    folder = Path(found["page"]).parent
    assert Path(found["picture"]).read_bytes()[:4] == b"\x89PNG"
    for line in Path(found["page"]).read_text().split('href="../')[1:]:
        assert (folder.parent / line.partition('"')[0]).is_file()  # the page of a pair
    again = _lossmap("connect", *GIVEN, "step*.pt", "--points", "5")
    value = f"{linear[0, 1]:.3g}"
    rows = [line.split() for line in again.splitlines() if line.startswith(" 1 step8.pt")]
    assert len(rows) == 3
    assert rows[0][3] == value


def test_runs_are_connected_pair_by_pair_with_a_curve_where_it_is_asked_for(place):
    data = Data(source="blobs", blobs=Blobs(train_per_class=10, test_per_class=5, noise=1.0))
    for seed in range(3):
        experiment = Experiment(data=data, model=Mlp(hidden=(4,), seed=seed), training=Training(seed=seed))
        network = build(experiment.model, manifest(classes=4))
        finished_run(Settings(store=str(place / "lossmap-runs")), f"run-{seed}", experiment, network, 20)
    quick = ("--points", "3", "--samples", "20", "--curve", "polygon", "--curve-epochs", "1")
    output = _lossmap("connect", "run-0", "run-1", "run-2", *quick, "--json")
    found = json.loads(output[output.index("{") :])
    assert found["networks"] == ["run-0", "run-1", "run-2"]
    assert set(found["barriers"]) == {"linear", "aligned", "repaired", "curve"}
    alone = _lossmap("connect", "run-0", "run-2", *quick, "--json")
    pair = json.loads(alone[alone.index("{") :])
    values = [path["test"]["barrier"]["loss"]["value"] for path in pair["paths"]]
    assert [found["barriers"][path]["test"][2][0] for path in found["barriers"]] == values


def test_two_files_are_connected_as_two_runs_are(place):
    output = _lossmap("connect", *GIVEN, "step8.pt", "step9.pt", "--points", "3", "--curve", "none", "--json")
    found = json.loads(output[output.index("{") :])
    assert [each["path"] for each in found["paths"]] == ["linear", "aligned", "repaired"]


def test_a_plane_through_three_files_has_their_losses_where_they_lie(place):
    through = ("--weights", "step8.pt", "--networks", "step9.pt", "step10.pt")
    plane = "landscape.plane={x: {low: 0, points: 3}, y: {low: 0, points: 3}}"
    _lossmap("survey", *GIVEN, *through, *QUICK, "--set", plane)
    store = open_store(str(place / "lossmap-runs"))
    (name,) = {key.split("/")[1] for key in store.keys("runs/") if "/report/" in key}
    run = Run(store, name)
    found = load_result(run)
    for seed, (row, column) in enumerate([(0, 0), (0, 2), (2, 0)]):
        losses, _ = naive_losses(table(), (_state(place, seed),) * 2, 0.0, *_rows(place))
        assert found.planes[0].loss[row, column] == pytest.approx(np.mean(losses), rel=2e-5)
    flat = [
        torch.cat([_state(place, seed)[key].flatten().double() for key in _state(place, 0)])
        for seed in range(3)
    ]
    x, y = flat[1] - flat[0], flat[2] - flat[0]
    angle = np.degrees(np.arccos(float(x @ y / x.norm() / y.norm())))
    others = run.experiment.landscape.networks
    assert found.notes == (
        f"Euclidean distance of the weights from {name}: {others[0]} {float(x.norm()):.4g} and {others[1]}"
        f" {float(y.norm()):.4g}.",
        f"The two directions enclose {angle:.3g} degrees and are drawn at right angles.",
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("connect", "one"), "connect got one network (one), expected two or more"),
        (
            ("connect", "--model", "a:b", "x"),
            "--model and --data go together: with them, files of weights are",
        ),
        (("connect", "a", "b", "--loss", "mse"), "--set, --loss and --factory-arguments are for files of"),
        (
            ("connect", *GIVEN, "step8.pt", "step8.pt"),
            "the files of weights name step8.pt twice, expected each",
        ),
        (
            ("connect", *GIVEN, "step8.pt", "no.pt"),
            "weights are 'no.pt', where no file of weights is; expected",
        ),
        (
            ("survey", *GIVEN, "--weights", "step8.pt", "--networks", "step*.pt"),
            "--networks are 4 files (step8.pt, step9.pt, step10.pt, step11.pt), expected one or two",
        ),
        (
            ("survey", *GIVEN, "--checkpoints", "step8.pt"),
            "--checkpoints is one file (step8.pt), expected two",
        ),
        (
            ("survey", *GIVEN, "--set", "landscape.directions=trajectory"),
            "landscape.directions is trajectory and model.architecture is imported, expected checkpoints",
        ),
        (("survey", "--resume", "x", "--checkpoints", "a"), "a run that has begun keeps its network"),
    ],
)
def test_what_does_not_go_together_is_one_line(words, line, place):
    with pytest.raises(ExperimentError) as refused:
        _lossmap(*words)
    assert line in str(refused.value)


def test_the_same_weights_in_two_files_are_refused_before_any_path_is_walked(place):
    (place / "copy.pt").write_bytes((place / "step8.pt").read_bytes())
    with pytest.raises(ExperimentError) as refused:
        _lossmap("connect", *GIVEN, "step8.pt", "step9.pt", "copy.pt")
    assert str(refused.value).endswith("have the same trained network; give other weights")
    assert not list(open_store(str(place / "lossmap-runs")).keys("paths/"))
