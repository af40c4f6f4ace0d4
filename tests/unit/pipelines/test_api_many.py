"""Checkpoints and several networks that are handed over in Python."""

import copy

import numpy as np
import pytest
import torch
from reference.networks import table
from reference.paths import naive_losses

from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.core.errors import ExperimentError
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.api import survey

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
    assert [each.loss for each in found.trajectory] == [
        pytest.approx(_loss(state), rel=1e-12) for state in states
    ]
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
    assert [each.loss for each in found.paths[1][1]] == [
        pytest.approx(_loss(state), rel=1e-12) for state in adam
    ]


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
