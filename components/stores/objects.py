"""Objects by key, in a folder (file://) or in S3-compatible storage (s3://). The only module that speaks
to boto3.
"""

import base64
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from lossmap.components.core.errors import StoreError
from lossmap.components.stores.s3_errors import explained

# botocore 1.44 pauses at most 0.05, 0.1, 0.2, 0.4 and 0.8 s between attempts (1 to 16 s where the server asks
# for patience): an endpoint that does not answer is told within 20 s, and a server that starts again is not
# waited for.
_ATTEMPTS = 6
_CONNECT_SECONDS = 3
_UPLOAD_VARIABLE = "MLFLOW_S3_UPLOAD_EXTRA_ARGS"


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
        with explained(self.uri, ""):
            self._client, self._upload = _s3_client(), _upload_arguments()
        self._bucket_seen = False

    def read(self, key: str) -> bytes:
        """The content of an object; StoreError where there is none."""
        with explained(self.uri, key):
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=self._name(key))["Body"].read()
            return body

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object. The server checks the MD5 sum on arrival and refuses what was
        damaged on the way.
        """
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        with explained(self.uri, key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._name(key),
                Body=content,
                ContentMD5=base64.b64encode(digest).decode(),
                **self._upload,
            )

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        from botocore.exceptions import ClientError

        with explained(self.uri, key):
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._name(key))
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                    raise
                self._check_bucket()
                return False
        return True

    def _check_bucket(self) -> None:
        """HEAD says 404 of an object in a bucket that does not exist, too."""
        if not self._bucket_seen:
            self._client.head_bucket(Bucket=self._bucket)
            self._bucket_seen = True

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with the prefix, in order."""
        start = len(self._name(""))
        with explained(self.uri, prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._name(prefix)
            )
            for page in pages:
                yield from (entry["Key"][start:] for entry in page.get("Contents", ()))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with explained(self.uri, key):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file without holding it in memory."""
        with explained(self.uri, key), _copying(self.uri, key, target):
            self._client.download_file(self._bucket, self._name(key), str(target))

    def _name(self, key: str) -> str:
        key = _inside(key, self.uri)
        return f"{self._prefix}/{key}" if self._prefix else key


def _s3_client() -> Any:
    """A client with bounded waits. Addresses, region, keys, proxies and certificates are as the AWS variables
    and files say; checksums only where they are required, unless these say something else, since not every
    S3-compatible server knows them.
    """
    import boto3
    from botocore.config import Config

    checksums = {
        name: "when_required"
        for name in ("request_checksum_calculation", "response_checksum_validation")
        if f"AWS_{name.upper()}" not in os.environ
    }
    config = Config(
        retries={
            "mode": "standard",
            "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS") or _ATTEMPTS),
        },
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=60,
        **checksums,
    )
    session = boto3.session.Session()
    region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
    return session.client("s3", config=config, region_name=region)


def _upload_arguments() -> dict[str, str]:
    """What every upload says besides, such as the key of the server-side encryption: the variable that MLflow
    has for its own.

    Raises:
        StoreError: it is no JSON object.
    """
    text = os.environ.get(_UPLOAD_VARIABLE) or "{}"
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise StoreError(
            f"{_UPLOAD_VARIABLE} is {text!r}, expected JSON such as"
            ' {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "…"}'
        )
    return arguments


@contextmanager
def _copying(uri: str, key: str, target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of botocore's
            raise
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
