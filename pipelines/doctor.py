"""What `lossmap doctor` looks at: what is installed, what this machine has, and whether store and MLflow
answer.
"""

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from lossmap.components.core.errors import LossmapError, StoreError, TrackingError
from lossmap.components.core.machine import require_semaphores, require_temporary_folder
from lossmap.components.core.secrets import without_password
from lossmap.components.stores.objects import ask_source, open_store
from lossmap.components.stores.s3_client import has_own_variables
from lossmap.components.stores.tracking.server import database, is_server

PACKAGES = ("torch", "torchvision", "mlflow", "kfp", "kubeflow-training", "boto3")
_PYTHON = (3, 11)
_GIB = 1 << 30
_SECONDS = 5  # for one answer of MLflow
_TORCH_SECONDS = 120  # the first import of torch on a slow disk
_INSTALL = "install lossmap again in this Python: python -m pip install --force-reinstall lossmap"
_OBJECT_BYTES = 8 * 2**20  # the weights of a network of two million numbers
_STORE_CURE = "name another store with --store or LOSSMAP_STORE"
_TRACKING_CURE = "name another with --tracking or LOSSMAP_TRACKING"
# In a process of its own: pipelines do not import torch, and an import that kills the process is a finding,
# too.
_ASK_TORCH = """
import json, torch, torch.distributed.run
torch.distributed.run.get_args_parser()
gpus = [torch.cuda.get_device_name(gpu) for gpu in range(torch.cuda.device_count())]
print(json.dumps({"gpus": gpus, "distributed": torch.distributed.is_available()}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether runs can do with it.
        detail: what was found.
        cure: what to do, in one sentence; empty where all is well.
    """

    name: str
    ok: bool
    detail: str
    cure: str = ""


def examine(store_uri: str, tracking_uri: str) -> list[Finding]:
    """Look at everything a run needs. Nothing is raised for what is not well, and nothing is left in the
    store.
    """
    return [
        _python(),
        *map(_package, PACKAGES),
        *_machine(store_uri),
        *_torch(),
        examine_store(store_uri),
        *_source(),
        examine_tracking(tracking_uri),
    ]


def _python() -> Finding:
    number = ".".join(map(str, sys.version_info[:3]))
    return _finding(
        "Python",
        sys.version_info >= _PYTHON,
        f"{number} at {sys.executable}",
        "install lossmap in Python 3.11 or newer",
    )


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", _INSTALL)


def _machine(store_uri: str) -> Iterator[Finding]:
    import psutil
    from joblib import cpu_count  # which warns of a /dev/shm that cannot be written

    yield Finding("cores", True, str(cpu_count()))
    memory = psutil.virtual_memory()
    fewer = "close other programs, or take --set training.processes=1 --set landscape.workers=1"
    yield _finding(
        "memory",
        memory.available >= _GIB,
        f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free",
        fewer,
    )
    yield _required("temporary files", require_temporary_folder)
    yield _required("semaphores", require_semaphores)
    if not store_uri.startswith("s3:"):
        place = _nearest_folder(Path(unquote(urlparse(store_uri).path)).absolute())
        free = shutil.disk_usage(place).free
        yield _finding(
            "disk", free >= _GIB, f"{free / _GIB:.1f} GiB free at {place}", f"free space, or {_STORE_CURE}"
        )


def _required(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except LossmapError as error:
        return _told(name, error)


def _told(name: str, error: LossmapError) -> Finding:
    detail, _, cure = str(error).partition("; ")
    return Finding(name, False, detail, cure)


def _torch() -> Iterator[Finding]:
    try:
        process = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH],
            capture_output=True,
            text=True,
            timeout=_TORCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding(
            "torchrun",
            False,
            f"does not start within {_TORCH_SECONDS} s",
            "look at the disk that Python is on, and try again",
        )
        return
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        yield Finding("torchrun", False, lines[-1], _INSTALL)
        return
    answer = json.loads(process.stdout.splitlines()[-1])
    detail = "starts" if answer["distributed"] else "this torch has no torch.distributed"
    yield _finding("torchrun", answer["distributed"], detail, _INSTALL)
    yield _gpus(answer["gpus"], [path.name for path in Path("/dev").glob("nvidia[0-9]*")])


