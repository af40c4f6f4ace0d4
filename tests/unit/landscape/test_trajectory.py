import numpy as np
import pytest
import torch

from lossmap.components.core.errors import LossmapError
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.directions.trajectory import principal, projected

NAMES = ["a.weight", "a.bias"]


def _state(vector):
    return {
        "a.weight": vector[:6].reshape(2, 3).clone(),
        "a.bias": vector[6:8].clone(),
        "norm.running_mean": vector[8:].clone(),
    }


def _path(epochs=7):
    noise = torch.from_numpy(stream("test", "path").standard_normal((epochs, 10)))
    return [_state(vector) for vector in noise.cumsum(0)]


def _flat(state):
    return np.concatenate([np.asarray(state[name]).ravel() for name in NAMES])


def test_positions_and_distances_are_those_of_a_singular_value_decomposition_in_float64():
    path = _path()
    found = principal(path[-1], path, NAMES)
    differences = np.stack([_flat(state) - _flat(path[-1]) for state in path])
    _, singular, right = np.linalg.svd(differences, full_matrices=False)
    for axis in (0, 1):
        along = differences @ right[axis]
        expected = along / np.abs(along).max()
        np.testing.assert_allclose(np.abs(np.asarray(found.positions)[:, axis]), np.abs(expected), atol=1e-10)
        np.testing.assert_allclose(
            np.abs(_flat(found.directions[axis])), np.abs(right[axis] * np.abs(along).max()), atol=1e-10
        )
        assert found.positions[:, axis].max() == pytest.approx(1.0)
    rest = differences - (differences @ right[:2].T) @ right[:2]
    # the last snapshot is the trained network itself: a difference of squares leaves the root of float64's
    # last bit
    np.testing.assert_allclose(found.distances, np.linalg.norm(rest, axis=1), atol=1e-6)
    np.testing.assert_allclose(found.lengths, np.linalg.norm(differences, axis=1), atol=1e-12)
    np.testing.assert_allclose(found.explained, singular[:2] ** 2 / (singular**2).sum(), rtol=1e-10)


def test_a_snapshot_is_its_position_plus_what_is_off_the_plane():
    path = _path()
    found = principal(path[-1], path, NAMES)
    for state, (x, y), distance in zip(path, found.positions.tolist(), found.distances.tolist(), strict=True):
        on_the_plane = _flat(path[-1]) + x * _flat(found.directions[0]) + y * _flat(found.directions[1])
        assert np.linalg.norm(_flat(state) - on_the_plane) == pytest.approx(distance, abs=1e-6)


def test_a_path_in_a_plane_is_not_off_it_and_statistics_move_along():
    corners = [
        torch.tensor([0.0, 0, 0, 0, 0, 0, 0, 0, 5, 5]),
        torch.tensor([3.0, 0, 0, 0, 0, 0, 0, 0, 8, 5]),
        torch.tensor([0.0, 2, 0, 0, 0, 0, 0, 0, 5, 7]),
    ]
    found = principal(_state(corners[0]), [_state(corner) for corner in corners], NAMES)
    assert found.distances.max() < 1e-7
    assert sum(found.explained) == pytest.approx(1.0)
    for corner, (x, y) in zip(corners, found.positions.tolist(), strict=True):
        moved = (
            corners[0][8:].double()
            + x * found.directions[0]["norm.running_mean"]
            + y * found.directions[1]["norm.running_mean"]
        )
        np.testing.assert_allclose(moved, corner[8:], atol=1e-12)


def test_a_path_along_a_line_spans_no_plane():
    line = [_state(torch.full((10,), float(step))) for step in range(4)]
    with pytest.raises(LossmapError) as refused:
        principal(line[0], line, NAMES)
    assert (
        str(refused.value)
        == "the path of 4 snapshots does not span a plane, expected two at least that differ from the trained"
        " network and do not lie on one line with it; train longer, lower training.trajectory_every, give"
        " more checkpoints, or set landscape.directions=random"
    )


def test_a_projection_onto_any_plane_is_that_of_least_squares_in_float64():
    path, axes = _path(), _path(4)[2:]
    del axes[1]["a.bias"], axes[1]["norm.running_mean"]  # as random directions leave biases
    found = projected(path[-1], path, NAMES, (axes[0], axes[1]))
    plane = np.stack([_flat({"a.bias": np.zeros(2), **axis}) for axis in axes], axis=1)
    squares = 0.0
    for state, position, distance in zip(path, found.positions.numpy(), found.distances, strict=True):
        difference = _flat(state) - _flat(path[-1])
        expected, *_ = np.linalg.lstsq(plane, difference, rcond=None)
        np.testing.assert_allclose(position, expected, atol=1e-10)
        assert float(distance) == pytest.approx(np.linalg.norm(difference - plane @ expected), abs=1e-7)
        squares += np.linalg.norm(plane @ expected) ** 2
    total = sum(float(length) ** 2 for length in found.lengths)
    assert found.explained == (pytest.approx(squares / total),)


def test_a_projection_onto_a_plane_that_is_a_line_or_of_a_path_that_stays_is_finite():
    path = _path()
    axis = {name: tensor.double() for name, tensor in path[0].items()}
    twice = {name: 2 * tensor for name, tensor in axis.items()}
    found = projected(path[-1], path, NAMES, (axis, twice))
    assert found.positions.isfinite().all()
    along = found.positions[:, 0] + 2 * found.positions[:, 1]
    unit = _flat(axis) / np.linalg.norm(_flat(axis))
    for state, place in zip(path, along.tolist(), strict=True):
        expected = (_flat(state) - _flat(path[-1])) @ unit / np.linalg.norm(_flat(axis))
        assert place == pytest.approx(expected, abs=1e-10)
    assert projected(path[0], path[:1], NAMES, (axis, twice)).explained == (1.0,)
