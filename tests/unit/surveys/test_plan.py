import copy

import numpy as np
import pytest
import torch
from reference.landscape import naive_point
from safetensors.torch import load
from support.training import in_process

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Axis, Convexity, Curvature, Landscape, Plane
from lossmap.components.config.models import Mlp
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.parameters import gradient
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys import plan as survey
from lossmap.components.surveys.merge import load_pairs, merge
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.problems import Problems, load_directions
from lossmap.components.surveys.stored_result import load_result
from lossmap.components.surveys.tiles import cut, evaluate_tile
from lossmap.pipelines.local import open_run

SMALL = Plane(x=Axis(points=5), y=Axis(low=0, high=1, points=3))


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tracking):
    folder = tmp_path_factory.mktemp("store")
    return Settings(store=str(folder), tracking=tracking(folder))


def surveyed(settings, run, seed=0, **landscape):
    """A small network on blobs, trained and surveyed by this process; what was found, and how many points
    were evaluated.
    """
    experiment = Experiment(
        data=Data(source="blobs", blobs=Blobs(train_per_class=30, test_per_class=5, noise=0.6)),
        model=Mlp(hidden=(6,), seed=seed),
        training=Training(epochs=4, batch_size=20, processes=1, seed=seed),
        landscape=Landscape.model_validate({"plane": SMALL, "line": None, "samples": 60, **landscape}),
    )
    steps.prepare(open_run(run, settings), experiment)
    steps.train(open_run(run, settings), settings, launch=in_process(settings))
    planned, evaluated = open_run(run, settings), 0
    survey.plan(planned)
    while tiles := pending_tiles(planned):
        for tile in tiles:
            evaluate_tile(planned.store, tile, Problems(planned).evaluator(tile.part))
            evaluated += len(tile.points)
    merge(planned)
    return load_result(planned), evaluated


def slow_loss(store, run, state):
    """The mean loss of a run's samples under a state dict: one image at a time, in float64."""
    problem = Problems(Run(store, run)).problem(Run(store, run).experiment.landscape.samples)
    network = copy.deepcopy(problem.network)
    network.load_state_dict(state)
    still = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    return naive_point(network, still, still, 0.0, 0.0, problem.samples.inputs, problem.samples.targets)[0]


def test_the_other_networks_lie_at_coordinate_one(settings):
    surveyed(settings, "first", seed=1)
    surveyed(settings, "second", seed=2)
    found, _ = surveyed(
        settings,
        "between",
        directions="networks",
        networks=("first", "second"),
        plane=Plane(x=Axis(low=0, points=3), y=Axis(low=0, points=3)),
    )
    store, plane = open_store(settings.store), found.planes[0]
    for (row, column), run in {(0, 0): "between", (0, 2): "first", (2, 0): "second"}.items():
        state = load(store.read(layout.weights(Run(store, run).training)))
        # float32 along the way
        assert plane.loss[row, column] == pytest.approx(slow_loss(store, "between", state), rel=2e-5)


def test_one_other_network_leaves_the_second_direction_random(settings):
    surveyed(settings, "first", seed=1)
    surveyed(settings, "alone", directions="networks", networks=("first",))
    store = open_store(settings.store)
    x, y = load_directions(store, Run(store, "alone").survey.surfaces[0])
    own, other = (Problems(Run(store, run)).network().state_dict() for run in ("alone", "first"))
    for name, direction in x.items():
        np.testing.assert_allclose(direction, other[name] - own[name], atol=1e-6)
    assert y["1.weight"].norm() == pytest.approx(float(own["1.weight"].norm()), rel=1e-5)
    assert not y["1.bias"].any()


def test_a_network_of_another_size_is_refused(settings):
    surveyed(settings, "first", seed=1)
    store = open_store(settings.store)
    experiment = Run(store, "first").experiment.model_copy(
        update={"model": Mlp(hidden=(5,)), "landscape": Landscape(directions="networks", networks=("first",))}
    )
    steps.prepare(open_run("other-size", settings), experiment)
    steps.train(open_run("other-size", settings), settings, launch=in_process(settings))
    with pytest.raises(LossmapError) as refused:
        survey.plan(Run(store, "other-size"))
    assert (
        str(refused.value)
        == "run first has another network than other-size, expected the same architecture and size; name runs"
        " whose model is equal"
    )


def test_the_trajectory_is_told_with_its_true_loss_and_its_distance_from_the_plane(settings):
    found, _ = surveyed(settings, "path", directions="trajectory")
    store, training = open_store(settings.store), open_run("path", settings).training
    assert [passed.position.epoch for passed in found.trajectory] == [0, 1, 2, 3, 4]
    own = load(store.read(layout.weights(training)))
    x, y = load_directions(store, Run(store, "path").survey.surfaces[0])
    for passed in found.trajectory:
        state = load(store.read(layout.snapshot(training, passed.position.epoch)))
        assert passed.loss == pytest.approx(slow_loss(store, "path", state), rel=2e-5)
        projection = {
            name: own[name] + passed.position.x * x[name] + passed.position.y * y[name] for name in own
        }
        assert passed.plane_loss == pytest.approx(slow_loss(store, "path", projection), rel=1e-4)
        off = np.sqrt(sum(float(((state[name] - projection[name]).double() ** 2).sum()) for name in own))
        assert passed.position.distance == pytest.approx(off, abs=1e-5)
    assert found.trajectory[-1].loss == found.trajectory[-1].plane_loss


def test_the_gradient_is_the_slope_along_the_first_direction(settings):
    surveyed(
        settings,
        "gradient",
        directions="gradient",
        plane=Plane(x=Axis(low=-1e-3, high=1e-3, points=3), y=Axis(points=3)),
    )
    store = open_store(settings.store)
    plane = load_pairs(Run(store, "gradient"))[0]["plane"]
    slope = (plane.loss[1, 2] - plane.loss[1, 0]) / 2e-3
    x, _ = load_directions(store, Run(store, "gradient").survey.surfaces[0])
    own = np.sqrt(sum(float((direction.double() ** 2).sum()) for direction in x.values()))
    # a central difference in float32: 1e-7 of the loss over a step of 2e-3
    assert slope == pytest.approx(
        np.linalg.norm(gradient(Problems(Run(store, "gradient")).problem(60))) * own, rel=1e-2
    )


def test_the_first_direction_is_the_eigenvector_of_greatest_curvature(settings):
    surveyed(settings, "hessian", directions="hessian")
    store = open_store(settings.store)
    x, y = load_directions(store, Run(store, "hessian").survey.surfaces[0])
    hessian = Hessian(Problems(Run(store, "hessian")).problem(60))
    dense = hessian @ np.eye(hessian.shape[0])
    values = np.linalg.eigvalsh((dense + dense.T) / 2)
    for direction, value in ((x, values[-1]), (y, values[-2])):
        vector = np.concatenate(
            [direction[name].double().flatten().numpy() for name in hessian.parameters.sizes]
        )
        # the tolerance of the survey
        np.testing.assert_allclose(
            hessian @ vector, value * vector, atol=1e-2 * values[-1] * np.linalg.norm(vector)
        )


def test_every_pair_has_a_surface_of_its_own_and_the_first_is_that_of_a_survey_with_one(settings):
    one, _ = surveyed(settings, "one-pair", line={"points": 5})
    three, evaluated = surveyed(settings, "three-pairs", line={"points": 5}, pairs=3)
    assert evaluated == 2 * 15  # the first pair's points were there
    assert len(three.planes) == len(three.lines) == 3
    assert three.planes[0].loss.tobytes() == one.planes[0].loss.tobytes()
    assert len({plane.loss.tobytes() for plane in three.planes}) == 3
    assert three.planes[1].loss[0, 2] == three.planes[2].loss[0, 2] == one.planes[0].loss[0, 2]


def test_an_adaptive_plane_evaluates_less_and_a_dense_one_reuses_its_points(settings):
    plane = Plane(x=Axis(low=-0.5, high=0.5, points=33), y=Axis(low=-0.5, high=0.5, points=33))
    found, evaluated = surveyed(settings, "adaptive", plane=plane, adaptive=Adaptive(), samples=20)
    assert evaluated == found.planes[0].evaluated.sum() < 33 * 33 / 4
    assert found.planes[0].finite.all()
    dense, rest = surveyed(settings, "dense", plane=plane, samples=20)
    assert rest == 33 * 33 - evaluated
    logarithms = np.log([found.planes[0].loss, dense.planes[0].loss])
    assert np.abs(logarithms[0] - logarithms[1]).max() <= found.bound.absolute


def test_convexity_and_curvature_are_of_the_points_they_say(settings):
    # an eigenvalue errs by the square of its residual, which is what the tolerance bounds
    curvature = Curvature(samples=60, trace_products=8, tolerance=1e-2)
    convexity = Convexity(plane=SMALL, samples=60, tolerance=1e-2)
    found, _ = surveyed(settings, "curved", curvature=curvature, convexity=convexity)
    hessian = Hessian(Problems(open_run("curved", settings)).problem(60))
    dense = hessian @ np.eye(hessian.shape[0])
    values = np.linalg.eigvalsh((dense + dense.T) / 2)
    assert found.curvature.largest[0].estimate.value == pytest.approx(values[-1], rel=1e-3)
    assert (found.convexity.largest[0, 2], found.convexity.smallest[0, 2]) == (
        pytest.approx(values[-1], rel=1e-3),
        pytest.approx(values[0], rel=1e-2),
    )
    assert found.convexity.smallest.shape == (3, 5)
    assert found.curvature.trace.low <= np.trace(dense) <= found.curvature.trace.high


def test_a_worker_takes_its_own_share_first_and_then_what_others_have_not_done(settings):
    surveyed(settings, "first", seed=1)
    part = open_run("first", settings).survey.parts[0]
    tiles = cut(part, [(float(x), 0.0) for x in range(1000)], 5)
    shares = [steps.Share(index, 3) for index in range(3)]
    orders = [share.order(tiles) for share in shares]
    assert all(sorted(order, key=tiles.index) == list(tiles) for order in orders)
    own = [[tile for tile in tiles if int(tile.digest[:8], 16) % 3 == index] for index in range(3)]
    assert [order[: len(mine)] for order, mine in zip(orders, own, strict=True)] == own
    assert sum(map(len, own)) == len(tiles)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("directions", ["hessian", "random"])
def test_a_survey_on_a_gpu_that_is_not_there_is_refused_in_one_line(settings, directions):
    with pytest.raises(ExperimentError, match=r"^landscape.device is 'cuda' and t.*; set landscape.device="):
        surveyed(settings, f"gpu-{directions}", device="cuda", directions=directions)
