"""Filters by output channel, for every kind of layer; which numbers these are is asked of the layer."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.directions.filters import Layout, filter_layouts
from lossmap.components.landscape.directions.normalization import normalize
from lossmap.components.landscape.directions.random import normalized_direction, random_direction

WORDS = torch.arange(6).reshape(2, 3)
LAYERS = {
    "linear": (lambda: nn.Linear(3, 5, bias=False), torch.rand(4, 3)),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5, bias=False), torch.rand(4, 3)),
    "convolution, 1": (lambda: nn.Conv1d(4, 6, 3, bias=False), torch.rand(2, 4, 7)),
    "convolution, 2": (lambda: nn.Conv2d(4, 6, 3, bias=False), torch.rand(2, 4, 7, 7)),
    "convolution, 3": (lambda: nn.Conv3d(4, 6, 2, bias=False), torch.rand(2, 4, 4, 4, 4)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False), torch.rand(2, 4, 7, 7)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), torch.rand(2, 4, 7, 7)),
    "transposed, 1": (lambda: nn.ConvTranspose1d(4, 6, 3, bias=False), torch.rand(2, 4, 7)),
    "transposed, 2": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, bias=False), torch.rand(2, 4, 7, 7)),
    "transposed, 3": (lambda: nn.ConvTranspose3d(4, 6, 2, bias=False), torch.rand(2, 4, 4, 4, 4)),
    "transposed, grouped": (
        lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False),
        torch.rand(2, 4, 7, 7),
    ),
    "transposed, depthwise": (
        lambda: nn.ConvTranspose2d(4, 4, 3, groups=4, bias=False),
        torch.rand(2, 4, 7, 7),
    ),
    "embedding": (lambda: nn.Embedding(6, 4), WORDS),
    "bag": (lambda: nn.EmbeddingBag(6, 4), WORDS),
}


def _numbers_behind(layer, inputs):
    """For each output channel the places of the weight's numbers that it depends on, as booleans like the
    weight.
    """
    arguments = (
        (inputs, torch.rand(4, 4, dtype=inputs.dtype)) if isinstance(layer, nn.Bilinear) else (inputs,)
    )
    outputs = layer(*arguments)
    last = isinstance(layer, nn.Linear | nn.Bilinear | nn.Embedding | nn.EmbeddingBag)
    channels = outputs.movedim(-1 if last else 1, 0)
    return [
        torch.autograd.grad(channel.sum(), layer.weight, retain_graph=True)[0] != 0 for channel in channels
    ]


def _weighted(kind):
    """A layer in float64 whose output channels have weights of different size."""
    torch.manual_seed(3)
    make, inputs = LAYERS[kind]
    layer = make().double()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    behind = _numbers_behind(layer, inputs)
    for channel, numbers in enumerate(behind):
        layer.weight.data[numbers] *= 10.0 ** (channel % 4 - 2)
    return layer, behind


@pytest.mark.parametrize("kind", LAYERS)
def test_each_output_channel_of_a_direction_has_the_norm_of_its_weights(kind):
    layer, behind = _weighted(kind)
    weights = {"0.weight": layer.weight.detach()}
    layouts = filter_layouts(nn.Sequential(layer))
    direction = normalized_direction(weights, "x", Landscape(), 0, layouts)["0.weight"]
    assert sum(numbers.sum() for numbers in behind) == layer.weight.numel()
    weight = layer.weight.detach()
    for numbers in behind:
        assert float(direction[numbers].norm() / weight[numbers].norm()) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("kind", sorted(set(LAYERS) - {"bilinear"}))
def test_neuron_normalization_follows_every_rescaling_of_outputs_and_inputs(kind):
    layer, behind = _weighted(kind)
    layouts = filter_layouts(nn.Sequential(layer))
    factors = torch.ones_like(layer.weight)
    for channel, numbers in enumerate(behind):
        factors[numbers] *= 3.0**channel
    factors *= _by_input(layer)
    direction = random_direction({"0.weight": layer.weight}, 0, "x")
    before, after = (
        normalize(direction, {"0.weight": weight}, "neuron", True, layouts)["0.weight"]
        for weight in (layer.weight.detach(), layer.weight.detach() * factors)
    )
    torch.testing.assert_close(after, before * factors, rtol=1e-10, atol=0)


def _by_input(layer):
    """A factor for each input channel, like the weight."""
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    factors = torch.ones_like(weight)
    for i, j in ((i, j) for i in range(weight.shape[0]) for j in range(weight.shape[1])):
        if getattr(layer, "transposed", False) or isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            factors[i, j] = 1.7**-i
        else:  # row i is in group i // (outputs / groups), which reads inputs of its own
            factors[i, j] = 1.7 ** -(j + weight.shape[1] * (i // (weight.shape[0] // groups)))
    return factors


@pytest.mark.parametrize("normalization", ["filter", "neuron", "element", "layer", "model", "none"])
def test_the_row_that_stands_for_no_word_stays(normalization):
    layer = nn.Embedding(6, 4, padding_idx=2)
    nn.init.normal_(layer.weight)
    weights, layouts = {"weight": layer.weight.detach()}, filter_layouts(layer)
    direction = normalized_direction(weights, "x", Landscape(normalization=normalization), 0, layouts)[
        "weight"
    ]
    assert not direction[2].any()
    assert direction[[0, 1, 3, 4, 5]].all()


def test_an_embedding_that_is_also_the_last_layer_moves_whole():
    network = nn.Sequential(nn.Embedding(6, 4, padding_idx=2), nn.Linear(4, 6, bias=False))
    network[1].weight = network[0].weight
    assert filter_layouts(network) == {"0.weight": Layout(inputs_first=True)}


def _old(norm, layer):
    with warnings.catch_warnings(action="ignore"):
        return norm(layer)


def _pruned(layer):
    prune.l1_unstructured(layer, "weight", 0.3)
    return layer


COMPUTED = {
    "pruned": (_pruned, {"weight_orig"}),
    "spectral norm": (parametrizations.spectral_norm, {"parametrizations.weight.original"}),
    "weight norm": (
        parametrizations.weight_norm,
        {"parametrizations.weight.original0", "parametrizations.weight.original1"},
    ),
    "old weight norm": (lambda layer: _old(torch.nn.utils.weight_norm, layer), {"weight_g", "weight_v"}),
    "old spectral norm": (lambda layer: _old(torch.nn.utils.spectral_norm, layer), {"weight_orig"}),
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_what_a_weight_is_computed_from_has_the_weights_layout(kind):
    change, names = COMPUTED[kind]
    network = nn.Sequential(change(nn.ConvTranspose2d(4, 6, 3, groups=2)))
    assert filter_layouts(network) == dict.fromkeys(
        {f"0.{name}" for name in names}, Layout(inputs_first=True, groups=2)
    )
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    direction = normalized_direction(weights, "x", Landscape(), 0, filter_layouts(network))
    for name in names:
        assert direction[f"0.{name}"].norm() == pytest.approx(float(weights[f"0.{name}"].norm()), rel=1e-6)


def test_a_recurrent_layer_and_attention_have_a_filter_for_each_row():
    network = nn.ModuleList([nn.LSTM(3, 4), nn.GRU(3, 4), nn.MultiheadAttention(4, 2)])
    assert filter_layouts(network) == {}
    weights = {name: weight.detach().double() for name, weight in network.named_parameters()}
    direction = normalized_direction(weights, "x", Landscape(), 0, filter_layouts(network))
    for name in ("0.weight_ih_l0", "0.weight_hh_l0", "1.weight_hh_l0", "2.in_proj_weight"):
        torch.testing.assert_close(direction[name].norm(dim=1), weights[name].norm(dim=1), rtol=1e-12, atol=0)
