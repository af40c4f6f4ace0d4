"""Networks for tests of symmetries, and slow, obvious ways to permute their channels."""

import math

import torch
from torch import nn

from lossmap.components.config.models import Mlp, ResNet
from lossmap.components.models import build
from reference.manifests import manifest


class SmallConvolutional(nn.Module):
    """Convolutions with biases and no norms, pooling, and a flattening with 4 pixels a channel, all as
    functions.
    """

    def __init__(self, channels=1):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
        self.third, self.last = nn.Linear(5 * 4, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(torch.relu(self.first(x)), 2)
        x = torch.nn.functional.adaptive_avg_pool2d(torch.nn.functional.leaky_relu(self.second(x)), 2)
        return self.last(torch.relu(self.third(x.view(x.size(0), -1))))


def networks():
    """One of each kind, in float64 and evaluation mode, no tensor at a special value."""
    made = {
        "mlp": build(Mlp(hidden=(12, 9)), manifest(classes=4)),
        "convolutions": SmallConvolutional(),
        "resnet A": build(ResNet(depth=8), manifest(classes=4)),
        "resnet B": build(ResNet(depth=8, shortcut_option="B"), manifest(classes=4)),
        "resnet without shortcuts": build(ResNet(depth=8, shortcuts=False), manifest(classes=4)),
    }
    return {name: randomized(network) for name, network in made.items()}


def randomized(network, seed=0):
    """The network in float64 and evaluation mode; every tensor gets random values, biases, norms and
    statistics too, as training gives them.
    """
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.copy_(
                torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                * math.sqrt(2 / tensor[0].numel())
            )
        elif tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.copy_(noise - 0.5 if name.endswith(("bias", "mean")) else 0.5 + noise)
    return network


def images(count=6, channels=1, size=8, seed=3):
    return torch.randn(
        count, channels, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def permuted(state, spaces, seed):
    """A state with the channels of each space in a random order, tensor by tensor and channel by channel."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: tensor.clone() for name, tensor in state.items()}
    for space in spaces:
        order = torch.randperm(space.channels, generator=generator).tolist()
        for name in space.rows:
            old = state[name].clone()
            for new_place, old_place in enumerate(order):
                state[name][new_place] = old[old_place]
        for column in space.columns:
            old = state[column.name].clone()
            for new_place, old_place in enumerate(order):
                for pixel in range(column.repeat):
                    state[column.name][:, new_place * column.repeat + pixel] = old[
                        :, old_place * column.repeat + pixel
                    ]
    return state


class Applied(nn.Module):
    """A network of named modules and a function that applies them: forward(network, x)."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)
