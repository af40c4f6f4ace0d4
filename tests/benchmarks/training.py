"""How fast a network is trained, as ratios to the plain recipe, measured in turn in the same run.

    python tests/benchmarks/training.py [ROUNDS [DEPTH …]]

`plain` is what tutorials do: a DataLoader that crops, mirrors and normalises image by image, the network in
float32 with channels first, SGD; two threads. The others are lossmap's steps: one process with two threads,
and two processes with one; in float32, and in bfloat16 where the processor has instructions for it. Images
are random, of CIFAR-10's size, in batches of 128. A ratio is that of the medians over the rounds.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context

os.environ["OMP_NUM_THREADS"] = "2"  # torch reads it when it is imported; each process sets its own number
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import ResNet
from lossmap.components.config.training import Augmentation, Optimizer, Training
from lossmap.components.core.bfloat16 import of_device
from lossmap.components.core.determinism import use_deterministic_algorithms
from lossmap.components.core.processes import keep_freed_memory
from lossmap.components.data.batches import Images
from lossmap.components.models import build
from lossmap.components.training.distributed import process_group
from lossmap.components.training.loop import Trainer

ROUNDS, DEPTHS, BATCH, STEPS, IMAGES = 5, (20, 56), 128, 2, 2000
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MANIFEST = Manifest(
    digest="0" * 64,
    source="benchmark",
    classes=tuple("0123456789"),
    shape=(3, 32, 32),
    mean=MEAN,
    deviation=DEVIATION,
    train=(),
    test=(),
)


def main(rounds: int = ROUNDS, *depths: int) -> None:
    """Print images per second and the ratio of each way to the plain one, for each depth."""
    for depth in depths or DEPTHS:
        processes = {name: _Way(*arguments, depth) for name, arguments in _ways().items()}
        rates = {name: [] for name in processes}
        for _ in range(rounds):
            for name, process in processes.items():
                rates[name].append(process.rate())
        for process in processes.values():
            process.end()
        plain = statistics.median(rates["plain"])
        for name, values in rates.items():
            median = statistics.median(values)
            print(f"ResNet-{depth}  {name:26} {median:6.0f} images/s  {median / plain:.2f}", flush=True)


def _ways() -> dict[str, tuple[str, int]]:
    """Precision, or plain, and the number of processes."""
    ways = {"plain": ("plain", 1)}
    lacking = of_device(torch.device("cpu")).lacking
    if lacking:
        print(f"no bfloat16: {lacking}")
    for precision in ("float32",) if lacking else ("float32", "bfloat16"):
        ways[f"{precision}, 1 × 2 threads"] = precision, 1
        ways[f"{precision}, 2 × 1 thread"] = precision, 2
    return ways


class _Way:
    """Processes that train when they are told to; they wait without taking a core in between."""

    def __init__(self, kind: str, world: int, depth: int):
        context, self._ends, self._world = get_context("spawn"), [], world
        port = 20_000 + os.getpid() % 10_000 + 10_000 * (world - 1) + (kind == "bfloat16")
        for rank in range(world):
            ours, theirs = context.Pipe()
            self._ends.append(ours)
            context.Process(target=_serve, args=(kind, rank, world, port, depth, theirs), daemon=True).start()
        self.rate()  # the first steps choose kernels

    def rate(self) -> float:
        """Images per second over some steps."""
        start = time.perf_counter()
        for end in self._ends:
            end.send(STEPS)
        for end in self._ends:
            end.recv()
        return STEPS * BATCH / (time.perf_counter() - start)

    def end(self) -> None:
        """Have them end."""
        for end in self._ends:
            end.send(0)


def _serve(kind: str, rank: int, world: int, port: int, depth: int, pipe) -> None:
    place = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({name: str(value) for name, value in {**place, "MASTER_PORT": port}.items()})
    torch.set_num_threads(2 // world)
    images = Images(torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8), torch.arange(IMAGES) % 10)
    network = build(ResNet(depth=depth), MANIFEST)
    if kind == "plain":
        _steps(pipe, _plain(network, images))
        return
    use_deterministic_algorithms()
    keep_freed_memory()
    training = Training(
        epochs=1000,
        batch_size=BATCH,
        optimizer=Optimizer(learning_rate=0.01, nesterov=True, weight_decay=5e-4),
        augmentation=Augmentation(crop_padding=4, flip=True),
        precision=kind,
        channels_last=True,
        processes=world,
    )
    with process_group("cpu") as group:
        _steps(pipe, Trainer(training, MANIFEST, network, images, group).train_step)


def _steps(pipe, step: Callable[[], None]) -> None:
    while count := pipe.recv():
        for _ in range(count):
            step()
        pipe.send(True)


class _Augmented(Dataset):
    """What torchvision's RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize do to one
    image.
    """

    def __init__(self, images: Images):
        self._images = images
        self._mean, self._deviation = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, DEVIATION))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int):
        padded = F.pad(self._images.pixels[index], (4, 4, 4, 4))
        row, column, flipped = (int(torch.randint(high, ())) for high in (9, 9, 2))
        image = padded[:, row : row + 32, column : column + 32]
        image = image.flip(2) if flipped else image
        return (image.float() / 255 - self._mean) / self._deviation, int(self._images.labels[index])


def _plain(network: torch.nn.Module, images: Images) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4)
    batches = _endless(DataLoader(_Augmented(images), BATCH, shuffle=True, drop_last=True))

    def step() -> None:
        inputs, labels = next(batches)
        loss = F.cross_entropy(network.train()(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _endless(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
