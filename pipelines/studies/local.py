"""The cells of a study on this machine: one after the other, or several at the same time."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from joblib import cpu_count

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import Interrupted, LossmapError, TrackingError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.studies.cells import Cell
from lossmap.pipelines import local
from lossmap.pipelines.stages import Say, Stage

_POLL_SECONDS = 0.2
_CELL = """
from lossmap.components.core.processes import stop_with_parent
from lossmap.pipelines.cli import main

stop_with_parent()
main()
"""


def parallel_capacity(missing: Sequence[Cell]) -> int:
    """How many of these cells fit beside each other on this machine's cores."""
    cores: int = cpu_count()
    most = max((_cores_of(cell, cores) for cell in missing), default=1)
    return max(1, cores // most)


def _cores_of(cell: Cell, cores: int) -> int:
    training = cell.experiment.training_settings
    return max(training.processes * training.threads, cell.experiment.landscape.workers or cores)


def run_in_sequence(missing: Sequence[Cell], settings: Settings, stage: Stage, say: Say) -> dict[str, str]:
    """Run cells one after the other; one that was begun goes on. Returns those that failed, and why: the
    others go on without them.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; what is finished is kept.
    """
    failed, start = {}, time.monotonic()
    for index, cell in enumerate(missing):
        say(f"cell {index + 1}/{len(missing)} {cell.run}{_left(start, index, len(missing))}")
        try:
            local.run(local.open_run(cell.run, settings), cell.experiment, settings, stage)
        except (KeyboardInterrupt, Interrupted):
            raise _interrupted(index, len(missing)) from None
        except TrackingError as error:  # what the store holds is complete
            say(f"  {local.untracked(cell.run, error)}")
        except LossmapError as error:
            failed[cell.run] = str(error)
            say(f"  failed: {error}")
    return failed


def run_in_parallel(
    missing: Sequence[Cell], settings: Settings, parallel: int, stage: Stage, say: Say
) -> dict[str, str]:
    """Run cells, several at the same time, each by a process `lossmap run --resume` of its own; else like
    run_in_sequence.

    Cells of the same training do not run at the same time: the second finds it done.

    Args:
        missing: cells that the store does not have.
        settings: where things are.
        parallel: how many run at the same time at most.
        stage: opens the display, which hears how many have ended and which go on.
        say: hears what failed.
    """
    endings: dict[str, _Ending] = {}
    waiting, processes = list(missing), dict[str, _CellProcess]()
    try:
        with stage("cells") as progress:
            while waiting or processes:
                active = [process.cell for process in processes.values()]
                for cell in next_cells(waiting, active, parallel):
                    waiting.remove(cell)
                    try:
                        processes[cell.run] = _CellProcess(cell, settings)
                    except LossmapError as error:
                        endings[cell.run] = _Ending(reason=str(error))
                progress(len(missing) - len(waiting) - len(processes), len(missing), ", ".join(processes))
                for run in _wait_for_end(processes):
                    endings[run] = processes.pop(run).ending(settings)
            progress(len(missing), len(missing), "")
    except (KeyboardInterrupt, Interrupted):
        finished = sum(not ending.reason for ending in endings.values())
        raise _interrupted(finished, len(missing)) from None
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.close()
    for run, ending in endings.items():
        if line := ending.untracked or (ending.reason and f"{run} failed: {ending.reason}"):
            say(line)
    return {run: ending.reason for run, ending in endings.items() if ending.reason}


class _CellProcess:
    """A cell that is run by a process of its own. What it says goes to files: a pipe that nobody reads would
    stop it once it is full.
    """

    def __init__(self, cell: Cell, settings: Settings):
        self.cell = cell
        steps.prepare(local.open_run(cell.run, settings), cell.experiment)
        # open for as long as the process is
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-c", _CELL, "run", "--resume", cell.run]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **settings.environment()},  # arguments are for all to see, also a password
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._errors,
            start_new_session=True,
        )

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Ask its process to end."""
        self._process.terminate()

    def ending(self, settings: Settings) -> "_Ending":
        """How it went; what the process said is forgotten then."""
        self._process.communicate()
        said, errors = _lines(self._output), _lines(self._errors)
        self.close()
        if open_store(settings.store).exists(layout.scalars(self.cell.run)):
            return _Ending(untracked=next((line for line in said if line.startswith(local.UNTRACKED)), ""))
        reasons = [line.removeprefix("lossmap: ") for line in errors if line.startswith("lossmap: ")]
        code = f"its process ended with exit code {self._process.returncode}"
        return _Ending(reason=(reasons or errors or [code])[-1])

    def close(self) -> None:
        """Wait for the end of the process, and forget what it said."""
        self._process.communicate()
        self._output.close()
        self._errors.close()


@dataclass(frozen=True)
class _Ending:
    """How a cell's process ended.

    Attributes:
        reason: why the run is not finished; empty if it is.
        untracked: what it said of a finished run that MLflow did not get; empty if it did.
    """

    reason: str = ""
    untracked: str = ""


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return [line.strip() for line in file.read().decode(errors="replace").strip().splitlines()]


def _wait_for_end(processes: Mapping[str, _CellProcess]) -> list[str]:
    """Names of those that have ended; at least one, unless none goes on."""
    while True:
        ended = [run for run, process in processes.items() if process.has_ended]
        if ended or not processes:
            return ended
        time.sleep(_POLL_SECONDS)


def next_cells(waiting: Sequence[Cell], active: Sequence[Cell], parallel: int) -> list[Cell]:
    """The next cells that there is room for, and whose training does not go on in another cell."""
    chosen: list[Cell] = []
    busy = {_training(cell) for cell in active}
    for cell in waiting:
        if len(active) + len(chosen) < parallel and _training(cell) not in busy:
            chosen.append(cell)
            busy.add(_training(cell))
    return chosen


def _training(cell: Cell) -> str:
    experiment = cell.experiment
    sections = (experiment.data, experiment.model, experiment.training_settings)
    return canonical_json([section.model_dump(mode="json") for section in sections])


def _left(start: float, done: int, total: int) -> str:
    if not 0 < done < total:
        return ""
    seconds = (time.monotonic() - start) / done * (total - done)
    return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"


def _interrupted(finished: int, total: int) -> Interrupted:
    return Interrupted(
        f"interrupted; {finished} of {total} cells were finished and are kept. The same command goes on with"
        " the others"
    )
