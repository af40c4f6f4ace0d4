"""Starts torchrun on this machine and listens to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.errors import Interrupted, TrainingError, TrainingKilled
from lossmap.components.training.listen import Listener, Listeners

_GRACE_SECONDS = 60


def launch(training: str, how: Training, settings: Settings, listeners: Listeners, log: Path) -> None:
    """Carry out a training by `how.processes` processes here; returns when it is done.

    Args:
        training: its address; its task and data set are in the store.
        how: how many processes, and of how many threads.
        settings: handed on to the processes.
        listeners: called as training goes on.
        log: gets everything the processes print.

    Raises:
        TrainingError: a process failed; the message holds its reason.
        TrainingKilled: a process was killed from outside.
        Interrupted: the processes were asked to stop and saved where they are.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, _torchrun(training, how, settings) as process:
        listener = Listener(listeners)
        try:
            for line in process.stdout or ():
                file.write(line)
                listener.hear(line)
            code = process.wait()
        except BaseException:  # Ctrl-C above all: torchrun passes SIGTERM on, and every process saves
            _stop(process)
            raise
    if code and listener.killed:
        raise TrainingKilled(f"a training process was killed, perhaps for want of memory; see {log}")
    if code and listener.stopped and not listener.reason:
        raise Interrupted(listener.stopped)
    if code:
        raise TrainingError(
            f"training failed: {listener.reason or listener.loss or f'torchrun ended with exit code {code}'};"
            f" see {log}"
        )


def _torchrun(training: str, how: Training, settings: Settings) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={how.processes}",
    ]
    environment = {
        **os.environ,
        **settings.environment(),
        "OMP_NUM_THREADS": str(how.threads),
        "LOSSMAP_LAUNCHER": str(os.getpid()),
    }
    return subprocess.Popen(
        [*command, "-m", "lossmap.components.training.main", training],
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C reaches this process alone, which then stops the others in order
    )


def _stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
