"""Random directions in the space of a network's parameters.

A direction has the names and shapes of the parameters that it moves.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lossmap.components.config.landscape import Landscape
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.directions.filters import Layout
from lossmap.components.landscape.directions.normalization import normalize


def normalized_direction(
    weights: Mapping[str, Tensor],
    axis: str,
    landscape: Landscape,
    pair: int = 0,
    layouts: Mapping[str, Layout] | None = None,
) -> dict[str, Tensor]:
    """The random direction that an experiment asks for along an axis, float64.

    Args:
        weights: the trained parameters by name.
        axis: x or y.
        landscape: its seed and normalisation.
        pair: which of the pairs of directions.
        layouts: of weights that are not outputs x inputs x … (`filters.filter_layouts`).
    """
    direction = random_direction(weights, landscape.seed, axis, pair)
    return normalize(direction, weights, landscape.normalization, landscape.ignore_bias_and_norm, layouts)


def random_direction(weights: Mapping[str, Tensor], seed: int, axis: str, pair: int = 0) -> dict[str, Tensor]:
    """Independent standard normal entries, float64, from one named stream for each parameter.

    Args:
        weights: the trained parameters by name; their shapes are copied.
        seed: of the experiment's landscape.
        axis: x or y.
        pair: 0 is the first pair of directions; every other has streams of its own.
    """
    names = ("direction", seed, axis) if pair == 0 else ("direction", seed, "pair", pair, axis)
    return {
        name: (
            torch.from_numpy(stream(*names, name).standard_normal(tuple(weight.shape))).reshape(weight.shape)
        )
        for name, weight in weights.items()
    }
