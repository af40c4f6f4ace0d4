"""Has torchrun's agent start training processes on this machine, and listens to them."""

import os
import re
import signal
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.errors import Interrupted, TrainingError, TrainingKilled
from lossmap.components.core.processes import FORKS, adopt_environment, process_context, processes_starting
from lossmap.components.training.listen import Listener, Listeners

_GRACE_SECONDS = 60
_HERE = "127.0.0.1"  # what the machine's name leads to may be elsewhere, as in a VPN, or nowhere
# what another torchrun, or a job's pod, says to its own processes
_LAUNCHERS = re.compile(
    r"(MASTER_(ADDR|PORT)|((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|ROLE_NAME|TORCHELASTIC_.*"
    r"|PET_.*)$"
)


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
    with log.open("a") as file, _torchrun(training, how, settings) as torchrun:
        listener = Listener(listeners)
        try:
            for line in torchrun.output:
                file.write(line)
                listener.hear(line)
            torchrun.process.join()
        except BaseException:  # Ctrl-C above all: the agent passes SIGTERM on, and every process saves
            _stop(torchrun)
            raise
        code = torchrun.process.exitcode
    if code and listener.killed:
        raise TrainingKilled(f"a training process was killed, perhaps out of memory; see {log}")
    if code and listener.stopped and not listener.reason:
        raise Interrupted(listener.stopped)
    if code:
        raise TrainingError(
            f"training failed: {listener.reason or listener.loss or f'torchrun ended with exit code {code}'};"
            f" see {log}"
        )


@dataclass(frozen=True)
class _Torchrun:
    """The agent's process, and what it and the training processes print, line by line, until all have
    ended.
    """

    process: BaseProcess
    output: Iterable[str]


@contextmanager
def _torchrun(training: str, how: Training, settings: Settings) -> Iterator[_Torchrun]:
    environment = {
        **{name: value for name, value in os.environ.items() if not _LAUNCHERS.match(name)},
        **settings.environment(),
        "OMP_NUM_THREADS": str(how.threads),
        "LOSSMAP_LAUNCHER": str(os.getpid()),
    }
    context = process_context()
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(
        target=_agent, args=(training, how.processes, environment, writer), name="torchrun"
    )
    with processes_starting():
        process.start()
    writer.close()
    with reader, open(reader.fileno(), errors="replace", closefd=False) as output:
        yield _Torchrun(process, output)


def _stop(torchrun: _Torchrun) -> None:
    torchrun.process.terminate()
    killing = threading.Timer(_GRACE_SECONDS, os.killpg, (torchrun.process.pid, signal.SIGKILL))
    killing.start()
    for _ in torchrun.output:
        pass
    killing.cancel()
    torchrun.process.join()


def _agent(training: str, processes: int, environment: Mapping[str, str], output: Connection) -> None:
    """What `torchrun --standalone` does, in a process that has torch already, and whose training processes
    have it from there.

    The agent computes nothing, so that no thread of torch's pools is lost in them.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from lossmap.components.training.main import run_rank

    os.setsid()  # a Ctrl-C reaches the launching process alone, which then stops the others in order
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    adopt_environment(environment)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint=f"{_HERE}:0",
        local_addr=_HERE,
        max_restarts=0,
        start_method="fork" if FORKS else "spawn",
    )
    elastic_launch(config, run_rank)(training)
