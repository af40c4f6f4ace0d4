"""Checkpoints and several networks that are handed over in Python."""

import copy
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.networks import table
from reference.paths import naive_barrier, naive_losses

from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.core.errors import ExperimentError
from lossmap.components.importing.given import Batches, Given
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.api import connect, survey

SMALL = {"plane": Plane(x=Axis(points=3), y=Axis(points=3)), "line": None, "samples": 20}


def _rows():
    random = np.random.default_rng(0)
    return torch.tensor(random.normal(size=(20, 4))), torch.tensor(random.integers(0, 3, 20))


def _walk(seed, count=4):
    """States of a network that learns the samples."""
    torch.manual_seed(seed)
    network, (inputs, targets), states = table(dtype="float64"), _rows(), []
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(count):
        states.append(copy.deepcopy(network.state_dict()))
        for _ in range(20):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    return network, [*states, network.state_dict()]


@pytest.fixture
def keep(tmp_path, tracking):
    tracking(tmp_path / "store")
    return {"store": str(tmp_path / "store"), "quiet": True}


def _loss(state):
    return np.mean(naive_losses(table(dtype="float64"), (state, state), 0.0, *_rows())[0])


def _expect(snapshots, states):
    found = [snapshot.loss for snapshot in snapshots]
    assert found == pytest.approx([_loss(state) for state in states], rel=1e-12)


def test_states_networks_and_files_are_checkpoints(keep, tmp_path):
    network, states = _walk(0)
    moved = table(dtype="float64")
    moved.load_state_dict(states[2])
    torch.save(states[1], tmp_path / "one.pt")
    given = [states[0], tmp_path / "one.pt", moved, *states[3:]]
    landscape = Landscape(directions="trajectory", **SMALL)
    result = survey(network, "cross-entropy", *_rows(), checkpoints=given, landscape=landscape, **keep)
    run = Run(open_store(result.store), result.run)
    found = load_result(run)
    _expect(found.trajectory, states)
    names = ("checkpoint 1", "one.pt", "checkpoint 3", "checkpoint 4", "checkpoint 5")
    assert found.trails[0].checkpoints == names
    again = survey(network, "cross-entropy", *_rows(), checkpoints=given, landscape=landscape, **keep)
    assert Run(open_store(again.store), again.run).training == run.training
    other = survey(network, "cross-entropy", *_rows(), checkpoints=states[1:], landscape=landscape, **keep)
    assert Run(open_store(other.store), other.run).training != run.training


def test_lists_by_label_are_paths_and_the_plane_is_theirs(keep):
    (network, sgd), (_, adam) = _walk(0), _walk(1)
    paths = {"sgd": sgd, "adam": adam}
    result = survey(
        network, "cross-entropy", *_rows(), checkpoints=paths, landscape=Landscape(**SMALL), **keep
    )
    found = load_result(Run(open_store(result.store), result.run))
    assert [trail.label for trail in found.trails] == ["sgd", "adam"]
    assert len(found.explained) == 1  # of random directions, as the landscape says
    _expect(found.paths[1][1], adam)


@pytest.mark.parametrize(
    ("checkpoints", "line"),
    [
        (
            [{}],
            "checkpoint 1 holds nothing, expected tensors by name, perhaps under a key such as state_dict",
        ),
        ([3, 4], "checkpoint 1 holds int, expected tensors by name, perhaps under a key such as state_dict"),
        ({"sgd": [table().state_dict()]}, "checkpoints of sgd are 1, expected two or more that make a path"),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoints, line, keep):
    with pytest.raises(ExperimentError) as refused:
        survey(table(), "cross-entropy", *_rows(), checkpoints=checkpoints, **keep)
    assert str(refused.value) == line


class Counted(torch.utils.data.Dataset):
    """The samples, and how often one was asked for."""

    def __init__(self):
        self.asked = 0

    def __len__(self):
        return len(_rows()[0])

    def __getitem__(self, index):
        self.asked += 1
        return tuple(part[index] for part in _rows())


def test_networks_that_are_handed_over_are_connected_pair_by_pair(keep):
    models = {f"seed {seed}": _walk(seed)[0] for seed in range(3)}
    once = Counted()
    Batches.of(Given(models["seed 0"], "cross-entropy", once))
    samples = Counted()
    found = connect(models, torch.nn.CrossEntropyLoss(), samples, **keep)
    assert samples.asked == once.asked > 0  # for all three networks
    assert found.networks == ("seed 0", "seed 1", "seed 2")
    assert set(found.barriers) == {"linear", "aligned", "repaired"}
    t = np.linspace(0, 1, 25)
    states = [model.state_dict() for model in models.values()]
    for i, j in combinations(range(3), 2):
        pair = (states[i], states[j])
        along = [np.mean(naive_losses(table(dtype="float64"), pair, place, *_rows())[0]) for place in t]
        for one, other in ((i, j), (j, i)):
            expected = naive_barrier(t, along)
            assert found.barriers["linear"][one, other] == pytest.approx(expected, rel=1e-9, abs=1e-12)
            low, high = found.intervals["linear"][one, other]
            assert low <= expected <= high
    assert found.barriers["linear"].max() > 0.1
    assert Path(found.page).read_text().startswith("<!doctype html>")


def test_one_network_is_connected_with_nothing(keep):
    with pytest.raises(ExperimentError, match=r"^connect got 1 networks, expected two or more$"):
        connect([table()], "cross-entropy", *_rows(), **keep)
    network = table()
    with pytest.raises(ExperimentError, match=r"have the same trained network; give other weights$"):
        connect([network, copy.deepcopy(network)], "cross-entropy", *_rows(), **keep)
