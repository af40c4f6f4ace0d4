import copy
from typing import get_args

import numpy as np
import pytest
import torch
from reference.landscape import naive_point
from reference.symmetries import images, networks, randomized
from torch import nn

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.directions.invariance import proof_text, prove
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.landscape.directions.rescaling import Kind, rescaled_copy
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy

KINDS = get_args(Kind)
EXACT = (
    1e-12  # what landscape.md 4.2 asks of whole layers; float64 roundings of 1e-16, a few hundred in a row
)
SMALL = 1e-10  # the neuron normalisation is found by iteration to 1e-13


def _problem(network, inputs, classes):
    targets = torch.arange(len(inputs)) % classes
    return Problem(network, cross_entropy, Samples(inputs, targets, 4))


def _changes(proof):
    return {(row.normalization, row.rescaling): row.change for row in proof.rows}


def _perceptron():
    """The network of landscape.md 4.2: 6-8-4 with rectified linear units."""
    return randomized(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)))


def _vectors(count=40):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("ignore", [True, False])
def test_of_a_perceptron_the_literatures_normalizations_withstand_layers_and_only_ours_and_element_neurons(
    ignore,
):
    proof = prove(
        _problem(_perceptron(), _vectors(), 4), Landscape(ignore_bias_and_norm=ignore), np.linspace(-1, 1, 11)
    )
    changes = _changes(proof)
    for name in ("layer", "filter", "element", "neuron"):
        assert changes[name, "layer"] <= EXACT
    for name in ("none", "model"):
        assert changes[name, "layer"] > 0.5
    for name in ("none", "model", "layer", "filter"):
        assert changes[name, "neuron"] > 1  # another loss by more than a factor of two
    assert changes["element", "neuron"] <= EXACT
    assert changes["neuron", "neuron"] <= SMALL
    assert proof.unchanged() == ["element", "neuron"]
    assert proof.changed() == ["filter", "layer", "model", "none"]


@pytest.mark.parametrize("name", ["convolutions", "resnet A", "resnet B", "resnet without shortcuts"])
def test_convolutions_and_norms_likewise_and_filters_withstand_what_their_norm_undoes(name):
    network = networks()[name]
    proof = prove(_problem(network, images(3), 3), Landscape(ignore_bias_and_norm=False), [-1.0, 1.0])
    changes = _changes(proof)
    possible = [rescaling for rescaling in proof.rescalings if rescaling.scales]
    assert [rescaling.kind for rescaling in possible] == [
        kind for kind in KINDS if name != "convolutions" or kind != "batch-norm"
    ]
    assert all(rescaling.function_change <= EXACT for rescaling in possible)
    assert all(
        changes[invariant, rescaling.kind] <= SMALL
        for rescaling in possible
        for invariant in ("element", "neuron")
    )
    assert changes["filter", "layer"] <= EXACT
    assert changes["layer", "layer"] <= EXACT
    assert min(changes["filter", "neuron"], changes["layer", "neuron"]) > 2
    if name != "convolutions":
        assert changes["filter", "batch-norm"] <= SMALL
        assert changes["layer", "batch-norm"] > 2


def test_statistics_that_are_estimated_anew_are_invariant_up_to_the_eps_of_batch_norm():
    landscape = Landscape(batch_norm="reestimated")
    proof = prove(_problem(networks()["resnet A"], images(3), 3), landscape, [0.5])
    changes = _changes(proof)
    for name in ("element", "neuron"):
        # a factor r changes the scale of a channel with variance v by eps (1 - 1/r^2) / 2v: eps is 1e-5, r >=
        # 0.1, v about 1
        assert SMALL < changes[name, "batch-norm"] < 1e-3
        assert changes[name, "layer"] <= SMALL
        assert changes[name, "neuron"] <= SMALL
    assert proof.unchanged() == ["element", "neuron"]


def test_the_change_is_that_of_a_slow_computation_on_a_rescaled_copy():
    network, inputs, landscape, points = (
        _perceptron(),
        _vectors(5),
        Landscape(normalization="filter", seed=3),
        [-0.5, 0.25],
    )
    proof = prove(_problem(network, inputs, 4), landscape, points)
    changed, _ = rescaled_copy(network, "neuron", landscape.seed)
    found = []
    for t in points:
        for x, y in ((t, 0.0), (0.0, t)):
            f, g = (
                naive_point(
                    net,
                    *(normalized_direction(dict(net.named_parameters()), axis, landscape) for axis in "xy"),
                    x,
                    y,
                    inputs,
                    torch.arange(5) % 4,
                )[0]
                for net in (network, changed)
            )
            found.append(abs(g - f) / f)
    assert _changes(proof)["filter", "neuron"] == pytest.approx(max(found), rel=1e-9)


