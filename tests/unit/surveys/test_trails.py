"""Paths of checkpoints that people bring, and of other runs, on one plane."""

import copy

import numpy as np
import pytest
import torch
from reference import foreign
from reference.landscape import naive_point
from safetensors.torch import load
from support.training import in_process
from torch import nn

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane, scaling
from lossmap.components.config.models import Imported, Mlp, Trajectory
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Optimizer, Training
from lossmap.components.core.errors import LossmapError
from lossmap.components.importing.digests import with_digests
from lossmap.components.importing.network import import_network
from lossmap.components.stores import layout
from lossmap.components.surveys import plan as survey
from lossmap.components.surveys.merge import merge
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.problems import Problems, TileEvaluator, load_directions
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.local import open_run

SMALL = {"plane": Plane(x=Axis(points=3), y=Axis(points=3)), "line": None, "samples": 10, "workers": 1}
PATHS = {"sgd": 4, "adam": 3}


@pytest.fixture
def settings(tmp_path, tracking):
    return Settings(store=str(tmp_path / "store"), tracking=tracking(tmp_path / "store"))


def _checkpoints(kind, seed, count):
    """States of a network on a random walk that ends with other statistics, too."""
    network, generator = foreign.KINDS[kind](), torch.Generator().manual_seed(seed)
    states = []
    for _ in range(count):
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                step = torch.randn(tensor.shape, generator=generator).abs() if "var" in name else 0.3
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.add_((0.3 * step if "var" in name else step * noise).to(tensor))
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    return states


@pytest.fixture
def surveyed(settings, tmp_path):
    """The finished survey of a network of reference.foreign and of checkpoints by label."""

    def take(kind, paths, run="run", **landscape):
        data = {"inputs": foreign.inputs(kind).numpy(), "targets": foreign.targets().numpy()}
        np.savez(tmp_path / "data.npz", **data)
        trajectories = []
        for label, states in paths.items():
            files = [str(tmp_path / f"{label}-{number}.pt") for number in range(len(states))]
            for state, file in zip(states, files, strict=True):
                torch.save({"state_dict": state}, file)
            trajectories.append(Trajectory(label=label, checkpoints=files))
        model = Imported(
            factory="reference.foreign:made",
            arguments={"name": kind},
            weights=trajectories[0].checkpoints[-1].weights if trajectories else None,
            trajectories=tuple(trajectories),
        )
        fields = {"directions": "trajectory", **SMALL, **landscape}
        experiment = with_digests(
            Experiment(
                data=Data(source=str(tmp_path / "data.npz")),
                model=model,
                landscape=Landscape.model_validate({**scaling(fields["directions"]), **fields}),
            )
        )
        steps.prepare(open_run(run, settings), experiment)
        import_network(open_run(run, settings))
        opened = open_run(run, settings)
        survey.plan(opened)
        evaluator = TileEvaluator(opened)
        for tile in pending_tiles(opened):
            evaluator.evaluate(tile)
        merge(opened)
        return opened, load_result(opened)

    return take


def _loss(kind, state):
    """In float64, one sample at a time."""
    network = foreign.KINDS[kind]()
    network.load_state_dict(state)
    still = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    return naive_point(network, still, still, 0.0, 0.0, foreign.inputs(kind), foreign.targets())[0]


@pytest.mark.parametrize(
    ("directions", "batch_norm"),
    [("trajectory", "frozen"), ("trajectory", "coordinates"), ("random", "frozen")],
)
def test_checkpoints_have_their_own_loss_and_that_of_their_projection(directions, batch_norm, surveyed):
    paths = {
        label: _checkpoints("batch norm", seed, count) for seed, (label, count) in enumerate(PATHS.items())
    }
    run, found = surveyed("batch norm", paths, directions=directions, batch_norm=batch_norm)
    own, (x, y) = paths["sgd"][-1], load_directions(run.store, run.survey.surfaces[0])
    parameters = [name for name, _ in foreign.KINDS["batch norm"]().named_parameters()]
    assert [(trail.label, len(snapshots)) for trail, snapshots in found.paths] == list(PATHS.items())
    lost = total = 0.0
    for trail, snapshots in found.paths:
        assert [trail.name(each.position.epoch) for each in snapshots] == [
            f"{trail.label}-{number}.pt" for number in range(PATHS[trail.label])
        ]
        for state, each in zip(paths[trail.label], snapshots, strict=True):
            # float32 along the way
            assert each.loss == pytest.approx(_loss("batch norm", state), rel=2e-5)
            moved = {
                name: own[name] + each.position.x * x[name] + each.position.y * y[name]
                if name in x
                else own[name]
                for name in own
            }
            assert each.plane_loss == pytest.approx(_loss("batch norm", moved), rel=1e-4)
            off = sum(float((state[name] - moved[name]).double().square().sum()) for name in parameters)
            length = sum(float((state[name] - own[name]).double().square().sum()) for name in parameters)
            assert each.position.distance == pytest.approx(off**0.5, abs=1e-4)
            assert each.position.length == pytest.approx(length**0.5, abs=1e-5)
            lost, total = lost + off, total + length
    assert sum(found.explained) == pytest.approx(1 - lost / total, abs=1e-5)
    if directions == "trajectory":
        assert sum(found.explained) > 0.5
        places = [(each.position.x, each.position.y) for each in found.trajectory]
        np.testing.assert_allclose(np.abs(places).max(axis=0), 1.0)
    assert any("own BatchNorm statistics" in note for note in found.notes)


