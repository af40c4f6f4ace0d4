"""Directions in the space of a network's parameters.

A direction has the names and shapes of the parameters that it moves.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from lossmap.components.config.experiment import Landscape
from lossmap.components.config.randomness import stream

Normalization = Literal["filter", "layer", "none"]


def normalized_direction(weights: Mapping[str, Tensor], axis: str, landscape: Landscape) -> dict[str, Tensor]:
    """The direction that an experiment asks for along an axis, float64."""
    direction = random_direction(weights, landscape.seed, axis)
    return normalize(direction, weights, landscape.normalization, landscape.ignore_bias_and_norm)


def random_direction(weights: Mapping[str, Tensor], seed: int, axis: str) -> dict[str, Tensor]:
    """Independent standard normal entries, float64, from one named stream for each parameter.

    Args:
        weights: the trained parameters by name; their shapes are copied.
        seed: of the experiment's landscape.
        axis: x or y.
    """
    return {
        name: torch.from_numpy(stream("direction", seed, axis, name).standard_normal(tuple(weight.shape))).reshape(weight.shape)
        for name, weight in weights.items()
    }


def normalize(direction: Mapping[str, Tensor], weights: Mapping[str, Tensor], normalization: Normalization, ignore_bias_and_norm: bool) -> dict[str, Tensor]:
    """Give a direction the scale of the weights (Li et al. 2018, section 4).

    filter   d_i <- d_i / |d_i| |w_i| for each filter i: the weights that lead to one output channel or neuron
    layer    d <- d / |d| |w| for each parameter tensor
    none     d as it is

    Norms are Euclidean, in float64. A parameter with one dimension or none (bias, BatchNorm) has no filters: it is normalised as a
    layer, or set to zero with `ignore_bias_and_norm`. Where the weights are zero, so is the direction.
    """
    return {
        name: torch.zeros_like(value, dtype=torch.float64)
        if ignore_bias_and_norm and value.dim() <= 1
        else _scaled(value.double(), weights[name].double(), normalization)
        for name, value in direction.items()
    }


def _scaled(direction: Tensor, weight: Tensor, normalization: Normalization) -> Tensor:
    scale: Tensor
    if normalization == "none":
        return direction
    if normalization == "filter" and direction.dim() > 1:
        shape = (-1, *[1] * (direction.dim() - 1))
        scale = (weight.flatten(1).norm(dim=1) / direction.flatten(1).norm(dim=1)).reshape(shape)
    else:
        scale = weight.norm() / direction.norm()
    return direction * scale
