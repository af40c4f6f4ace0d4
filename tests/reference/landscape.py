"""Slow, obvious second implementations of the landscape's mathematics, in float64."""

import copy
import math

import numpy as np

from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.fold import fold_batch_norm, foldable_pairs
from lossmap.components.landscape.grid import Surface
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy


def filter_normalized(direction, weight):
    """Li et al. 2018: d_i / |d_i| * |w_i|, written with loops over every filter and every number."""
    result = direction.double().clone()
    for i in range(weight.shape[0]):
        weight_norm = math.sqrt(sum(float(value) ** 2 for value in weight[i].double().flatten()))
        direction_norm = math.sqrt(sum(float(value) ** 2 for value in direction[i].double().flatten()))
        for j, value in enumerate(direction[i].double().flatten()):
            result[i].view(-1)[j] = float(value) / direction_norm * weight_norm
    return result


def naive_point(network, x_direction, y_direction, x, y, inputs, labels):
    """Mean loss, share of wrong answers, and standard error at one point: a deep copy of the network, one
    image at a time.
    """
    moved = copy.deepcopy(network).double().eval()
    for name, parameter in moved.named_parameters():
        parameter.data = parameter.data + x * x_direction[name].double() + y * y_direction[name].double()
    losses, wrong = [], 0
    for image, label in zip(inputs, labels, strict=True):
        logits = moved(image.double()[None])[0].tolist()
        top = max(logits)
        losses.append(top + math.log(sum(math.exp(value - top) for value in logits)) - logits[int(label)])
        wrong += logits.index(top) != int(label)
    mean = sum(losses) / len(losses)
    variance = sum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
    return mean, wrong / len(losses), math.sqrt(variance / len(losses))


def evaluator(network, directions, inputs, labels, batch_norm, batch_size):
    """The product's own evaluator of the cross-entropy."""
    return Evaluator(
        Problem(network, cross_entropy, Samples(inputs, labels, batch_size)), directions, batch_norm
    )


def fold(problem, directions):
    """Problem and directions with frozen BatchNorm folded where that is exact."""
    return fold_batch_norm(problem, directions, foldable_pairs(problem, directions))


def folded_evaluator(network, directions, inputs, labels, batch_size=5):
    """The product's own evaluator after frozen BatchNorm was folded where that is exact, and the network that
    it then evaluates.
    """
    problem = Problem(network, cross_entropy, Samples(inputs, labels, batch_size))
    folded, moved = fold(problem, directions)
    return Evaluator(folded, moved, "frozen"), folded.network


def surface(x, y, loss, evaluated=None, error=None, groups=4, spread=0.04):
    """A surface with those losses; each group of samples has them times a factor of its own, close to 1."""
    loss = np.asarray(loss, dtype=float)
    evaluated = np.ones(loss.shape, dtype=bool) if evaluated is None else evaluated
    factors = 1 + spread * np.linspace(-1, 1, groups)
    return Surface(
        x=np.asarray(x, dtype=float),
        y=np.asarray(y, dtype=float),
        loss=loss,
        error=np.zeros(loss.shape) if error is None else error,
        loss_standard_error=spread * np.abs(loss),
        group_losses=loss[..., None] * factors,
        evaluated=evaluated,
        interpolated=np.zeros(loss.shape, dtype=bool),
        group_weights=np.array([]),
    )
