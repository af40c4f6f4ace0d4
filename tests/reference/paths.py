"""Paths whose losses are formulas of the weights, and slow second implementations, in float64."""

import copy
import math

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from lossmap.components.data.batches import as_inputs, load_packed
from lossmap.components.landscape.connectivity.barriers import Profile
from lossmap.components.landscape.objective import cross_entropy
from lossmap.components.steps import prepare
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run


class Place(nn.Module):
    """A network whose output is its own weights, whatever goes in: the loss is a function of the place
    alone.
    """

    def __init__(self, *place):
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place, dtype=torch.float64))

    def forward(self, inputs):
        return self.place.expand(len(inputs), -1)


def height(function):
    """The loss function(x, y, …) of a `Place`; targets are added, one for each sample, so that samples
    differ.
    """
    return lambda outputs, targets: function(*outputs.unbind(dim=1)) + targets


def naive_barrier(t, values):
    """max over t of f(t) - ((1-t) f(0) + t f(1)), in a loop over the points."""
    return max(
        value - ((1 - place) * values[0] + place * values[-1]) for place, value in zip(t, values, strict=True)
    )


def naive_rise(values):
    """max over all pairs s <= t of f(t) - f(s)."""
    return max(later - earlier for i, earlier in enumerate(values) for later in values[i:])


def naive_losses(network, states, t, inputs, labels):
    """Cross-entropy and whether the answer is wrong, image by image in float64, of the network (1-t) a + t
    b, all tensors interpolated.
    """
    moved = copy.deepcopy(network).double().eval()
    a, b = states
    moved.load_state_dict({name: (1 - t) * a[name].double() + t * b[name].double() for name in a})
    losses, wrong = [], []
    for image, label in zip(inputs, labels, strict=True):
        logits = moved(image.double()[None])[0].tolist()
        top = max(logits)
        losses.append(top + math.log(sum(math.exp(value - top) for value in logits)) - logits[int(label)])
        wrong.append(logits.index(top) != int(label))
    return losses, wrong


def profile(t, group_losses, group_errors=None):
    """A profile of equally large groups; its losses are the means over them."""
    group_losses = np.asarray(group_losses, dtype=float)
    group_errors = (
        np.full_like(group_losses, np.nan) if group_errors is None else np.asarray(group_errors, dtype=float)
    )
    with np.errstate(invalid="ignore"):
        spread = group_losses.std(axis=1, ddof=1) / math.sqrt(group_losses.shape[1])
    return Profile(
        np.asarray(t, dtype=float),
        group_losses.mean(axis=1),
        group_errors.mean(axis=1),
        spread,
        spread,
        group_losses,
        group_errors,
        *np.ones((2, group_losses.shape[1])),
    )


def permuted(network, order):
    """The perceptron Flatten, Linear, ReLU, Linear with its hidden units in another order: the same
    function.
    """
    copied = copy.deepcopy(network)
    first, second = copied[1], copied[3]
    first.weight.data, first.bias.data, second.weight.data = (
        first.weight.data[order],
        first.bias.data[order],
        second.weight.data[:, order],
    )
    return copied


def finished_run(settings, run, experiment, network, steps=0):
    """A run in the store whose network is trained here and now, by plain gradient descent on all training
    images.
    """
    kept = Run(open_store(settings.store), run)
    prepare(kept, experiment)
    inputs, targets = load_packed(kept.store, kept.manifest, "train")
    inputs = as_inputs(inputs, kept.manifest)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(network.train()(inputs), targets).mean().backward()
        optimizer.step()
    kept.store.write(
        layout.weights(kept.training),
        save({name: tensor.contiguous() for name, tensor in network.eval().state_dict().items()}),
    )
    kept.store.write(layout.training_result(kept.training), b"{}")
