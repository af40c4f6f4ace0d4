"""Paths of weights that people bring beside a network, each a list of checkpoints."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from safetensors.torch import save
from torch import nn

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.config.models import Checkpoint, Imported, Trajectory
from lossmap.components.core.copies import copied
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.notes import tell
from lossmap.components.importing.digests import with_digest
from lossmap.components.importing.weight_files import INDEX, listed_parts, parts_sha256, read_parts
from lossmap.components.landscape.moving import frozen_parameters, listed
from lossmap.components.models import checkpoint_file
from lossmap.components.models.state import load_state, network_bytes
from lossmap.components.stores import layout
from lossmap.components.stores.documents import sealed
from lossmap.components.stores.objects import Store

Paths = Sequence[Any] | Mapping[str, Sequence[Any]]
_FEWEST = 2
_handed_over: dict[str, checkpoint_file.Checkpoint] = {}  # by what stands for their place


def import_trajectories(store: Store, training: str, model: Imported, network: nn.Module) -> None:
    """Keep every checkpoint of a network's paths as the snapshots of a training are kept, from number 1 on:
    parameters and buffers, so that each has the BatchNorm statistics that it had.

    Args:
        store: where they are kept.
        training: address of the network's.
        model: with its trajectories.
        network: with its own weights; stays as it is.

    Raises:
        ExperimentError: a checkpoint does not fit the network, has a weight that is not finite, differs in
            frozen parameters, or holds the weights of another one of its path.
    """
    told: dict[str, None] = {}
    for index, path in enumerate(model.trajectories):
        seen: dict[bytes, str] = {}
        for number, checkpoint in enumerate(path.checkpoints, start=1):
            content, lines = _loaded(checkpoint, network)
            digest = hashlib.sha256(content).digest()
            if digest in seen:
                raise ExperimentError(
                    f"{checkpoint.weights} holds the same weights as {seen[digest]}, both of them checkpoints"
                    f" of {path.label or 'one path'}; give one of them"
                )
            seen[digest] = checkpoint.weights
            store.write(layout.snapshot(training, number, index), content)
            told |= dict.fromkeys(lines)
    for line in told:
        tell(line)


def read_weights(model: Imported | Checkpoint, place: str, field: str) -> checkpoint_file.Checkpoint:
    """The tensors of a file of weights, which is checked against the SHA-256 that the run began with."""
    if place.startswith(IN_PROCESS):
        return _held_in_process(place)
    parts = read_parts(place, field)
    if model.weights_sha256 not in (None, parts_sha256(parts)):
        raise ExperimentError(
            f"{place} has changed since the run was made: its SHA-256 is not {model.weights_sha256}; start a"
            " new run"
        )
    return _checkpoint_of(parts, place, model.weights_key)


def _checkpoint_of(parts: Mapping[str, bytes], place: str, key: str | None) -> checkpoint_file.Checkpoint:
    """The tensors in what read_parts found, below a key if there is one; of an index those that it lists."""
    if not place.lower().endswith(INDEX):
        return checkpoint_file.read_checkpoint(parts[place], place, key)
    by_name = {
        part.rpartition("/")[2]: checkpoint_file.read_checkpoint(content, part).tensors
        for part, content in parts.items()
        if part != place
    }
    files = listed_parts(parts[place], place)
    for tensor, file in files.items():
        if tensor not in by_name[file]:
            raise ExperimentError(
                f"{place} has {tensor} in {file}, which holds no such tensor; the index and its parts are not"
                " of one model: take all of them from one place"
            )
    found = checkpoint_file.held({tensor: by_name[file][tensor] for tensor, file in files.items()}, place)
    return found if key is None else found.below(key, place)


def _held_in_process(place: str) -> checkpoint_file.Checkpoint:
    if place not in _handed_over:
        raise ExperimentError(
            "the checkpoints of this run were handed over in Python, and only there can they be had: go on by"
            " the same call of lossmap.pipelines.api.survey, with the same checkpoints"
        )
    return _handed_over[place]


def _loaded(checkpoint: Checkpoint, network: nn.Module) -> tuple[bytes, list[str]]:
    """Parameters and buffers of a checkpoint as safetensors, and what was chosen in its file."""
    other, name = copied(network), checkpoint.weights
    tensors = read_weights(checkpoint, name, "model.trajectories")
    lines = load_state(other, tensors, name, "--checkpoints")
    state, own = dict(other.named_parameters()), dict(network.named_parameters())
    fixed = [each for each in frozen_parameters(network) if not state[each].equal(own[each])]
    if fixed:
        raise ExperimentError(
            f"{name} differs from the network in parameters that do not move ({listed(fixed)}), so that its"
            " path does not lie in what the plane moves; let them require a gradient"
        )
    return sealed(network_bytes(other)), lines


@contextmanager
def with_checkpoints(model: Imported, paths: Paths | None) -> Iterator[Imported]:
    """The model with paths of checkpoints; while this is open, this process knows those that were handed over
    in Python.

    Args:
        model: of a network.
        paths: checkpoints in their order, or such lists by label: each a state, a network, or a file.

    Raises:
        ExperimentError: a path has less than two, or one of them is no such thing.
    """
    lists = paths if isinstance(paths, Mapping) else {"": paths} if paths else {}
    taken: list[str] = []
    try:
        trajectories = tuple(
            _path(label, [_checkpoint(each, f"{label} {number}".strip(), taken) for number, each in numbered])
            for label, numbered in ((label, list(enumerate(each, start=1))) for label, each in lists.items())
        )
        yield model.model_copy(update={"trajectories": trajectories})
    finally:
        for place in taken:
            _handed_over.pop(place, None)


def _path(label: str, checkpoints: list[Checkpoint]) -> Trajectory:
    if len(checkpoints) < _FEWEST:
        raise ExperimentError(
            f"checkpoints{f' of {label}' if label else ''} are {len(checkpoints)}, expected two or more that"
            " make a path"
        )
    return Trajectory(label=label, checkpoints=tuple(checkpoints))


def _checkpoint(given: Any, name: str, taken: list[str]) -> Checkpoint:
    if isinstance(given, str | os.PathLike):
        return with_digest(Checkpoint(weights=os.fspath(given)))
    state = given.state_dict() if isinstance(given, nn.Module) else given
    place = f"{IN_PROCESS} checkpoint {name}"
    found = checkpoint_file.held(state, f"checkpoint {name}")
    copies = {key: tensor.cpu().contiguous().clone() for key, tensor in found.tensors.items()}
    _handed_over[place] = checkpoint_file.Checkpoint(copies, found.holders)
    taken.append(place)
    return Checkpoint(weights=place, weights_sha256=hashlib.sha256(save(copies)).hexdigest())
