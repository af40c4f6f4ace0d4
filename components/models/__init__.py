"""Networks by name. Each is built for the data set's channels, image size and classes, from a seed of its
own; an imported one as it is.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Model
from lossmap.components.core.randomness import seed
from lossmap.components.models.densenet import densenet
from lossmap.components.models.imported import imported
from lossmap.components.models.linear import linear
from lossmap.components.models.mixture_of_experts import mixture_of_experts
from lossmap.components.models.mlp import mlp
from lossmap.components.models.multimodel import multimodel
from lossmap.components.models.preactivation import preactivation_resnet
from lossmap.components.models.resnet import resnet
from lossmap.components.models.vgg import vgg
from lossmap.components.models.wide_resnet import wide_resnet

_BUILDERS: dict[str, Callable[[Any, Any], nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
    "vgg": vgg,
    "resnet": resnet,
    "preactivation-resnet": preactivation_resnet,
    "wide-resnet": wide_resnet,
    "densenet": densenet,
    "multimodel": multimodel,
    "mixture-of-experts": mixture_of_experts,
    "imported": imported,
}


def build(model: Model, manifest: Manifest | None = None) -> nn.Module:
    """The untrained network. The same model and seed give the same weights; the global generators of torch,
    numpy and Python are left as they were.

    Args:
        model: which network.
        manifest: of the data set that it is built for; an imported one needs none.
    """
    with seeded(seed("model", model.seed)):
        return _BUILDERS[model.architecture](model, manifest)


@contextmanager
def seeded(value: int) -> Iterator[None]:
    """While this is open, the global generators of torch, numpy and Python start from a seed."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(value)
        np.random.seed(value % 2**32)
        random.seed(value)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
