"""How fast a surface is evaluated, as ratios against the obvious ways to do it, measured in the same process.

    python tests/benchmarks/surface.py [IMAGE_SIZE [DEPTH [SAMPLES]]]

`obvious` is what loss-landscape tools do at every point: build the moved weights, load them into the network,
go through the data set again by a DataLoader, one sum for each batch. One thread, because lossmap gives every
process one.
"""

import copy
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import ResNet
from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.fold import fold_batch_norm, foldable_pairs
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.models import build

ROUNDS = 7


def main(size: int = 8, depth: int = 20, samples: int = 512) -> None:
    """Print milliseconds a point and the ratio of each way to lossmap's."""
    torch.set_num_threads(1)
    channels = 1 if size == 8 else 3
    network = build(ResNet(depth=depth), manifest(size, channels))
    inputs, labels = torch.randn(samples, channels, size, size), torch.randint(10, (samples,))
    # Biases and BatchNorm stay where they are, as in a survey by default.
    still = tuple(
        {
            name: torch.randn_like(value) if value.dim() > 1 else torch.zeros_like(value)
            for name, value in network.named_parameters()
        }
        for _ in "xy"
    )
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=128)

    def obvious(x, y):
        network.load_state_dict(
            {name: weights[name] + x * still[0][name] + y * still[1][name] for name in weights},
            strict=False,
        )
        with torch.no_grad():
            return (
                sum(
                    F.cross_entropy(network.eval()(images), answers, reduction="sum").item()
                    for images, answers in loader
                )
                / samples
            )

    surveyed = Samples(inputs.contiguous(memory_format=torch.channels_last), labels, 64)
    problem = Problem(copy.deepcopy(network).eval(), cross_entropy, surveyed)
    evaluate = Evaluator(*fold_batch_norm(problem, still, foldable_pairs(problem, still)), "frozen")
    ways = {"lossmap": lambda x, y: evaluate(x, y).loss, "obvious": obvious}
    losses = [way(0.01, 0.02) for way in ways.values()]
    if not math.isclose(*losses, rel_tol=1e-5):
        sys.exit(f"the two ways have other losses: {losses}")
    times = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(0.01 * number, 0.02)
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:8} {1000 * seconds:8.1f} ms/point  {seconds / medians['lossmap']:.2f}")


def manifest(size, channels):
    return Manifest(
        digest="0" * 64,
        source="benchmark",
        classes=tuple("0123456789"),
        shape=(channels, size, size),
        mean=(0.5,) * channels,
        deviation=(0.25,) * channels,
        train=(),
        test=(),
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
