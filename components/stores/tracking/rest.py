"""What is asked of an MLflow server beside what MLflow's client asks for: versions, rights, files."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from lossmap.components.core.errors import TrackingError
from lossmap.components.core.secrets import without_password
from lossmap.components.stores.tracking.errors import explained
from lossmap.components.stores.tracking.server import set_client_environment

_API = "/api/2.0/mlflow"
_NO_EXPERIMENT = "9223372036854775807"


def version(uri: str, seconds: float = 6) -> str:
    """The version of a server; `unknown` where it does not say."""
    from mlflow.exceptions import MlflowException

    try:
        answer = _request(uri, "/version", "GET", seconds)
    except MlflowException:
        return "unknown"
    text = str(answer.text).strip()
    return text if answer.status_code == 200 and len(text) < 30 else "unknown"


def examine(uri: str, seconds: float) -> tuple[str, bool]:
    """Ask a server, with MLflow's own settings of the client, what a run would; nothing is left there.

    Args:
        uri: of the server.
        seconds: for one answer.

    Returns:
        Its version, and whether this account may write where others have given no permission.

    Raises:
        TrackingError: it is out of reach, refuses, or is no MLflow server.
    """
    with explained(uri, "(any)"):
        search = f"{_API}/experiments/search"
        answer = _request(uri, search, "GET", seconds, params={"max_results": 1})
        if answer.status_code != 200:
            raise ValueError(f"error code {answer.status_code} != 200: {answer.text[:200]!r}")
        json.loads(answer.text)  # what a sign-in page is not
        # refused before anybody looks whether there is such an experiment
        answer = _request(uri, f"{_API}/runs/create", "POST", seconds, json={"experiment_id": _NO_EXPERIMENT})
        return version(uri, seconds), answer.status_code != 403


def has_file(uri: str, run: str, name: str) -> bool:
    """Whether the server itself sees a file at the top of a run's artifacts."""
    answer = _request(uri, f"{_API}/artifacts/list", "GET", 6, params={"run_id": run})
    try:
        return name in [found["path"] for found in json.loads(answer.text).get("files", ())]
    except (ValueError, AttributeError):
        return False


def check_folder(uri: str, run: str, place: str) -> None:
    """MLflow's client writes artifacts that belong into a folder of the server's disk into a folder of this
    machine's: see to it that this is the same one. Nothing is left in another.

    Raises:
        TrackingError: it is not.
    """
    folder = Path(unquote(urlparse(place).path))
    name = f"lossmap-{secrets.token_hex(4)}"
    try:
        with _made(folder):
            (folder / name).touch()
            try:
                shared = has_file(uri, run, name)
            finally:
                (folder / name).unlink()
    except OSError:
        shared = False
    if not shared:
        raise TrackingError(
            f"MLflow at {without_password(uri)} has the numbers of this run and not its files: it keeps them"
            f" in {folder} on its own disk, which is not this machine's; start the server with"
            " --artifacts-destination and without --no-serve-artifacts, and choose another experiment with"
            " --set study=NAME, since one keeps its place"
        )


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for each in missing:
            each.rmdir()


def _request(uri: str, path: str, method: str, seconds: float, **content: Any) -> Any:
    set_client_environment()
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    return http_request(
        get_default_host_creds(uri.rstrip("/")),
        path,
        method,
        max_retries=0,
        timeout=seconds,
        raise_on_status=False,
        **content,
    )
