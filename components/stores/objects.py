"""Objects by key, in a folder (file://) or in S3-compatible storage (s3://). The only module that speaks to boto3."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from lossmap.components.config.errors import StoreError


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
    if parts.scheme == "file":
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
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{self.uri} has no object {key}") from None
        except OSError as error:
            raise StoreError(f"{self._path(key)} cannot be read: {error.strerror}") from None

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, path)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}; free space or choose another folder with --store") from None

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._path(key).is_file()

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with the prefix, in order."""
        start = self.folder / prefix.rpartition("/")[0]
        found = (path.relative_to(self.folder).as_posix() for path in start.rglob("*") if path.is_file() and not path.name.startswith("."))
        yield from sorted(key for key in found if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        self._path(key).unlink(missing_ok=True)

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file."""
        target.write_bytes(self.read(key))

    def _path(self, key: str) -> Path:
        path = (self.folder / key).resolve()
        if not path.is_relative_to(self.folder):
            raise StoreError(f"key is {key!r}, expected one inside {self.uri}")
        return path


class S3Store:
    """A bucket and a prefix. Endpoint, region and credentials come from the standard AWS variables and files."""

    def __init__(self, uri: str):
        parts = urlparse(uri)
        if not parts.netloc:
            raise StoreError(f"store is {uri!r}, expected s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._client = _s3_client()

    def read(self, key: str) -> bytes:
        """The content of an object; StoreError where there is none."""
        with _explained(self.uri, key):
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=self._name(key))["Body"].read()
            return body

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object. The server checks the MD5 sum on arrival and refuses what was damaged on the way."""
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        with _explained(self.uri, key):
            self._client.put_object(Bucket=self._bucket, Key=self._name(key), Body=content, ContentMD5=_base64(digest))

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
        with _explained(self.uri, key):
            self._client.download_file(self._bucket, self._name(key), str(target))

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _list(self, prefix: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        with _explained(self.uri, prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, PaginationConfig={"MaxItems": limit} if limit else {}
            )
            for page in pages:
                yield from page.get("Contents", ())


def _s3_client() -> Any:
    """A client that works with every S3-compatible server: path-style addresses, checksums only where they are required, bounded waits."""
    import boto3
    from botocore.config import Config

    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "max_attempts": 8},
        connect_timeout=5,
        read_timeout=60,
        s3={"addressing_style": "path"},
    )
    return boto3.session.Session().client("s3", config=config, region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")


class _explained:
    """Turns boto3's errors into one line that names the store, the key and the cure."""

    def __init__(self, uri: str, key: str):
        self.uri, self.key = uri, key

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        if isinstance(error, NoCredentialsError):
            raise StoreError(f"{self.uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchKey", "404"):
                raise StoreError(f"{self.uri} has no object {self.key}") from None
            if code == "NoSuchBucket":
                raise StoreError(f"{self.uri}: the bucket does not exist; create it or correct --store") from None
            raise StoreError(f"{self.uri}: {code or error} for {self.key}; check the credentials and their rights") from None
        if isinstance(error, (BotoCoreError, Boto3Error)):
            raise StoreError(f"{self.uri} is out of reach: {str(error).splitlines()[0]}; check AWS_ENDPOINT_URL") from None


def _base64(digest: bytes) -> str:
    import base64

    return base64.b64encode(digest).decode()