@pytest.mark.parametrize("name", ["mlp", "resnet B"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rescaled_network_computes_the_same_with_other_weights(name, kind):
    network = networks()[name]
    changed, rescaling = rescaled_copy(network, kind, seed=1)
    torch.testing.assert_close(changed(images()), network(images()), rtol=1e-10, atol=1e-12)
    moved = [
        tensor
        for tensor, value in network.state_dict().items()
        if not torch.equal(value, changed.state_dict()[tensor])
    ]
    assert bool(moved) == bool(rescaling.scales) == (name != "mlp" or kind != "batch-norm")
    statistics = any("running" in tensor for tensor in moved)
    assert statistics == (kind == "batch-norm" and name != "mlp")


def test_a_whole_layers_factors_are_ten_and_a_tenth_in_turn():
    network = networks()["mlp"]
    changed, rescaling = rescaled_copy(network, "layer", seed=0)
    before, after = network.state_dict(), changed.state_dict()
    torch.testing.assert_close(after["1.weight"], before["1.weight"] * 10, rtol=1e-15, atol=0)
    torch.testing.assert_close(after["3.weight"], before["3.weight"] / 100, rtol=1e-15, atol=0)
    torch.testing.assert_close(after["3.bias"], before["3.bias"] / 10, rtol=1e-15, atol=0)
    torch.testing.assert_close(after["5.weight"], before["5.weight"] * 10, rtol=1e-15, atol=0)
    assert (
        rescaling.what
        == "the outputs of 2 layers times 10 and 1/10 in turn, undone by the layers that read them"
    )


def test_equal_seeds_rescale_equally_and_others_do_not():
    network = networks()["mlp"]
    copies = [rescaled_copy(network, "neuron", seed)[0] for seed in (1, 1, 2)]
    first, again, other = (copy.state_dict()["1.bias"] for copy in copies)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_where_nothing_can_be_rescaled_the_proof_says_so():
    proof = prove(_problem(nn.Linear(6, 4), _vectors(), 4), Landscape(), [1.0])
    assert proof.rows == ()
    assert proof_text(proof) == [
        "layer: nothing: between no two layers lie only operations that commute with a positive factor",
        "neuron: nothing: between no two layers lie only operations that commute with a positive factor",
        "batch-norm: nothing: no layer is followed by BatchNorm alone",
        "Nothing of this network can be rescaled, so that no normalisation is put to the test.",
    ]
    assert proof.unchanged() == []


class _Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_is_not_rescaled_and_says_why():
    _, rescaling = rescaled_copy(_Branching(4, 4), "neuron", 0)
    assert rescaling.what.startswith("nothing: the network's data flow cannot be traced (TraceError")


def test_a_pruned_networks_neuron_normalization_is_impossible_and_the_others_are_tried():
    network = _perceptron()
    with torch.no_grad():
        network[2].weight[0, 1:] = (
            0  # the one weight of the row would have to be the whole sum of its column as well
        )
    proof = prove(_problem(network, _vectors(), 4), Landscape(), [-1.0, 1.0])
    assert _changes(proof)["neuron", "neuron"] is None
    assert (proof.unchanged(), proof.impossible()) == (["element"], ["neuron"])
    assert proof_text(proof)[-3:] == [
        "The function is the same. Under every rescaling its picture is the same, to 1e-06, with element.",
        "It changes with filter, layer, model, none: what these show is in part the weights' scale.",
        (
            "These weights have no neuron normalisation: they are pruned so that no scale of rows and columns"
            " fits them."
        ),
    ]


def test_the_proof_leaves_the_network_alone_computes_in_float64_and_tells_how_far_it_is():
    network = _perceptron().float().train()
    state, told = copy.deepcopy(network.state_dict()), []
    proof = prove(
        _problem(network, _vectors().float(), 4), Landscape(), [0.5], lambda *progress: told.append(progress)
    )
    assert all(
        value.dtype == torch.float32 and torch.equal(value, state[name])
        for name, value in network.state_dict().items()
    )
    assert network.training
    assert _changes(proof)["element", "neuron"] <= EXACT
    # six normalisations of the network and of two rescaled ones, and the end
    assert [done for done, _, _ in told] == list(range(19))
    assert {total for _, total, _ in told} == {18}


def test_losses_that_are_not_finite_or_zero_are_no_change_that_is_not_there():
    def loss(outputs, targets):
        return torch.where(outputs[:, 0] > 0, torch.nan, 0.0).double()

    problem = _problem(_perceptron(), _vectors(), 4)
    proof = prove(Problem(problem.network, loss, problem.samples), Landscape(), [0.0])
    assert all(np.isnan(row.change) for row in proof.rows)
    proof = prove(
        Problem(problem.network, lambda outputs, targets: 0 * outputs[:, 0], problem.samples),
        Landscape(),
        [1.0],
    )
    assert all(row.change == 0 for row in proof.rows)
