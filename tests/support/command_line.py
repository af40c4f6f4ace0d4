"""lossmap as a user types it: by a process of its own, or by this one, which is spared the imports."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOSSMAP = Path(sys.executable).with_name("lossmap")
Completed = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """That of a user who has set nothing, in a wide terminal."""
    ours = ("LOSSMAP_", "MLFLOW_TRACKING_")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**mine, "COLUMNS": "300"}


def process(*arguments: str, cwd: Path, check: int = 0) -> Completed:
    """Run the command in a process of its own, and hold it to its exit code."""
    command, captured = [str(LOSSMAP), *arguments], {"capture_output": True, "text": True}
    ended = subprocess.run(command, cwd=cwd, env=environment(), timeout=600, check=False, **captured)
    return _checked(ended, check)


def start(*arguments: str, cwd: Path, **options: Any) -> "subprocess.Popen[str]":
    """Begin the command in a process of its own, to disturb it."""
    return subprocess.Popen([LOSSMAP, *arguments], cwd=cwd, env=environment(), text=True, **options)


def lossmap(
    *arguments: str, cwd: Path, check: int = 0, variables: Mapping[str, str] | None = None
) -> Completed:
    """Run the command's own `main` in this process, with more variables in its environment, and hold it to
    its exit code.

    Folder, environment, arguments, signal handlers and standard streams are those of a process, and are
    put back at the end.
    """
    from lossmap.pipelines.cli import main

    command, out, said = [str(LOSSMAP), *arguments], io.StringIO(), io.StringIO()
    with (
        _as_a_process(command, cwd, variables or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(said),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return _checked(subprocess.CompletedProcess(command, code, out.getvalue(), said.getvalue()), check)


@contextlib.contextmanager
def _as_a_process(command: list[str], cwd: Path, variables: Mapping[str, str]) -> Iterator[None]:
    folder, words, outside = Path.cwd(), sys.argv, dict(os.environ)
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGHUP)}
    try:
        os.chdir(cwd)
        sys.argv = command
        _set({**environment(), **variables})
        yield
    finally:
        os.chdir(folder)
        sys.argv = words
        _set(outside)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)


def _set(values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def _checked(ended: Completed, code: int) -> Completed:
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended
