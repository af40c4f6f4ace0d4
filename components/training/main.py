"""Trains the network of a run. Started by torchrun, in one of three ways:

    torchrun --standalone --nproc-per-node 2 -m lossmap.components.training.main RUN                     on this machine
    torchrun --nnodes 2 --node-rank R --master-addr HOST -m lossmap.components.training.main RUN         on several machines
    torchrun -m lossmap.components.training.main RUN                                                     in a PyTorchJob, which sets PET_*

LOSSMAP_STORE says where the run is kept. SIGTERM saves a checkpoint and exits with 143; the same command goes on from there. Standard
output carries one JSON object a line: progress, epoch, warning, error; whoever started torchrun tells MLflow.
"""

import json
import os
import signal
import sys
import time
import traceback
from typing import Any

# cuBLAS is deterministic only with a fixed work space, which it reads once, before torch is imported.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

from lossmap.components.config.errors import ExperimentError, Interrupted, LossmapError
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.settings import Settings
from lossmap.components.data.batches import load_images
from lossmap.components.models import build
from lossmap.components.stores.objects import Store, open_store
from lossmap.components.stores.runs import load_experiment, load_run_manifest
from lossmap.components.training.checkpoint import load_checkpoint
from lossmap.components.training.distributed import Group, process_group
from lossmap.components.training.loop import Trainer
from lossmap.components.training.session import Outlets, Session, Stop

EXIT_STOPPED = 128 + signal.SIGTERM
_PROGRESS_SECONDS = 0.2


def main(run_id: str) -> int:
    """Train the run; the exit code says how it ended."""
    if "RANK" not in os.environ:
        _say(event="error", message="RANK is not set: this program is started by torchrun, see its first lines")
        return 2
    rank = int(os.environ["RANK"])
    try:
        train(run_id, Settings(), Stop(_launcher()))
    except Interrupted as stopped:
        _say(event="stopped", rank=rank, message=str(stopped))
        return EXIT_STOPPED
    except LossmapError as error:
        _say(event="error", rank=rank, message=str(error))
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        _say(event="error", rank=rank, message=f"rank {rank}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return 1
    return 0


def train(run_id: str, settings: Settings, stop: Stop) -> None:
    """Train to the end, from the newest checkpoint where there is one."""
    store = open_store(settings.store)
    experiment, manifest = load_experiment(store, run_id), load_run_manifest(store, run_id)
    torch.set_num_threads(experiment.training.threads)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms(True), which imports torch.compile for seconds
    with process_group(experiment.training.device) as group:
        trainer = _trainer(experiment, manifest, store, group)
        seconds, damaged = load_checkpoint(store, run_id, trainer)
        for line in damaged if group.rank == 0 else ():
            _say(event="warning", message=f"{line}; going on from an older checkpoint")
        Session(run_id, store, trainer, _outlets(), seconds).run(load_images(store, manifest, "test"), stop)


def _trainer(experiment: Experiment, manifest: Manifest, store: Store, group: Group) -> Trainer:
    training, images = experiment.training, manifest.count("train")
    if training.batch_size % group.world:
        raise ExperimentError(f"training.batch_size is {training.batch_size}, expected a multiple of the {group.world} processes")
    if images < training.batch_size:
        raise ExperimentError(f"training.batch_size is {training.batch_size}, expected at most the number of training images ({images})")
    return Trainer(training, manifest, build(experiment.model, manifest), load_images(store, manifest, "train"), group)


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


def _launcher() -> int | None:
    value = os.environ.get("LOSSMAP_LAUNCHER")
    return int(value) if value else None


def _say(**event: Any) -> None:
    # One write for the whole line: several processes share the pipe.
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
