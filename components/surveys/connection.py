"""The paths between two trained networks: walked once, kept in the store, and found there afterwards."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from lossmap.components.config.connection import Connecting, Curve, Note, PathName
from lossmap.components.core.copies import copied
from lossmap.components.core.progress import Progress, silent
from lossmap.components.landscape.connectivity.alignment import align
from lossmap.components.landscape.connectivity.barriers import Profile
from lossmap.components.landscape.connectivity.curves import CURVES, Descent, train_bend
from lossmap.components.landscape.connectivity.paths import Path, Settle, State, evaluate
from lossmap.components.landscape.connectivity.repair import (
    between,
    hidden_layers,
    moments,
    repair,
    with_biases,
)
from lossmap.components.landscape.connectivity.symmetries import channel_spaces
from lossmap.components.landscape.evaluator import reestimate
from lossmap.components.landscape.grid import to_npz
from lossmap.components.models.imported import in_one_line
from lossmap.components.stores import layout, software
from lossmap.components.stores.addresses import PathComputation, StateComputation
from lossmap.components.stores.documents import (
    load_document,
    load_npz,
    load_tensors,
    sealed,
    write_document,
)
from lossmap.components.surveys.ends import Ends, Networks, TrainingBatches, load_networks


class Connection:
    """The paths between two networks. Each is walked when it is first asked for; interrupted, nothing of it
    is in the store.

    Args:
        ends: the two networks; the paths are kept where the first run is.
        connecting: how they are connected.
    """

    def __init__(self, ends: Ends, connecting: Connecting):
        self._store, self._ends = ends.runs[0].store, ends
        self._evaluation, self._curve = connecting.evaluation, connecting.curve

    @cached_property
    def names(self) -> tuple[PathName, ...]:
        """The paths that there are, in the order in which they are walked.

        A network without free channels has no aligned path. Where a network has BatchNorm, to re-estimate its
        statistics is the repair: where that is done at every point anyway, the aligned path is the repaired
        one.
        """
        aligned: tuple[PathName, ...] = ("aligned",) if self.note.spaces else ()
        differs = not (self.note.batch_norm and self._evaluation.batch_norm == "reestimated")
        repaired: tuple[PathName, ...] = ("repaired",) if aligned and differs else ()
        return ("linear", *aligned, *repaired, *(("curve",) if self._curve else ()))

    @cached_property
    def note(self) -> Note:
        """What is known about the networks; aligns them where that was not done before."""
        key = self._state_key("aligned", "alignment.json")
        if self._store.exists(key):
            return load_document(self._store, key, Note)
        with self._in_one_line("the alignment"):
            alignment = align(self._networks.a, self._networks.b, self._evaluation.seed)
            note = Note(
                batch_norm=self._networks.have_batch_norm,
                spaces=alignment.spaces,
                permuted=alignment.permuted,
                reason=channel_spaces(self._networks.b).reason,
            )
        self._write_state("aligned", alignment.state)
        write_document(self._store, key, note)
        return note

    def address(self, name: PathName) -> str:
        """Of the path in the store."""
        curve = self._curve if name == "curve" else None
        return PathComputation(
            trainings=self._ends.trainings,
            path=name,
            evaluation=self._evaluation,
            curve=curve,
            software=_software(),
        ).address()

    def train_curve(self, progress: Progress = silent) -> None:
        """Train the bend of the curve, unless it is in the store.

        Raises:
            TrainingError: the training diverged.
        """
        if self._store.exists(layout.path_profile(self.address("curve"))) or self._store.exists(
            self._state_key("bend")
        ):
            progress(1, 1, "found in the store")
        elif self._curve:
            with self._in_one_line("the training of the curve"):
                bend = self._bend(self._curve, progress)
            self._write_state("bend", bend)

    def walk(self, name: PathName, progress: Progress = silent) -> dict[str, Profile]:
        """Loss and error along a path, on training samples and, where there are, on test samples. A curve
        was trained before. Sets torch to one thread.
        """
        key = layout.path_profile(self.address(name))
        if self._store.exists(key):
            progress(1, 1, "found in the store")
        else:
            with self._in_one_line(f"the path {name}"):
                profiles = self._evaluated(name, progress)
            self._store.write(key, _packed(profiles))
        return _unpacked(load_npz(self._store, key))

    def _in_one_line(self, what: str) -> AbstractContextManager[None]:
        return in_one_line(self._ends.experiment.model, f"{what} of the connection")

    @cached_property
    def _networks(self) -> Networks:
        return load_networks(self._ends, self._evaluation)

    def _evaluated(self, name: PathName, progress: Progress) -> dict[str, Profile]:
        networks, path = self._networks, self._path(name)
        network, batches = networks.a, networks.samples["train"].batches()
        settle: Settle = _leave
        if networks.have_batch_norm and (name == "repaired" or self._evaluation.batch_norm == "reestimated"):
            settle = _reestimate(batches)
        elif name == "repaired":
            network = copied(networks.a)
            path = Path(tuple(with_biases(network, *path.points)))
            settle = _repair(network, path, batches)
        return evaluate(
            (network, networks.loss), networks.samples, path, self._evaluation.coordinates(), settle, progress
        )

    def _path(self, name: PathName) -> Path:
        other = self._networks.b.state_dict()
        if name in ("aligned", "repaired"):
            other = self._read_state("aligned")
        a, b = self._ends_with(other)
        if name == "curve" and self._curve:
            return Path((a, self._read_state("bend"), b), CURVES[self._curve.shape])
        return Path((a, b))

    def _ends_with(self, b: State) -> tuple[State, State]:
        """The first network and another; frozen statistics are the first one's in both."""
        frozen = dict(self._networks.a.named_buffers()) if self._evaluation.batch_norm == "frozen" else {}
        return self._networks.a.state_dict(), {**b, **frozen}

    def _bend(self, curve: Curve, progress: Progress) -> State:
        batches = TrainingBatches(
            self._ends, self._networks.a, curve.batch_size, self._evaluation.device, curve.seed
        )
        descent = Descent(
            curve.epochs,
            len(batches),
            curve.learning_rate,
            curve.seed,
            batch_statistics=self._evaluation.batch_norm == "reestimated",
        )
        problem = self._networks.a, self._networks.loss.over(self._ends.training_split[1])
        return train_bend(
            problem,
            self._ends_with(self._networks.b.state_dict()),
            CURVES[curve.shape],
            batches.epoch,
            descent,
            progress,
        )

    def _state_key(self, state: Literal["aligned", "bend"], name: str = "state.safetensors") -> str:
        trained = {"curve": self._curve, "batch_norm": self._evaluation.batch_norm}
        decisive = trained if state == "bend" else dict.fromkeys(trained)
        computation = StateComputation(
            trainings=self._ends.trainings,
            state=state,
            **decisive,
            device=self._evaluation.device,
            seed=self._evaluation.seed,
            software=_software(),
        )
        return layout.path(computation.address(), name)

    def _write_state(self, state: Literal["aligned", "bend"], tensors: State) -> None:
        self._store.write(
            self._state_key(state),
            sealed(save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})),
        )

    def _read_state(self, state: Literal["aligned", "bend"]) -> dict[str, Tensor]:
        tensors = load_tensors(self._store, self._state_key(state))
        return {name: tensor.to(self._evaluation.device) for name, tensor in tensors.items()}


_Batches = list[tuple[Tensor, Tensor]]


def _software() -> str:
    return software.software_of(software.SURVEY)


def _leave(network: nn.Module, t: float) -> None:
    """The path carries the statistics."""


def _reestimate(batches: _Batches) -> Settle:
    return lambda network, t: reestimate(network, batches)


def _repair(network: nn.Module, path: Path, batches: _Batches) -> Settle:
    names, ends = hidden_layers(network, batches[0][0]), []
    for state in path.points:
        network.load_state_dict(state)
        ends.append(moments(network, names, batches))
    return lambda moved, t: repair(
        moved, {name: between(ends[0][name], ends[1][name], t) for name in names}, batches
    )


def _packed(profiles: Mapping[str, Profile]) -> bytes:
    return to_npz(
        **{
            f"{split}.{field.name}": getattr(profile, field.name)
            for split, profile in profiles.items()
            for field in fields(profile)
        }
    )


def _unpacked(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Profile]:
    splits: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        split, _, field = name.partition(".")
        splits.setdefault(split, {})[field] = np.asarray(array)
    return {split: Profile(**values) for split, values in splits.items()}
