"""Carries out a training, given by its address. Started by torchrun, in one of three ways:

    # on this machine
    torchrun --standalone --nproc-per-node 2 -m lossmap.components.training.main TRAINING
    # on several machines
    torchrun --nnodes 2 --node-rank R --master-addr HOST -m lossmap.components.training.main TRAINING
    # in a training job of Kubeflow's, which sets PET_*
    torchrun -m lossmap.components.training.main TRAINING

`lossmap run` has torchrun's agent call run_rank instead, in processes that have imported torch already
(launch.py). LOSSMAP_STORE says where the training is kept. SIGTERM saves a checkpoint and exits with 143; the
same command goes on from there. LOSSMAP_LAUNCHER says who waits for the training: the number of a process, or
`store` for somebody who gives signs of life there, `store:10` for one who is gone after 10 seconds without a
sign; when that one is gone, training saves and exits with 0.
Standard output carries one JSON object a line, and whoever started torchrun tells MLflow:

    progress, epoch, warning
    stopped    asked to stop, or nobody waits any longer; saved
    error      the experiment, the data or the code is wrong: to start again does not help
    lost       another process or the network is gone: to start again goes on from the last checkpoint
"""

import json
import os
import signal
import socket
import sys
import time
import traceback
from typing import Any

# DistributedDataParallel warns that it looks for unused parameters, which it is told to (see loop.py).
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import torch

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.determinism import use_deterministic_algorithms
from lossmap.components.core.errors import ExperimentError, Interrupted, LossmapError
from lossmap.components.core.processes import keep_freed_memory
from lossmap.components.data.batches import load_images
from lossmap.components.models import build
from lossmap.components.stores.addresses import TrainingComputation
from lossmap.components.stores.objects import Store, open_store
from lossmap.components.stores.runs import load_manifest, load_training_computation
from lossmap.components.training.checkpoint import load_checkpoint
from lossmap.components.training.distributed import Group, is_loss_of_peer, process_group
from lossmap.components.training.heartbeat import (
    SILENCE_SECONDS,
    Abandoned,
    Launcher,
    NoLauncher,
    ProcessLauncher,
    StoreLauncher,
)
from lossmap.components.training.loop import Trainer
from lossmap.components.training.session import Outlets, Session, Stop

EXIT_STOPPED = 128 + signal.SIGTERM
_PROGRESS_SECONDS = 0.2
_AGENT_SECONDS = 1.0  # it looks ten times as often


def main(training: str) -> int:
    """Train; the exit code says how it ended."""
    if "RANK" not in os.environ:
        _say(
            event="error", message="RANK is not set: this program is started by torchrun, see its first lines"
        )
        return 2
    rank = int(os.environ["RANK"])
    keep_freed_memory()
    try:
        train(training, Settings())
    except Abandoned as stopped:
        _say(event="stopped", rank=rank, message=str(stopped))
        return 0
    except Interrupted as stopped:
        _say(event="stopped", rank=rank, message=str(stopped))
        return EXIT_STOPPED
    except LossmapError as error:
        _say(event="error", rank=rank, message=str(error))
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        first = str(error).partition("\n")[0]
        _say(
            event="lost" if is_loss_of_peer(error) else "error",
            rank=rank,
            message=f"rank {rank}: {type(error).__name__}: {first}",
        )
        return 1
    return 0


def run_rank(training: str) -> None:
    """As main, for an agent that calls a function: the process ends with the exit code."""
    code = main(training)
    # Of several that fail the agent tells one: a killed process is seen before those that lost it.
    if code not in (0, EXIT_STOPPED):
        time.sleep(_AGENT_SECONDS)
    sys.exit(code)


def train(training: str, settings: Settings) -> None:
    """Train to the end, from the newest checkpoint where there is one."""
    store = open_store(settings.store)
    stop = Stop(_launcher(store, training))
    computation = load_training_computation(store, training)
    manifest, how = load_manifest(store, computation.dataset), computation.training_settings
    torch.set_num_threads(how.threads)
    use_deterministic_algorithms()
    with process_group(how.device) as group:
        trainer = _trainer(computation, manifest, store, group)
        seconds, damaged = load_checkpoint(store, training, trainer)
        _write(
            f"process {group.rank + 1} of {group.world} on {socket.gethostname()}, {group.device},"
            f" {trainer.precision}, goes on from step {trainer.step} of {trainer.steps}"
        )
        if group.rank == 0:
            for line in [*_other_processes(how, group.world), *damaged]:
                _say(event="warning", message=f"{line}; going on from step {trainer.step}")
        Session(training, store, trainer, _outlets(), seconds).run(load_images(store, manifest, "test"), stop)


def _other_processes(how: Training, world: int) -> list[str]:
    """A line where others share the work than the experiment says, as when torchrun is called by hand."""
    if world == how.processes:
        return []
    return [
        f"training.processes is {how.processes} and {world} train: a global batch has its {how.batch_size}"
        " images as before, and rounding may differ"
    ]


def _trainer(computation: TrainingComputation, manifest: Manifest, store: Store, group: Group) -> Trainer:
    training, images = computation.training_settings, manifest.count("train")
    if training.batch_size % group.world:
        raise ExperimentError(
            f"training.batch_size is {training.batch_size}, expected a multiple of the {group.world}"
            " processes"
        )
    if images < training.batch_size:
        raise ExperimentError(
            f"training.batch_size is {training.batch_size}, expected at most the number of training images"
            f" ({images})"
        )
    return Trainer(
        training, manifest, build(computation.model, manifest), load_images(store, manifest, "train"), group
    )


def _outlets() -> Outlets:
    last = 0.0

    def progress(step: int, steps: int, text: str) -> None:
        nonlocal last
        if step == steps or time.monotonic() - last >= _PROGRESS_SECONDS:
            last = time.monotonic()
            _say(event="progress", done=step, total=steps, detail=text)

    def epoch(metrics: dict[str, float]) -> None:
        _say(event="epoch", **metrics)

    return Outlets(progress, epoch)


def _launcher(store: Store, training: str) -> Launcher:
    value = os.environ.get("LOSSMAP_LAUNCHER", "")
    kind, _, silence = value.partition(":")
    if kind == "store" and os.environ["RANK"] == "0":
        seconds = float(silence or SILENCE_SECONDS)
        return StoreLauncher(store, training, beat=seconds / 5, silence=seconds)
    if kind == "store":
        return NoLauncher()
    return ProcessLauncher(int(value)) if value else NoLauncher()


def _say(**event: Any) -> None:
    _write(json.dumps(event))


def _write(line: str) -> None:
    # One write for the whole line: several processes share the pipe.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
