"""Blocks of the Hessian that belong to some of the parameters, against the dense Hessian in float64."""

import numpy as np
import pytest
from reference.curvature import dense_hessian, small_problem
from torch import nn

from lossmap.components.config.landscape import Curvature
from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.hessian.curvature import CHOSEN, block_names, measure

EXACT = {"trace_products": 1000, "top": 2, "bottom": 1, "tolerance": 1e-8}  # more products than parameters


def _dense_block(problem, names):
    """The rows and columns of the dense Hessian that belong to the named parameters."""
    inside = np.concatenate(
        [np.full(value.numel(), name in names) for name, value in problem.network.named_parameters()]
    )
    return dense_hessian(problem)[np.ix_(inside, inside)]


@pytest.mark.parametrize("kind", ["tanh", "squares", "convolution", "attention"])
def test_every_layers_block_is_that_of_the_dense_hessian(kind):
    problem = small_problem(kind)
    found = measure(problem, Curvature(layers=True, **EXACT), 0)
    layers = dict.fromkeys(name.rpartition(".")[0] for name, _ in problem.network.named_parameters())
    assert [block.name for block in found.blocks] == list(layers)
    for block in found.blocks:
        dense = _dense_block(problem, block.names)
        values = np.linalg.eigvalsh(dense)
        assert block.parameters == len(dense)
        assert block.trace.value == pytest.approx(np.trace(dense), rel=1e-9, abs=1e-12)
        largest = [each.estimate.value for each in block.largest]
        np.testing.assert_allclose(largest, values[::-1][:2], rtol=1e-9, atol=1e-12)
        assert block.smallest[0].estimate.value == pytest.approx(values[0], rel=1e-9, abs=1e-12)
    traces = sum(block.trace.value for block in found.blocks)
    assert traces == pytest.approx(found.trace.value, rel=1e-9)


def test_chosen_parameters_have_one_block_beside_the_whole():
    problem = small_problem("tanh")
    settings = Curvature(parameters=("0.bias", "2.*"), **EXACT)
    found, alone = measure(problem, settings, 0), measure(problem, Curvature(**EXACT), 0)
    (block,) = found.blocks
    dense = _dense_block(problem, ("0.bias", "2.weight", "2.bias"))
    assert (block.name, block.names, block.parameters) == (CHOSEN, ("0.bias", "2.weight", "2.bias"), 19)
    assert block.largest[0].estimate.value == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-9)
    assert block.trace.value == pytest.approx(np.trace(dense), rel=1e-9)
    assert found.model_copy(update={"blocks": ()}) == alone
    scalars = found.scalars()
    assert scalars["hessian_trace.chosen parameters"] == block.trace.value
    assert scalars["hessian_largest.chosen parameters_low"] == block.largest[0].estimate.low


def test_a_block_estimated_from_few_products_has_the_dense_trace_in_its_interval():
    problem = small_problem("convolution", samples=60)
    found = measure(problem, Curvature(layers=True, trace_products=12), 0)
    for block in found.blocks:
        assert block.trace.low <= np.trace(_dense_block(problem, block.names)) <= block.trace.high


def test_progress_counts_the_blocks():
    told = []
    measure(small_problem("tanh"), Curvature(layers=True), 0, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == told[-1][1]
    assert {text for _, _, text in told} >= {"block of 0", "block of 2"}


def _network():
    network = nn.Sequential()
    network.add_module("body", nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    network.add_module("head", nn.Linear(4, 4))
    network.body[0].requires_grad_(False)
    network.scale = nn.Parameter(nn.init.zeros_(network.head.bias.detach().clone()))
    return network


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (("head",), ["head.weight", "head.bias"]),
        (("body",), ["body.1.weight", "body.1.bias"]),
        (("*.bias", "scale"), ["scale", "body.1.bias", "head.bias"]),
        (("h*t", "body.[1-9]"), ["body.1.weight", "body.1.bias", "head.weight"]),
        (("head.weight", "head"), ["head.weight", "head.bias"]),
    ],
)
def test_patterns_are_of_parameters_or_of_layers(patterns, names):
    assert block_names(_network(), Curvature(parameters=patterns))[CHOSEN] == names


def test_a_tied_parameter_is_found_by_each_of_its_names():
    network = _network()
    network.tail = nn.Linear(4, 4)
    network.tail.weight = network.head.weight
    assert block_names(network, Curvature(parameters=("tail",)))[CHOSEN] == ["head.weight", "tail.bias"]


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (
            "layer3.*",
            "landscape.curvature.parameters has 'layer3.*', which matches no parameter of the network"
            " Sequential, expected some of scale, body.* (2), head.* (2)",
        ),
        (
            "body.0",
            "landscape.curvature.parameters has 'body.0', which matches only frozen parameters of the network"
            " Sequential (body.0.weight, body.0.bias), expected some that move: scale, body.* (2), head.*"
            " (2)",
        ),
    ],
)
def test_a_pattern_that_matches_nothing_that_moves_is_refused_with_what_there_is(pattern, line):
    with pytest.raises(ExperimentError) as refused:
        block_names(_network(), Curvature(parameters=("head", pattern)))
    assert str(refused.value) == line


def test_one_name_is_enough_and_a_layer_may_be_a_number():
    assert Curvature(parameters="head").parameters == ("head",)
    assert Curvature(parameters=[0, "2.bias"]).parameters == ("0", "2.bias")
    assert Curvature(parameters=2).parameters == ("2",)
