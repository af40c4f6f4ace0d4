"""Points of the plane, and slopes, of networks of many kinds, against a plain loop that builds the network
anew with the moved weights.
"""

import math

import pytest
import torch
from reference.foreign import KINDS, inputs, targets
from reference.landscape import fold

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.directions.filters import filter_layouts
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.moving import moving_parameters
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy, like_parameters
from lossmap.components.landscape.parameters import gradient
from lossmap.components.landscape.precision import widen

POINTS = [(0.0, 0.0), (0.4, -0.3), (-1.0, 0.7)]
ALL = Landscape(ignore_bias_and_norm=False)
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
# What TorchScript compiled takes no stand-ins for its parameters, and what DataParallel wraps is unwrapped
# before. A network whose forward pass ends in gradients has no slope for autograd, one with an orthogonal
# layer jumps: torch rounds the signs in its parameter to integers.
WITHOUT_DERIVATIVES = {"TorchScript", "parallel", "gradients at the inputs", "orthogonal"}


def _problem(name):
    network = widen(KINDS[name]())
    samples = Samples(like_parameters(inputs(name), network), targets(), 4)
    return Problem(network, cross_entropy, samples)


def _directions(network):
    weights, layouts = moving_parameters(network), filter_layouts(network)
    return tuple(normalized_direction(weights, axis, ALL, 0, layouts) for axis in "xy")


def _plain_loop(name, directions, x, y):
    """Mean loss of a network that is built anew and gets w + x d1 + y d2 before its first call, one sample at
    a time; in the network's own type where that has 32 bits at least, and in float64 where it can be.
    """
    losses = []
    for image, label in zip(inputs(name), targets(), strict=True):
        network = widen(KINDS[name]())
        network = _doubled(name, network)
        with torch.no_grad():
            for parameter_name, parameter in network.named_parameters():
                if parameter_name in directions[0]:
                    d1, d2 = (direction[parameter_name].to(parameter) for direction in directions)
                    parameter.copy_(parameter + x * d1 + y * d2)
        output = network(like_parameters(image[None].clone(), network)).detach()[0].tolist()
        top = max(output)
        losses.append(top + math.log(sum(math.exp(each - top) for each in output)) - output[int(label)])
    return sum(losses) / len(losses)


def _doubled(name, network):
    """In float64, but for what has two types of its own or is compiled."""
    return network if name in ("bfloat16 and float32", "float64 and float32") else network.double()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", KINDS)
def test_a_point_is_that_of_a_network_built_with_the_moved_weights(name, point):
    problem = _problem(name)
    directions = _directions(problem.network)
    folded, moved = fold(problem, directions)
    evaluate = Evaluator(folded, moved, "frozen")
    for other in POINTS:
        evaluate(*other)
    expected = _plain_loop(name, directions, *point)
    # float32 against float64, or float64 against itself
    assert evaluate(*point).loss == pytest.approx(expected, rel=1e-12 if name == "float64" else 2e-5)


@pytest.mark.parametrize("name", sorted(set(KINDS) - WITHOUT_DERIVATIVES))
def test_the_gradient_is_the_slope_of_the_plain_loop(name):
    problem = _problem(name)
    directions = _directions(problem.network)
    vector = torch.cat(
        [directions[0][each].flatten() for each in moving_parameters(problem.network)]
    ).double()
    slope = float(vector @ torch.from_numpy(gradient(problem)))
    step = 1e-5 if name not in ("bfloat16 and float32", "float64 and float32") else 1e-2
    ahead, behind = (_plain_loop(name, directions, sign * step, 0.0) for sign in (1, -1))
    # the gradient's own float32; a difference over 1e-2 errs by its square, times third derivatives
    scale = float(vector.norm()) * 1e-4
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=2e-3, abs=scale)


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"low rank", "bias alone"}))
def test_every_parameter_moves(name):
    network = _problem(name).network
    assert set(moving_parameters(network)) == {each for each, _ in network.named_parameters()}


def test_frozen_layers_stay():
    assert set(moving_parameters(KINDS["low rank"]())) == {"a.weight", "b.weight"}
    assert set(moving_parameters(KINDS["bias alone"]())) == {"body.bias"}
