"""Training to the end: the loop with its checkpoints, snapshots and metrics."""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

import torch

from lossmap.components.core.bfloat16 import capabilities
from lossmap.components.core.errors import Interrupted, TrainingError
from lossmap.components.data.batches import Images
from lossmap.components.models.state import network_bytes
from lossmap.components.stores import layout
from lossmap.components.stores.documents import sealed, write_json
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import save_epoch
from lossmap.components.training.checkpoint import save_checkpoint
from lossmap.components.training.heartbeat import Abandoned, Launcher
from lossmap.components.training.loop import Accuracy, Trainer

_TRAJECTORY_BYTES = 2**31


class Stop:
    """Whether this process was asked to stop, by SIGTERM or SIGINT.

    Attributes:
        launcher: whoever waits for the training.
    """

    def __init__(self, launcher: Launcher):
        self._asked, self.launcher = False, launcher
        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, self._ask)

    def __bool__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True


@dataclass(frozen=True)
class Outlets:
    """Where rank 0 tells how training goes.

    Attributes:
        progress: called with (step, steps, text).
        epoch: called with the metrics of every finished epoch.
    """

    progress: Callable[[int, int, str], None]
    epoch: Callable[[dict[str, float]], None]


class Session:
    """One process's part in a training, given by its address."""

    def __init__(self, training: str, store: Store, trainer: Trainer, outlets: Outlets, seconds: float):
        self._training, self._store, self._trainer, self._outlets = training, store, trainer, outlets
        self._leads, self._snapshot_every = trainer.group.rank == 0, epochs_between_snapshots(trainer)
        self._saved = time.monotonic()
        self._start = self._saved - seconds
        self._epoch_start, self._epoch_step = self._saved, trainer.step

    def run(self, test: Images, stop: Stop) -> None:
        """Train, evaluating on the test images after every epoch; the trained weights and `training.json`
        are written last.
        """
        trainer = self._trainer
        if trainer.step == 0:
            self._keep_snapshot(0)
        while trainer.step < trainer.steps:
            trainer.train_step()
            if trainer.step % trainer.steps_per_epoch == 0:
                self._finish_epoch(test)
            self._pause(stop)
        self._finish(test)

    def _pause(self, stop: Stop) -> None:
        trainer = self._trainer
        due = self._leads and time.monotonic() - self._saved >= trainer.training.checkpoint_seconds
        stopping, abandoned, saving = trainer.group.any(bool(stop), stop.launcher.gone(), due)
        if stopping or abandoned or saving:
            self._save()
        if abandoned:
            raise Abandoned(
                f"nobody waits for this training any longer; it saved step {trainer.step} of {trainer.steps}"
            )
        if stopping:
            raise Interrupted(f"training was asked to stop and saved step {trainer.step} of {trainer.steps}")
        if self._leads:
            epoch = (trainer.step - 1) // trainer.steps_per_epoch + 1
            narrow = f" in {trainer.precision}" if trainer.precision != "float32" else ""
            text = f"epoch {epoch}/{trainer.training.epochs}{narrow}"
            self._outlets.progress(trainer.step, trainer.steps, text)

    def _save(self) -> None:
        sums = self._trainer.group.total(self._trainer.sums.clone())
        if self._leads:
            save_checkpoint(self._store, self._training, self._trainer, sums, time.monotonic() - self._start)
        self._saved = time.monotonic()

    def _finish_epoch(self, test: Images) -> None:
        trainer = self._trainer
        epoch = trainer.step // trainer.steps_per_epoch
        training, others = trainer.finish_epoch()
        images = (trainer.step - self._epoch_step) * trainer.training.batch_size
        rate = images / (time.monotonic() - self._epoch_start)
        if not math.isfinite(training.loss):
            raise TrainingError(
                f"the training loss is {training.loss} in epoch {epoch}; lower"
                " training.optimizer.learning_rate or set training.gradient_clip"
            )
        evaluation = trainer.evaluate(test)
        metrics = {
            "epoch": epoch,
            "train_loss": training.loss,
            "train_error": training.error,
            "test_loss": evaluation.loss,
            "test_error": evaluation.error,
            "learning_rate": trainer.learning_rate,
            **others,
            "images_per_second": rate,
            "seconds": time.monotonic() - self._start,
            "timestamp": time.time(),
            **_by_task("train", training),
            **_by_task("test", evaluation),
        }
        if self._leads:
            save_epoch(self._store, self._training, metrics)
            self._outlets.epoch(metrics)
        if epoch % self._snapshot_every == 0 or epoch == trainer.training.epochs:
            self._keep_snapshot(epoch)
        self._epoch_start, self._epoch_step = time.monotonic(), trainer.step

    def _keep_snapshot(self, epoch: int) -> None:
        self._trainer.group.share_buffers(self._trainer.network)
        if self._leads:
            content = sealed(network_bytes(self._trainer.network))
            self._store.write(layout.snapshot(self._training, epoch), content)

    def _finish(self, test: Images) -> None:
        trainer = self._trainer
        self._save()
        training, evaluation = trainer.evaluate(trainer.images), trainer.evaluate(test)
        result: dict[str, Any] = {
            "train": asdict(training),
            "test": asdict(evaluation),
            "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
            "seconds": time.monotonic() - self._start,
            "processes": trainer.group.world,
            "device": str(trainer.group.device.type),
            "processor": str(capabilities().get("cpu_name", "")),
            "precision": trainer.precision,
            "torch": torch.__version__,
        }
        if self._leads:
            self._store.write(layout.weights(self._training), sealed(network_bytes(trainer.network)))
            write_json(self._store, layout.training_result(self._training), result)
        # on a cluster the job ends with the first process that does, and whatever still runs is killed
        trainer.group.any(False)


def epochs_between_snapshots(trainer: Trainer) -> int:
    """As the experiment says, else as few as keep the snapshots, the first and the last too, within
    2 GiB.
    """
    if trainer.training.trajectory_every:
        return trainer.training.trajectory_every
    size: int = sum(tensor.nbytes for tensor in trainer.network.state_dict().values())
    between = max(1, _TRAJECTORY_BYTES // size - 2)
    return math.ceil(trainer.training.epochs / between)


def _by_task(part: str, accuracy: Accuracy) -> dict[str, float]:
    """For example `test_loss.wine`."""
    quantities = ("loss", "error")
    return {
        f"{part}_{quantity}.{task}": getattr(found, quantity)
        for task, found in accuracy.tasks.items()
        for quantity in quantities
    }
