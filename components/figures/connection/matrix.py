"""The barriers between every two of several networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lossmap.components.config.connection import PathName
from lossmap.components.figures.connection import sentences
from lossmap.components.figures.connection.summary import SPLITS, ConnectionSummary, Quantity
from lossmap.components.figures.numbers import ABSENT
from lossmap.components.figures.scale import Array
from lossmap.components.landscape.connectivity.barriers import PathMaximum

Pair = tuple[int, int]


@dataclass(frozen=True)
class BarrierMatrix:
    """Several networks, and the paths between every two of them on the same samples.

    Attributes:
        labels: of the networks.
        pairs: the connection of networks i < j; the channels of j are put in the order of those of i.
        pages: digest of each pair's own report.
    """

    labels: tuple[str, ...]
    pairs: Mapping[Pair, ConnectionSummary]
    pages: Mapping[Pair, str]

    @property
    def first(self) -> ConnectionSummary:
        """A pair: what it says of settings, data and units is so of all."""
        return self.pairs[0, 1]

    @property
    def paths(self) -> tuple[PathName, ...]:
        """That there are between all of them."""
        return tuple(path.name for path in self.first.paths)

    @property
    def splits(self) -> dict[str, str]:
        """Of the samples, with their adjectives."""
        known = self.first.paths[0].profiles
        return {split: adjective for split, adjective in SPLITS.items() if split in known}

    def barrier(
        self, pair: Pair, path: PathName, split: str, quantity: Quantity = "loss"
    ) -> PathMaximum | None:
        """Between two networks, in either order."""
        i, j = min(pair), max(pair)
        if i == j:
            return None
        return next(each for each in self.pairs[i, j].paths if each.name == path).barriers[split, quantity]

    def values(self, path: PathName, split: str, quantity: Quantity = "loss") -> Array:
        """Barriers (K, K), symmetric; 0 on the diagonal, infinite where a path has no finite loss."""
        count = len(self.labels)
        values = np.zeros((count, count))
        for i, j in self.pairs:
            found = self.barrier((i, j), path, split, quantity)
            values[i, j] = values[j, i] = np.nan if found is None else found.value
        return values

    def intervals(self, path: PathName, split: str) -> Array:
        """Ends of the intervals of the loss's barriers (K, K, 2); 0 on the diagonal."""
        ends = np.zeros((len(self.labels), len(self.labels), 2))
        for i, j in self.pairs:
            if found := self.barrier((i, j), path, split):
                ends[i, j] = ends[j, i] = found.low, found.high
        return ends

    def own_loss(self, network: int, split: str, quantity: Quantity = "loss") -> float | None:
        """The loss of a network as its straight lines have it at their ends; None where the statistics there
        are another network's.
        """
        pair = (network, network + 1) if network + 1 < len(self.labels) else (network - 1, network)
        if self.first.note.batch_norm and self.first.connecting.evaluation.batch_norm == "frozen":
            return None
        profile = self.pairs[pair].paths[0].profiles[split]
        return float(getattr(profile, quantity)[0 if network == pair[0] else -1])


def connected_pairs(matrix: BarrierMatrix) -> list[str]:
    """A sentence for each path: how many pairs it connects by the stated threshold."""
    threshold, count = matrix.first.connecting.threshold, len(matrix.pairs)
    lines = []
    for path in matrix.paths:
        barriers = [_known(matrix.barrier(pair, path, "train")) for pair in matrix.pairs]
        label = sentences.label(matrix.first, path)
        most = max(barriers, key=lambda barrier: barrier.value)
        text = f"The {label}: barriers of up to {sentences.barrier(most)} {matrix.first.unit}"
        if threshold is not None:
            connected = sum(barrier.high <= threshold for barrier in barriers)
            apart = sum(barrier.low > threshold for barrier in barriers)
            text += f"; {connected} of {count} pairs are connected, {apart} are not"
            text += f", of {count - connected - apart} it cannot be told" if connected + apart < count else ""
        lines.append(f"{text}.")
    return lines


def _known(barrier: PathMaximum | None) -> PathMaximum:
    assert barrier is not None
    return barrier


def cell(matrix: BarrierMatrix, pair: Pair, path: PathName, split: str) -> str:
    """A barrier with its interval; on the diagonal the network's own loss."""
    if pair[0] != pair[1]:
        return sentences.barrier(matrix.barrier(pair, path, split))
    loss = matrix.own_loss(pair[0], split)
    return ABSENT if loss is None else f"loss {loss:.3g}"


def numbered(matrix: BarrierMatrix) -> list[str]:
    """The networks' numbers, by which columns are named."""
    return [str(number) for number in range(1, len(matrix.labels) + 1)]


def barrier_matrix(
    labels: Sequence[str], connect: Callable[[Pair], tuple[ConnectionSummary, str]]
) -> BarrierMatrix:
    """The matrix of several networks.

    Args:
        labels: of the networks.
        connect: gives the connection of networks i < j, and the digest of its report.
    """
    found = {pair: connect(pair) for pair in combinations(range(len(labels)), 2)}
    return BarrierMatrix(
        tuple(labels),
        {pair: summary for pair, (summary, _) in found.items()},
        {pair: digest for pair, (_, digest) in found.items()},
    )
