"""Which images are kept when fewer are asked for than there are."""

import numpy as np
from numpy.typing import NDArray

from lossmap.components.core.randomness import stream


def balanced_choice(
    labels: NDArray[np.int64], limit: int | None, seed: int, purpose: str
) -> NDArray[np.int64]:
    """Rising indices of at most `limit` images, as many of each class as of any other where the classes have
    that many.

    Args:
        labels: class of each image.
        limit: how many to keep; all without it.
        seed: of the data.
        purpose: names the stream of random numbers, so that the splits are drawn apart.
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    counts = _quotas({label: len(indices) for label, indices in members.items()}, limit)
    drawn = [
        stream("choice", seed, purpose, int(label)).permutation(indices)[: counts[label]]
        for label, indices in members.items()
    ]
    return np.sort(np.concatenate(drawn))


def one_fifth(labels: NDArray[np.int64], name: str, seed: int) -> NDArray[np.bool_]:
    """Which samples are the test set: of each class one fifth, drawn by the seed, as held_out."""
    return held_out(labels, 0.2, name, seed)


def held_out(labels: NDArray[np.int64], share: float, name: str, seed: int) -> NDArray[np.bool_]:
    """Which samples are the test set: that share of each class, rounded, drawn by the seed.

    Args:
        labels: class of each sample.
        share: of the samples, between 0 and 1; one sample of each class stays in training.
        name: of the data set, which names the stream of random numbers.
        seed: of the data.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels).tolist():
        members = stream(name, seed, label).permutation(np.flatnonzero(labels == label))
        chosen[members[: min(round(share * len(members)), len(members) - 1)]] = True
    return chosen


def _quotas(available: dict[int, int], limit: int) -> dict[int, int]:
    """Fill the classes evenly from below: nobody has two more than another that still has images left."""
    quotas = dict.fromkeys(available, 0)
    while limit:
        open_classes = [label for label in available if quotas[label] < available[label]]
        share = max(
            1, min(limit // len(open_classes), *(available[label] - quotas[label] for label in open_classes))
        )
        for label in open_classes[:limit]:
            quotas[label] += share
            limit -= share
    return quotas
