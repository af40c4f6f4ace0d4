"""Objects by key, in a folder (file://) or in S3-compatible storage (s3://). The only module that speaks
to boto3.
"""

import base64
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from lossmap.components.core.errors import StoreError

# botocore 1.44 pauses at most 0.05, 0.1, 0.2, 0.4 and 0.8 s between attempts (1 to 16 s where the server asks
# for patience): an endpoint that does not answer is told within 20 s, and a server that starts again is not
# waited for.
_ATTEMPTS = 6
_CONNECT_SECONDS = 3


class Store(Protocol):
    """Immutable-by-convention objects by key. A write is whole or absent, never visible in part."""

    uri: str

    def read(self, key: str) -> bytes:
        """The content of an object; StoreError where there is none."""

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object."""

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with the prefix, in order."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file without holding it in memory."""


def open_store(uri: str) -> Store:
    """The store at `file:///folder`, a plain path, or `s3://bucket/prefix`."""
    parts = urlparse(uri)
    if parts.scheme == "s3":
        return S3Store(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FileStore(Path(unquote(parts.path)))
    if parts.scheme == "":
        return FileStore(Path(uri).expanduser())
    raise StoreError(f"store is {uri!r}, expected file:///folder, a path, or s3://bucket/prefix")


class FileStore:
    """A folder. Objects are written to a temporary name, flushed to the disk, then renamed."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.uri = self.folder.as_uri()

    def read(self, key: str) -> bytes:
        """The content of an object; StoreError where there is none."""
        path = self._path(key)
        try:
            return path.read_bytes()
        except OSError as error:
            if not path.is_file():
                raise StoreError(f"{self.uri} has no object {key}") from None
            raise StoreError(f"{path} cannot be read: {error.strerror}") from None

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object."""
        path = self._path(key)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            _remove(part)
            raise StoreError(
                f"{path} cannot be written: {error.strerror}; free space or choose another folder with"
                " --store"
            ) from None

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._path(key).is_file()

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with the prefix, in order."""
        start = self.folder / _inside(prefix, self.uri).rpartition("/")[0]
        found = (
            path.relative_to(self.folder).as_posix()
            for path in start.rglob("*")
            if path.is_file() and not _is_part(path)
        )
        yield from sorted(key for key in found if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror}") from None

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file without holding it in memory."""
        if not self.exists(key):
            raise StoreError(f"{self.uri} has no object {key}")
        with _copying(self.uri, key, target):
            shutil.copyfile(self._path(key), target)

    def _path(self, key: str) -> Path:
        return self.folder / _inside(key, self.uri)


class S3Store:
    """A bucket and a prefix. Endpoint, region and credentials come from the standard AWS variables and
    files.
    """

    def __init__(self, uri: str):
        self.uri = uri.rstrip("/")
        self._bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/")
        if not self._bucket:
            raise StoreError(f"store is {uri!r}, expected s3://bucket/prefix")
        with _explained(self.uri, ""):
            self._client = _s3_client()

    def read(self, key: str) -> bytes:
        """The content of an object; StoreError where there is none."""
        with _explained(self.uri, key):
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=self._name(key))["Body"].read()
            return body

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object. The server checks the MD5 sum on arrival and refuses what was
        damaged on the way.
        """
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        with _explained(self.uri, key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._name(key),
                Body=content,
                ContentMD5=base64.b64encode(digest).decode(),
            )

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._name(key) in (entry["Key"] for entry in self._list(self._name(key), limit=1))

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with the prefix, in order."""
        start = len(self._name(""))
        for entry in self._list(self._name(prefix)):
            yield entry["Key"][start:]

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with _explained(self.uri, key):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file without holding it in memory."""
        with _explained(self.uri, key), _copying(self.uri, key, target):
            self._client.download_file(self._bucket, self._name(key), str(target))

    def _name(self, key: str) -> str:
        key = _inside(key, self.uri)
        return f"{self._prefix}/{key}" if self._prefix else key

    def _list(self, prefix: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        with _explained(self.uri, prefix):
            limits = {"MaxItems": limit, "PageSize": limit} if limit else {}
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, PaginationConfig=limits
            )
            for page in pages:
                yield from page.get("Contents", ())


def _s3_client() -> Any:
    """A client that works with every S3-compatible server: path-style addresses, checksums only where they
    are required, bounded waits.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={
            "mode": "standard",
            "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS") or _ATTEMPTS),
        },
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=60,
        s3={"addressing_style": "path"},
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return boto3.session.Session().client("s3", config=config, region_name=region)


@contextmanager
def _explained(uri: str, key: str) -> Iterator[None]:
    """Turns boto3's errors into one line that names the store, the key and the cure."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

    try:
        yield
    except NoCredentialsError:
        raise StoreError(f"{uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
    except ClientError as error:
        raise StoreError(
            _refusal(uri, key, error.response.get("Error", {}).get("Code", "") or str(error))
        ) from None
    except ParamValidationError as error:
        raise StoreError(f"store is {uri!r}, expected s3://bucket/prefix: {_line(error)}") from None
    except (
        BotoCoreError,
        Boto3Error,
        ValueError,
    ) as error:  # boto3 refuses an endpoint without http:// by a ValueError
        raise StoreError(f"{uri} is out of reach: {_line(error)}; check AWS_ENDPOINT_URL") from None


def _refusal(uri: str, key: str, code: str) -> str:
    if code in ("NoSuchKey", "404"):
        return f"{uri} has no object {key}"
    if code == "NoSuchBucket":
        return f"{uri}: the bucket does not exist; create it or correct --store"
    return f"{uri}: {code} for {key}; check the credentials and their rights"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


@contextmanager
def _copying(uri: str, key: str, target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{uri}/{key} cannot be copied to {target}: {error.strerror}") from None


def _inside(key: str, uri: str) -> str:
    if key.startswith("/") or ".." in PurePosixPath(key).parts:
        raise StoreError(f"key is {key!r}, expected one inside {uri}")
    return key


def _is_part(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".part"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # as in a folder that cannot be written; the first error is the one to tell
        return
