"""Every bug of the tool that began all this (reference/landscape.md, section 2, a to h) as a test that
would catch it here.
"""

import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from reference.landscape import evaluator
from reference.manifests import manifest
from reference.summaries import evaluate as on_a_grid
from reference.summaries import rugged, summary

from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import Mlp
from lossmap.components.data.batches import sample_indices
from lossmap.components.figures.run import plots
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.landscape.grid import Grid, Result
from lossmap.components.landscape.hessian.lanczos import eigenpairs
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.models import build
from lossmap.components.surveys.merge import assemble
from lossmap.components.surveys.pending import wanted_points
from lossmap.components.surveys.tiles import Part, Survey

PART = Part(kind="loss", address="a" * 64, plane="a" * 64)


def _network():
    return build(Mlp(hidden=(6,)), manifest(classes=3))


def test_a_a_grid_that_is_not_square_has_rows_for_y_and_columns_for_x():
    network = _network()
    weights = dict(network.named_parameters())
    directions = tuple(
        {name: value.float() for name, value in normalized_direction(weights, axis, Landscape()).items()}
        for axis in "xy"
    )
    inputs, labels = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3
    evaluate = evaluator(network, directions, inputs, labels, "frozen", 8)
    grid = Grid.of(Axis(low=-1, high=1, points=5), Axis(low=0, high=0.5, points=3))
    found = assemble(grid, {point: evaluate(*point) for point in grid.points()})
    assert found.loss.shape == (3, 5)
    for row, y in enumerate(grid.y):
        for column, x in enumerate(grid.x):
            assert found.loss[row, column] == evaluate(x, y).loss


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 0.0)])
def test_b_an_axis_may_begin_or_end_at_zero(low, high):
    landscape = Landscape.model_validate(
        {
            "plane": {
                "x": {"low": low, "high": high, "points": 51},
                "y": {"low": low, "high": high, "points": 51},
            }
        }
    )
    grid = Grid.of(landscape.plane.x, landscape.plane.y)
    assert (grid.x[0], grid.x[-1], len(grid.x), len(grid.points())) == (low, high, 51, 51 * 51)


def test_c_zero_negative_nan_and_infinite_losses_are_known_and_never_wanted_again():
    landscape = Landscape(plane=Plane(x=Axis(points=2), y=Axis(points=2)), line=None)
    losses = dict(
        zip(
            Grid.of(landscape.plane.x, landscape.plane.y).points(),
            (0.0, -1.5, math.nan, math.inf),
            strict=True,
        )
    )
    known = {point: Result(loss, 0.0, 0.0, (loss,)) for point, loss in losses.items()}
    assert wanted_points(PART, Survey(parts=(PART,)), landscape, known) == []
    found = assemble(Grid.of(landscape.plane.x, landscape.plane.y), known)
    np.testing.assert_array_equal(found.loss, [[0.0, -1.5], [math.nan, math.inf]])
    assert found.finite.tolist() == [[True, True], [False, False]]


def test_d_nothing_needs_mpi_or_hdf5_and_the_picture_in_perspective_is_not_blank():
    script = (
        "import sys, json, lossmap.components.surveys.pool, lossmap.components.figures.run.report;"
        " print(json.dumps(sorted(sys.modules)))"
    )
    modules = json.loads(
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script], check=True, capture_output=True, text=True
        ).stdout
    )
    assert not {"mpi4py", "h5py"} & set(modules)
    picture = np.asarray(
        Image.open(
            io.BytesIO(
                plots.surface(summary(plane=on_a_grid(rugged, np.linspace(-1, 1, 9), np.linspace(-1, 1, 9))))
            )
        )
    )
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 100


def test_e_another_seed_evaluates_other_samples():
    first, same, other = (sample_indices(1000, 100, seed).tolist() for seed in (0, 0, 1))
    assert first == same != other
    assert len(set(first)) == 100
    assert set(sample_indices(1000, 50, 0).tolist()) < set(first)


def test_f_the_direction_of_biases_and_norms_is_random_and_no_copy_of_the_weights():
    weights = {
        "layer.weight": torch.ones(4, 5),
        "layer.bias": torch.linspace(0.5, 2, 40),
        "norm.weight": torch.ones(40),
    }
    direction = normalized_direction(
        weights, "x", Landscape(normalization="layer", ignore_bias_and_norm=False)
    )
    for name, weight in weights.items():
        cosine = float(
            direction[name].flatten()
            @ weight.double().flatten()
            / direction[name].norm()
            / weight.double().norm()
        )
        assert abs(cosine) < 0.6, name
        assert direction[name].norm() == pytest.approx(float(weight.double().norm()))


def test_g_an_eigenvalue_is_of_the_mean_loss_whatever_the_batch_size_and_biases_count():
    network, labels = _network(), torch.arange(60) % 3
    inputs = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    problems = [Problem(network, cross_entropy, Samples(inputs, labels, size)) for size in (1, 7, 60)]
    # of a sum over batches the eigenvalue would be 60 and 9 times as large, whatever the tolerance
    found = [eigenpairs(Hessian(problem), 1, 1, 1e-2, 0).values for problem in problems]
    np.testing.assert_allclose(found[0], found[2], rtol=1e-4)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-4)
    assert (
        Hessian(Problem(network, cross_entropy, Samples(inputs, labels, 60))).shape[0]
        == 64 * 6 + 6 + 6 * 3 + 3
    )


def test_h_directions_are_the_same_numbers_whatever_torch_does():
    torch.manual_seed(1)
    first = normalized_direction({"w": torch.ones(2, 2)}, "x", Landscape(normalization="none"))["w"]
    torch.manual_seed(2)
    second = normalized_direction({"w": torch.ones(2, 2)}, "x", Landscape(normalization="none"))["w"]
    assert first.tolist() == second.tolist()