def _gpus(names: Sequence[str], devices: Sequence[str]) -> Finding:
    if names:
        return Finding("GPUs", True, f"{len(names)}: {', '.join(sorted(set(names)))}")
    if not devices:
        return Finding("GPUs", True, "none; training runs on the cores")
    return Finding(
        "GPUs",
        False,
        f"torch sees none of the {len(devices)} in /dev",
        "install a torch that is built for this machine's NVIDIA driver",
    )


def examine_store(uri: str) -> Finding:
    """Whether a run could use the store: an object of a network's size is written, found, read, removed."""
    key, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(_OBJECT_BYTES)
    try:
        with _few_attempts():
            store = open_store(uri)
            store.write(key, content)
            listed = store.exists(key) and key in store.keys("doctor/")
            answer = store.read(key)
            store.delete(key)
    except StoreError as error:
        detail, _, cure = str(error).rpartition("; ")
        return Finding("store", False, detail or cure, cure if detail else _STORE_CURE)
    return _finding(
        "store",
        listed and answer == content,
        store.uri,
        "it gives back other bytes than were written, or does not list them; trust nothing in it, and "
        + _STORE_CURE,
    )


def _source() -> Iterator[Finding]:
    """Of the S3 that images and weights are in, where it has variables of its own."""
    if has_own_variables():
        with _few_attempts():
            yield _required("images' S3", ask_source)


@contextmanager
def _few_attempts() -> Iterator[None]:
    """Runs try more often; who only asks whether S3 is there does not."""
    before = os.environ.get("AWS_MAX_ATTEMPTS")
    os.environ["AWS_MAX_ATTEMPTS"] = before or "2"
    try:
        yield
    finally:
        os.environ.pop("AWS_MAX_ATTEMPTS")
        if before is not None:
            os.environ["AWS_MAX_ATTEMPTS"] = before


def examine_tracking(uri: str) -> Finding:
    """Whether MLflow takes runs: a server that answers, or a database that can be written or made."""
    if is_server(uri):
        return _server(uri)
    try:
        return _database(database(uri))
    except TrackingError as error:
        return _told("MLflow", error)


def _database(file: Path) -> Finding:
    if not file.exists() or not file.stat().st_size:
        folder = _nearest_folder(file.parent)
        if folder.is_dir() and os.access(folder, os.W_OK):
            return Finding("MLflow", True, f"{file}: the first run makes it")
        return Finding("MLflow", False, f"{file} cannot be made in {folder}", _TRACKING_CURE)
    try:
        uri = f"file:{quote(str(file))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_SECONDS, isolation_level=None)) as connection:
            [[runs]] = connection.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return Finding(
            "MLflow",
            False,
            f"{file} cannot be used: {error}",
            f"look at its rights and at who has it open, or {_TRACKING_CURE}",
        )
    except sqlite3.DatabaseError as error:
        return Finding("MLflow", False, f"{file} is no MLflow database: {error}", _TRACKING_CURE)
    return Finding("MLflow", True, f"{file}: {runs} run{'' if runs == 1 else 's'}")


def _server(uri: str) -> Finding:
    from lossmap.components.stores.tracking.rest import examine

    try:
        version, may_write = examine(uri, _SECONDS)
    except TrackingError as error:
        return _told("MLflow", error)
    detail = f"{without_password(uri).rstrip('/')}, version {version}"
    if version.startswith(("1.", "2.")):
        detail += ", which knows no logged models: runs are recorded without them"
    if not may_write:
        detail += "; others have to permit this account to write into their experiments"
    return Finding("MLflow", True, detail)


def _nearest_folder(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _finding(name: str, ok: bool, detail: str, cure: str) -> Finding:
    return Finding(name, ok, detail, "" if ok else cure)
