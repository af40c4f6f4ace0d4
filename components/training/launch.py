"""Starts torchrun on this machine and listens to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossmap.components.config.errors import Interrupted, TrainingError
from lossmap.components.config.experiment import Training
from lossmap.components.config.progress import Progress
from lossmap.components.config.settings import Settings

_GRACE_SECONDS = 60


@dataclass(frozen=True)
class Listeners:
    """Who hears how training goes: `progress` after every step, `epoch` the metrics of every finished epoch."""

    progress: Progress
    epoch: Callable[[Mapping[str, float]], None]


def launch(run_id: str, training: Training, settings: Settings, listeners: Listeners, log: Path) -> None:
    """Train a run by `training.processes` processes here; returns when it is trained.

    Args:
        run_id: the run, with its experiment and data set in the store.
        training: how many processes, and of how many threads.
        settings: handed on to the processes.
        listeners: called as training goes on.
        log: gets everything the processes print.

    Raises:
        TrainingError: a process failed; the message holds its reason.
        Interrupted: the processes were asked to stop and saved where they are.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, _torchrun(run_id, training, settings) as process:
        listener = _Listener(listeners)
        try:
            for line in process.stdout or ():
                file.write(line)
                listener.hear(line)
            code = process.wait()
        except BaseException:  # Ctrl-C above all: torchrun passes SIGTERM on, and every process saves
            _stop(process)
            raise
    if code and listener.killed:
        raise TrainingError(f"a process training {run_id} was killed, perhaps for want of memory; go on with: lossmap run --resume {run_id}; see {log}")
    if code and listener.stopped and not listener.reason:
        raise Interrupted(listener.stopped)
    if code:
        raise TrainingError(f"training of {run_id} failed: {listener.reason or f'torchrun ended with exit code {code}'}; see {log}")


def _torchrun(run_id: str, training: Training, settings: Settings) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={training.processes}"]
    environment = {
        **os.environ,
        **settings.environment(),
        "OMP_NUM_THREADS": str(training.threads),
        "LOSSMAP_LAUNCHER": str(os.getpid()),
    }
    return subprocess.Popen(
        [*command, "-m", "lossmap.components.training.main", run_id],
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C reaches this process alone, which then stops the others in order
    )


class _Listener:
    """Understands the JSON lines of the training processes; everything else they print is for the log."""

    def __init__(self, listeners: Listeners):
        self._listeners, self._detail = listeners, ""
        self.reason, self.stopped, self.killed = "", "", False

    def hear(self, line: str) -> None:
        self.killed = self.killed or "(SIGKILL) received" in line  # torchrun's own summary
        event = _parsed(line)
        kind = event.pop("event", "")
        if kind == "epoch":
            self._listeners.epoch(event)
            self._detail = f"test error {event['test_error']:.2%}"
        elif kind == "progress":
            self._listeners.progress(event["done"], event["total"], f"{event['detail']} {self._detail}".strip())
        elif kind == "stopped":
            self.stopped = event["message"]
        elif kind == "error":
            self.reason = self.reason or event["message"]


def _parsed(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
