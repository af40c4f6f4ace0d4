"""Which tensors of a file are a network's: every prefix under which all its names are found."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from lossmap.components.models.checkpoint_file import TOP, Checkpoint
from lossmap.components.models.names import canonical, common_prefix, is_aside, is_optional

_MOST_PREFIXES = 16  # of those under which most names are found


@dataclass(frozen=True)
class Fit:
    """How a network's names and those of a file go together under one prefix.

    Attributes:
        prefix: of the file's names, with its dot.
        own: what the network's names have before those of the file, with its dot.
        taken: name in the file by name in the network.
        missing: names of the network without a tensor in the file.
        unexpected: names beside the taken ones, under the prefix, that the network does not have.
        aside: names in the same mappings that are no part of the network.
        shapes: taken names whose shapes differ.
        types: taken names whose kinds of number differ: whole, floating or complex.
        holders: the mappings in which the taken ones lie.
    """

    prefix: str
    own: str
    taken: Mapping[str, str]
    missing: Sequence[str]
    unexpected: Sequence[str] = ()
    aside: Sequence[str] = ()
    shapes: Sequence[str] = ()
    types: Sequence[str] = ()
    holders: frozenset[str] = field(default=frozenset())

    @property
    def complete(self) -> bool:
        """Whether everything fits."""
        return not (self.missing or self.unexpected or self.shapes or self.types)

    @property
    def key(self) -> str:
        """What one gives to choose this set of weights among others."""
        holder = next(iter(self.holders), "") if len(self.holders) == 1 else ""
        return holder or self.prefix.rstrip(".") or TOP


def fits(own: Mapping[str, Any], checkpoint: Checkpoint) -> list[Fit]:
    """The ways in which names go together, the best first: those that leave nothing missing before others.

    Wrappers of networks (DistributedDataParallel, torch.compile, FullyShardedDataParallel) are left out of
    all names; where nothing fits so, the network's own common prefix is left out too.

    Args:
        own: the network's tensors by name, the same object for tied ones.
        checkpoint: tensors of the file.
    """
    best: list[Fit] = []
    for parallel in (False, True):
        for before in dict.fromkeys(("", common_prefix(own))):
            found = sorted(_fits(own, checkpoint, before, parallel), key=_rank)
            if found and (not best or _rank(found[0]) < _rank(best[0])):
                best = found
            if best and best[0].complete:
                return best
    return best


def _rank(fit: Fit) -> tuple[int, int, int, int]:
    wrong = len(fit.shapes) + len(fit.types)
    return (not fit.complete, len(fit.missing), wrong + len(fit.unexpected), len(fit.prefix))


def _fits(own: Mapping[str, Any], checkpoint: Checkpoint, before: str, parallel: bool) -> Iterator[Fit]:
    wanted = {short.removeprefix(before): name for name, short in canonical(own, parallel).items()}
    there = {short: name for name, short in canonical(checkpoint.tensors, parallel).items()}
    for prefix in _prefixes(wanted, there):
        yield _fit(own, checkpoint, wanted, there, (prefix, before))


def _prefixes(wanted: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    counts: Counter[str] = Counter()
    for name in there:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                counts["".join(f"{part}." for part in parts[:start])] += 1
    return [prefix for prefix, _ in counts.most_common(_MOST_PREFIXES)]


def _fit(
    own: Mapping[str, Any],
    checkpoint: Checkpoint,
    wanted: Mapping[str, str],
    there: Mapping[str, str],
    prefixes: tuple[str, str],
) -> Fit:
    prefix, before = prefixes
    taken = {name: there[f"{prefix}{short}"] for short, name in wanted.items() if f"{prefix}{short}" in there}
    tied = {id(own[name]) for name in taken}  # of tied tensors, files often hold one
    holders = frozenset(checkpoint.holders[name] for name in taken.values())
    used = set(taken.values())
    beside = {short: name for short, name in there.items() if checkpoint.holders[name] in holders}
    under = [name for short, name in beside.items() if name not in used and short.startswith(prefix)]
    others = [name for short, name in beside.items() if not short.startswith(prefix)]
    pairs = [(name, own[name], checkpoint.tensors[source]) for name, source in taken.items()]
    return Fit(
        prefix=prefix,
        own=before,
        taken=taken,
        missing=[
            name for name in own if name not in taken and id(own[name]) not in tied and not is_optional(name)
        ],
        unexpected=[name for name in under if not is_aside(name)],
        aside=[*(name for name in under if is_aside(name)), *others],
        shapes=[name for name, mine, other in pairs if not is_lazy(mine) and mine.shape != other.shape],
        types=[name for name, mine, other in pairs if _kind(mine) != _kind(other) and not is_optional(name)],
        holders=holders,
    )


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    return "floating" if tensor.is_floating_point() else "whole"


def same_values(one: Fit, other: Fit, tensors: Mapping[str, Tensor]) -> bool:
    """Whether two fits put the same numbers into the network."""
    return one.taken.keys() == other.taken.keys() and all(
        torch.equal(tensors[name], tensors[other.taken[own]]) for own, name in one.taken.items()
    )
