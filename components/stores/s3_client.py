"""Clients of S3, as the AWS variables and files say: one for each configuration of a process."""

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

# botocore 1.44 pauses at most 0.05, 0.1, 0.2, 0.4 and 0.8 s between attempts (1 to 16 s where the server asks
# for patience): an endpoint that does not answer is told within 20 s, and a server that starts again is not
# waited for.
_ATTEMPTS = 6
_CONNECT_SECONDS = 3
# AWS's name of the setting (AWS_MAX_ATTEMPTS, max_attempts of a profile), botocore's name of it, ours
_RETRIES = (("retry_mode", "mode", "standard"), ("max_attempts", "total_max_attempts", _ATTEMPTS))
_CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")
_SOURCE = "LOSSMAP_DATA_"  # before the name of a variable of AWS
# Who asks, and whom. Of these the source gets all or none, so that no server sees the keys of another.
_IDENTITY = re.compile(
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN|(DEFAULT_)?PROFILE|(DEFAULT_)?REGION"
    r"|ENDPOINT_URL(_S3)?|ROLE_\w+|WEB_IDENTITY_\w+|CONTAINER_\w+)"
)
_environment_lock = threading.Lock()


def s3_client(of_source: bool = False) -> Any:
    """The client of this process's configuration; threads may share it.

    Args:
        of_source: for what users bring, images and weights. As soon as there is a variable
            LOSSMAP_DATA_AWS_…, such as LOSSMAP_DATA_AWS_PROFILE, these stand in the place of AWS_…, and
            nothing of the store's keys, profile, region and endpoint is used.
    """
    environment = dict(os.environ)
    if of_source and (own := _own_variables()):
        environment = {name: value for name, value in environment.items() if not _IDENTITY.fullmatch(name)}
        environment |= own
    # A forked process shares no connection with the one before it.
    return _client(tuple(sorted(environment.items())), _last_changes(environment), os.getpid())


def has_own_variables() -> bool:
    """Whether what users bring has keys or places of its own."""
    return bool(_own_variables())


def _own_variables() -> dict[str, str]:
    return {
        name.removeprefix(_SOURCE): value
        for name, value in os.environ.items()
        if name.startswith(f"{_SOURCE}AWS_") and value
    }


@lru_cache(maxsize=8)
def _client(environment: tuple[tuple[str, str], ...], _files: tuple[int, ...], _process: int) -> Any:
    """Bounded waits, and checksums only where they are required, since not every S3-compatible server knows
    them; all of that unless variables or files say something else.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    with _as_environment(dict(environment)):
        core = botocore.session.get_session()
        variables = (name.removeprefix("AWS_").lower() for name in os.environ if name.startswith("AWS_"))
        said = {*core.get_scoped_config(), *variables}
        patience = [(option, value) for name, option, value in _RETRIES if name not in said]
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=60,
            retries=dict(patience),
            **{name: "when_required" for name in _CHECKSUMS if name not in said},
        )
        session = boto3.session.Session(botocore_session=core)
        region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
        return session.client("s3", config=config, region_name=region)


@contextmanager
def _as_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """botocore reads os.environ, and nothing else, while a client is made."""
    with _environment_lock:
        before = dict(os.environ)
        if environment == before:
            yield
            return
        try:
            _become(environment)
            yield
        finally:
            _become(before)


def _become(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _last_changes(environment: Mapping[str, str]) -> tuple[int, ...]:
    """Of AWS's files: who signs in while this process goes on gets a new client."""
    places = (
        environment.get("AWS_CONFIG_FILE") or "~/.aws/config",
        environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    files = [Path(os.path.expanduser(place)) for place in places]
    return tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)
