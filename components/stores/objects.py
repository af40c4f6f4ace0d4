"""Objects by key, in a folder (file://) or in S3-compatible storage (s3://)."""

import base64
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from lossmap.components.core.errors import StoreError
from lossmap.components.stores.s3_client import s3_client
from lossmap.components.stores.s3_errors import UPLOAD_VARIABLE, explained

_READS = 3  # of one object, where what arrives breaks off


@dataclass(frozen=True)
class Entry:
    """An object in a list.

    Attributes:
        key: of the object.
        size: in bytes.
        modified: when it was written, in seconds since 1970.
    """

    key: str
    size: int
    modified: float


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

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key starts with the prefix, in order."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file without holding it in memory."""


def open_store(uri: str, is_there: bool = False) -> Store:
    """The store at `file:///folder`, a plain path, or `s3://bucket/prefix`.

    Args:
        uri: of the store.
        is_there: something was found in it a moment ago: it is not asked whether its bucket exists.
    """
    parts = urlparse(uri)
    if parts.scheme == "s3":
        return S3Store(uri, is_there=is_there)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FileStore(Path(unquote(parts.path)))
    if parts.scheme == "":
        return FileStore(Path(uri).expanduser())
    raise StoreError(f"store is {uri!r}, expected file:///folder, a path, or s3://bucket/prefix")


def open_source(uri: str) -> Store:
    """What users bring at `s3://bucket/prefix`, which may be in another S3 than the store, with keys of its
    own: see `s3_client`.
    """
    return S3Store(uri, of_source=True)


def ask_source() -> str:
    """Ask the S3 of what users bring whether it knows their keys; returns its address.

    Raises:
        StoreError: it does not, or is out of reach.
    """
    from botocore.exceptions import ClientError

    with explained("LOSSMAP_DATA_AWS_…", "the list of buckets", of_source=True):
        client = s3_client(of_source=True)
        try:
            client.list_buckets()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "AccessDenied":  # whose keys it knows
                raise
        return str(client.meta.endpoint_url)


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

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key starts with the prefix, in order."""
        for key in self.keys(prefix):
            with suppress(FileNotFoundError):  # removed since it was listed
                status = self._path(key).stat()
                yield Entry(key, status.st_size, status.st_mtime)

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
    files; for what users bring, those of `s3_client`.
    """

    def __init__(self, uri: str, of_source: bool = False, is_there: bool = False):
        self.uri = uri.rstrip("/")
        self._bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/")
        if not self._bucket:
            raise StoreError(f"store is {uri!r}, expected s3://bucket/prefix")
        if "@" in self._bucket:
            raise StoreError(
                f"store is {uri!r} with a user before it, expected s3://bucket/prefix; keys are in AWS_…"
            )
        self._explained = partial(explained, self.uri, of_source=of_source)
        with self._explained(""):
            self._client, self._upload = s3_client(of_source), _upload_arguments()
        self._bucket_seen = is_there

    def read(self, key: str) -> bytes:
        """The content of an object; StoreError where there is none."""
        with self._explained(key):
            body = self._read(key, _READS)
        self._bucket_seen = True
        return body

    def _read(self, key: str, attempts: int) -> bytes:
        """botocore repeats a request that gets no answer, and none whose answer breaks off."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        answer = self._client.get_object(Bucket=self._bucket, Key=self._name(key))
        try:
            body: bytes = answer["Body"].read()
        except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
            if attempts <= 1:
                raise
            return self._read(key, attempts - 1)
        return body

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object. The server checks the MD5 sum on arrival and refuses what was
        damaged on the way.
        """
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        with self._explained(key):
            self._client.put_object(
                **{**self._upload, "ContentMD5": base64.b64encode(digest).decode()},
                Bucket=self._bucket,
                Key=self._name(key),
                Body=content,
            )
        self._bucket_seen = True

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        from botocore.exceptions import ClientError

        with self._explained(key):
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._name(key))
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                    raise
                self._check_bucket()
                return False
        self._bucket_seen = True
        return True

    def _check_bucket(self) -> None:
        """HEAD says 404 of an object in a bucket that does not exist, too."""
        if not self._bucket_seen:
            self._client.head_bucket(Bucket=self._bucket)
            self._bucket_seen = True

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with the prefix, in order."""
        return (entry.key for entry in self.entries(prefix))

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key starts with the prefix, in order."""
        start = len(self._name(""))
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._name(prefix)
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield Entry(found["Key"][start:], found["Size"], found["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with self._explained(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file without holding it in memory."""
        with self._explained(key), _copying(self.uri, key, target):
            self._client.download_file(self._bucket, self._name(key), str(target))

    def _name(self, key: str) -> str:
        key = _inside(key, self.uri)
        return f"{self._prefix}/{key}" if self._prefix else key


def _upload_arguments() -> dict[str, Any]:
    """What every upload says besides, such as the key of the server-side encryption: the variable that MLflow
    has for its own.

    Raises:
        StoreError: it is no JSON object.
    """
    text = os.environ.get(UPLOAD_VARIABLE) or "{}"
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise StoreError(
            f"{UPLOAD_VARIABLE} is {text!r}, expected JSON such as"
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
