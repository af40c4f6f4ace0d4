"""What the checks of a network that lossmap did not make cost, as a ratio to one evaluation of the survey's
samples, measured in the same process in seconds of the processor.

    python tests/benchmarks/importing.py [NETWORK [SAMPLES]]

NETWORK is resnet20, transformer, or a model of timm such as resnet50, on images of 224 x 224. One thread,
because lossmap gives every process one.
"""

import cProfile
import pstats
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from surface import manifest
from torch import nn

from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import ResNet
from lossmap.components.models import build
from lossmap.pipelines.api import survey

ROUNDS = 3
CHECKS = {  # functions that evaluate the network to see whether it can be surveyed, none within another
    "check_function": "function of weights and sample",
    "check_plane": "follows its weights",
    "foldable_pairs": "BatchNorm joined",
    "memory_format": "channels last",
    "_what_it_computes": "what it computes first",
    "_refuse_weights_of_its_own": "weights in the loss",
    "_batch_size": "the loss is a mean",
}


class Transformer(nn.Module):
    """Two layers over sequences of 32 words of 1,000, for one of ten classes."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1000, 128)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(128, 4, 256, batch_first=True), 2)
        self.head = nn.Linear(128, 10)

    def forward(self, words):
        return self.head(self.encoder(self.embedding(words)).mean(1))


def main(name: str = "resnet20", samples: int = 512) -> None:
    """Print seconds of the processor, and ratios."""
    torch.set_num_threads(1)
    network, inputs = _network(name, samples)
    targets = torch.arange(samples) % 10
    landscape = Landscape(plane=Plane(x=Axis(points=2), y=Axis(points=2)), line=None, samples=samples)
    profile = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as folder, profile:
        survey(network, F.cross_entropy, inputs, targets, landscape=landscape, store=folder, quiet=True)
    evaluation = min(_evaluation(network, inputs, landscape.batch_size) for _ in range(ROUNDS))
    print(f"{f'one evaluation of {samples} samples':32} {evaluation:8.2f} s  1.00")
    checks = 0.0
    for (_, _, function), (_, _, _, seconds, _) in pstats.Stats(profile).stats.items():
        if function in CHECKS:
            checks += seconds
            print(f"{CHECKS[function]:32} {seconds:8.2f} s  {seconds / evaluation:.2f}")
    print(f"{'all checks':32} {checks:8.2f} s  {checks / evaluation:.2f}")


def _evaluation(network, inputs, batch):
    start = time.process_time()
    with torch.no_grad():
        for few in inputs.split(batch):
            network(few)
    return time.process_time() - start


def _network(name, samples):
    torch.manual_seed(0)
    if name == "transformer":
        return Transformer().eval(), torch.randint(1000, (samples, 32))
    if name == "resnet20":
        return build(ResNet(depth=20), manifest(32, 3)).eval(), torch.randn(samples, 3, 32, 32)
    import timm

    return timm.create_model(name, num_classes=10).eval(), torch.randn(samples, 3, 224, 224)


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
