"""Checkpoints: everything that the next step depends on, as safetensors and JSON.

    checkpoints/step-00001234/weights.safetensors     parameters and buffers
    checkpoints/step-00001234/optimizer.safetensors   `<state>/<parameter>`: `momentum_buffer/0.weight`
    checkpoints/step-00001234/state.json              step, sums of the epoch, precision and its scaler
    checkpoints/LATEST                                the newest two, newest first, with every SHA-256

Random numbers and the place in the epoch's order need no file: both follow from the seed and the step (see
loop.py).
"""

import hashlib
import json
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from lossmap.components.core.errors import StoreError
from lossmap.components.models.state import network_bytes
from lossmap.components.stores import layout
from lossmap.components.stores.documents import Damaged
from lossmap.components.stores.objects import Store
from lossmap.components.training.loop import Trainer
from lossmap.components.training.precision import require

_KEPT = 2
_FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True)
class Entry:
    """One whole checkpoint, as LATEST names it: step, and name and SHA-256 of its files."""

    step: int
    files: dict[str, str]


def save_checkpoint(store: Store, training: str, trainer: Trainer, sums: Tensor, seconds: float) -> None:
    """Write a checkpoint whole, then name it in LATEST, then delete those before the newest two.

    Args:
        store: where the training is kept.
        training: address of the training.
        trainer: what is saved; the same on every rank, so that one of them writes.
        sums: the sums of the running epoch over all ranks.
        seconds: time spent on training so far.
    """
    state = {
        "step": trainer.step,
        "sums": sums.tolist(),
        "seconds": seconds,
        "precision": trainer.precision,
        "scaler": trainer.scaler.state_dict(),
    }
    contents = {
        "weights.safetensors": network_bytes(trainer.network),
        "optimizer.safetensors": save(_optimizer_tensors(trainer)),
        "state.json": json.dumps(state).encode(),
    }
    for name, content in contents.items():
        store.write(layout.checkpoint(training, trainer.step, name), content)
    newest = Entry(
        trainer.step, {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    )
    others = [entry for entry in _entries(store, training)[0] if entry.step != trainer.step]
    kept = [newest, *others[: _KEPT - 1]]
    store.write(layout.latest_checkpoint(training), json.dumps([vars(entry) for entry in kept]).encode())
    for entry in others[_KEPT - 1 :]:
        _delete(store, training, entry)


def load_checkpoint(store: Store, training: str, trainer: Trainer) -> tuple[float, list[str]]:
    """Put the newest checkpoint that every process has undamaged into the trainer.

    Returns:
        The seconds of training before it (0 without one), and a line for each damaged checkpoint.

    Raises:
        TrainingError: it began in a precision that this process's device does not have.
        StoreError: a checkpoint is there and cannot be read.
    """
    entries, damaged = _entries(store, training)
    for index in range(_KEPT):
        entry = entries[index] if index < len(entries) else None
        files = _files(store, training, entry, damaged) if entry else None
        if _all_have(entry.step if entry and files else None, trainer) and files:
            return _restore(trainer, files), damaged
        if files and entry:
            damaged.append(f"the checkpoint of step {entry.step} is not what another process has")
    return 0.0, damaged


def _files(store: Store, training: str, entry: Entry, damaged: list[str]) -> dict[str, bytes] | None:
    """The content of a checkpoint; None, and a line more, where it is missing or damaged."""
    content = {}
    for name, digest in entry.files.items():
        key = layout.checkpoint(training, entry.step, name)
        try:
            content[name] = _verified(store, key, digest)
        except StoreError as error:
            if not isinstance(error, Damaged) and store.exists(key):
                raise
            damaged.append(str(error))
            return None
    return content


def _all_have(step: int | None, trainer: Trainer) -> bool:
    """Whether all processes have a checkpoint, and of one step. Each would go on from its own."""
    mine = -1 if step is None else step
    total = int(trainer.group.total(torch.tensor([mine]))[0])
    (differ,) = trainer.group.any(step is None or total != mine * trainer.group.world)
    return not differ


def _restore(trainer: Trainer, files: dict[str, bytes]) -> float:
    state = json.loads(files["state.json"])
    trainer.precision = state["precision"]
    require(
        trainer.precision,
        trainer.group,
        f"this training began in {trainer.precision}",
        "go on where there are, or begin another with training.precision=float32",
    )
    trainer.network.load_state_dict(load(files["weights.safetensors"]))
    _restore_optimizer(trainer, load(files["optimizer.safetensors"]))
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.step = state["step"]
    if trainer.group.rank == 0:  # the sums are totals: one rank carries them on, the others start at zero
        trainer.sums += torch.tensor(state["sums"], dtype=torch.float64, device=trainer.sums.device)
    return float(state["seconds"])


def _optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{key}/{name}": value.detach().cpu().contiguous()
        for name, parameter in trainer.network.named_parameters()
        for key, value in trainer.optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _restore_optimizer(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    parameters = dict(trainer.network.named_parameters())
    state: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        state.setdefault(name, {})[kind] = tensor
    groups = trainer.optimizer.state_dict()["param_groups"]
    ordered = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    numbers = {parameter: number for number, parameter in enumerate(ordered)}
    places = {name: numbers[parameter] for name, parameter in parameters.items()}
    trainer.optimizer.load_state_dict(
        {"state": {places[name]: values for name, values in state.items()}, "param_groups": groups}
    )


def _entries(store: Store, training: str) -> tuple[list[Entry], list[str]]:
    """What LATEST names, and a line where it cannot be read."""
    key = layout.latest_checkpoint(training)
    if not store.exists(key):
        return [], []
    try:
        return [_entry(**entry) for entry in json.loads(store.read(key))], []
    except (ValueError, TypeError, RecursionError):
        return [], [f"{store.uri}/{key} is damaged: it does not name checkpoints"]


def _entry(step: int, files: dict[str, str]) -> Entry:
    if not isinstance(step, int) or not isinstance(files, dict) or files.keys() != set(_FILES):
        raise ValueError(f"expected {', '.join(_FILES)}")
    return Entry(step, files)


def _verified(store: Store, key: str, digest: str) -> bytes:
    content = store.read(key)
    if hashlib.sha256(content).hexdigest() != digest:
        raise Damaged(f"{store.uri}/{key} is damaged: its SHA-256 differs from the one written")
    return content


def _delete(store: Store, training: str, entry: Entry) -> None:
    for name in entry.files:
        store.delete(layout.checkpoint(training, entry.step, name))