def test_one_path_has_no_label_and_other_checkpoints_keep_the_surface_of_random_directions(surveyed):
    states = _checkpoints("batch norm", 0, 4)
    run, found = surveyed("batch norm", {"": states}, directions="random")
    assert [trail.label for trail in found.trails] == [""]
    swapped = [states[1], states[0], *states[2:]]
    other, _ = surveyed("batch norm", {"": swapped}, run="other", directions="random")
    assert run.survey.surfaces == other.survey.surfaces
    assert run.survey.part("trajectory").address != other.survey.part("trajectory").address


def _with(state, name, value):
    changed = {key: tensor.clone() for key, tensor in state.items()}
    changed[name].view(-1)[0] = value
    return changed


def test_what_does_not_fit_is_refused_in_one_line(surveyed, tmp_path):
    states = _checkpoints("batch norm", 0, 3)
    bad = {
        f"{tmp_path}/-1.pt gives the network 0.weight with 1 of ": _with(states[1], "0.weight", float("nan")),
        f"{tmp_path}/-1.pt does not fit the network Sequential": nn.Linear(6, 3).state_dict(),
        f"{tmp_path}/-1.pt holds the same weights as {tmp_path}/-0.pt, both of them checkpoints of one path;"
        " give one of them": states[0],
    }
    for number, (line, state) in enumerate(bad.items()):
        with pytest.raises(LossmapError) as refused:
            surveyed("batch norm", {"": [states[0], state, states[2]]}, run=f"run{number}")
        assert str(refused.value).startswith(line)
    with pytest.raises(
        LossmapError, match=r"^the path of 2 snapshots does not span a plane, expected two at"
    ):
        surveyed("batch norm", {"": states[1:]}, run="line")


def test_a_checkpoint_that_differs_in_frozen_layers_is_refused(surveyed, tmp_path):
    states = _checkpoints("low rank", 0, 3)
    with pytest.raises(LossmapError) as refused:
        surveyed("low rank", {"": states})
    assert str(refused.value) == (
        f"{tmp_path}/-0.pt differs from the network in parameters that do not move (base.weight, base.bias,"
        " head.weight, head.bias), so that its path does not lie in what the plane moves; let them require a"
        " gradient"
    )


def _trained(settings, run, algorithm, **landscape):
    experiment = Experiment(
        data=Data(source="blobs", blobs=Blobs(train_per_class=10, test_per_class=5, noise=0.6)),
        model=Mlp(hidden=(4,)),
        training=Training(epochs=3, batch_size=10, processes=1, optimizer=Optimizer(algorithm=algorithm)),
        landscape=Landscape.model_validate({**SMALL, **landscape}),
    )
    opened = open_run(run, settings)
    steps.prepare(opened, experiment)
    steps.train(opened, settings, launch=in_process(settings))
    return opened


def test_the_paths_of_two_trained_runs_lie_on_one_plane(settings):
    other = _trained(settings, "adam-run", "adamw")
    run = _trained(settings, "sgd-run", "sgd", directions="trajectory", paths=("adam-run",))
    survey.plan(run)
    evaluator = TileEvaluator(run)
    for tile in pending_tiles(run):
        evaluator.evaluate(tile)
    merge(run)
    found = load_result(run)
    assert [trail.label for trail in found.trails] == ["sgd-run", "adam-run"]
    assert [each.position.epoch for each in found.trajectory] == [0, 1, 2, 3] * 2
    problem = Problems(run).problem(10)
    for trail, snapshots in found.paths:
        for each in snapshots:
            state = load(run.store.read(layout.snapshot(trail.training, each.position.epoch)))
            network = copy.deepcopy(problem.network)
            network.load_state_dict(state)
            still = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
            expected = naive_point(
                network, still, still, 0, 0, problem.samples.inputs, problem.samples.targets
            )
            assert each.loss == pytest.approx(expected[0], rel=2e-5)
    first, start = found.paths[0][1][0].position, found.paths[1][1][0].position
    assert (first.x, first.y) == pytest.approx((start.x, start.y))  # both began with the same weights
    for paths, line in {
        (
            "adam-run",
            "adam-run",
        ): "landscape.paths has ['adam-run', 'adam-run'], and two of these runs, or one",
        ("none",): f"{run.store.uri} has no run none; the newest are ",
    }.items():
        with pytest.raises(LossmapError) as refused:
            survey.plan(_trained(settings, f"run{len(paths)}", "sgd", paths=paths))
        assert str(refused.value).startswith(line)
    assert other.has_network()
