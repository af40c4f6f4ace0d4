"""Files by name in a folder, a zip, or under an s3:// prefix; checked before anything is read from them."""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlparse

from lossmap.components.config.data import TAKEN
from lossmap.components.core.archives import MOST_COMPRESSION
from lossmap.components.core.errors import DataError
from lossmap.components.stores.objects import Store, open_source

MOST_FILES = 5_000_000
MOST_BYTES = 2**40
MOST_BYTES_OF_A_FILE = 64 * 2**20
_OTHERS = (".parquet", ".feather", ".arrow", ".xlsx", ".h5", ".hdf5", ".mat", ".pkl", ".tfrecord")
_CONVERT = "write a table as .csv, arrays as .npz, or hand them over in Python"


@dataclass(frozen=True)
class Location:
    """Where files are, as plain data, so that other processes can open them too. `kind` is folder, zip or
    store.
    """

    kind: str
    place: str
    source: str

    @classmethod
    def of(cls, source: str, scratch: Path) -> "Location":
        """The location of a user's source; a zip in S3 is copied to `scratch` first."""
        parts = urlparse(source)
        if parts.scheme == "s3" and parts.path.endswith(".zip"):
            folder, _, name = source.rpartition("/")
            open_source(folder).download(name, scratch / "source.zip")
            return cls("zip", str(scratch / "source.zip"), source)
        if parts.scheme == "s3":
            return cls("store", source, source)
        if parts.scheme not in ("", "file") or (
            parts.scheme == "file" and parts.netloc not in ("", "localhost")
        ):
            raise DataError(
                f"data.source is {source!r}, expected a path, file:///folder or s3://bucket/prefix"
            )
        try:
            path = Path(unquote(parts.path) if parts.scheme == "file" else source).expanduser()
            return cls("folder" if path.is_dir() else "zip", str(path), source)
        except OSError as error:
            raise DataError(f"{source} cannot be read: {error.strerror}") from None


def read_file(source: str, field: str) -> bytes:
    """Content of one file, given by its path or its file:// or s3:// URI.

    Args:
        source: where it is.
        field: of the experiment, for messages.

    Raises:
        DataError: it cannot be read.
    """
    parts = urlparse(source)
    if parts.scheme == "s3":
        folder, _, name = source.rpartition("/")
        return open_source(folder).read(name)
    if parts.scheme not in ("", "file"):
        raise DataError(f"{field} is {source!r}, expected a path, file:///path or s3://bucket/key")
    try:
        return Path(unquote(parts.path) if parts.scheme == "file" else source).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{field} is {source!r}, which cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def split_key(place: str) -> tuple[str, str | None]:
    """A file's place without the key behind it, and the key: of file.pt:generator, file.pt and generator.

    A place is taken whole where there is such a file, or where nothing behind its last colon can be a key.
    """
    path, colon, key = place.rpartition(":")
    if not (path and colon and key) or {"/", "\\"} & set(key) or _is_file(place):
        return place, None
    return path, key


def _is_file(place: str) -> bool:
    if place.startswith("s3://"):
        folder, _, name = place.rpartition("/")
        return open_source(folder).exists(name)
    return Path(unquote(place.removeprefix("file://")) if "://" in place else place).expanduser().is_file()


class Files(Protocol):
    """Files by name."""

    def names(self) -> list[str]:
        """Names of all files and folders, with / between their parts; a folder's name ends with /."""

    def read(self, name: str) -> bytes:
        """Content of a file."""


def open_files(location: Location) -> Files:
    """The files at a location."""
    if location.kind == "zip":
        return ZipFiles(location)
    if location.kind == "folder":
        return FolderFiles(Path(location.place))
    return StoreFiles(open_source(location.place))


class FolderFiles:
    """Files below a folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def names(self) -> list[str]:
        """Names of all files and folders, with / between their parts; a folder's name ends with /."""
        try:
            return list(_below(self._folder, "", ()))
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None

    def read(self, name: str) -> bytes:
        """Content of a file."""
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self._folder / name} cannot be read: {error.strerror}") from None


class ZipFiles:
    """Files in a zip. Names that lead out of it, links, and archives that would unpack to far more than
    they hold are refused.
    """

    def __init__(self, location: Location):
        self._source = location.source
        try:
            self._zip = zipfile.ZipFile(location.place)
        except (zipfile.BadZipFile, EOFError, struct.error, ValueError, NotImplementedError):
            hint = "; " + _CONVERT if self._source.lower().endswith(_OTHERS) else ""
            raise DataError(
                f"{self._source} is neither a folder nor a zip archive, expected {TAKEN}{hint}"
            ) from None
        except OSError as error:
            raise DataError(f"{self._source} cannot be read: {error.strerror}") from None
        self._check()

    def names(self) -> list[str]:
        """Names of all files and folders, with / between their parts; a folder's name ends with /."""
        return self._zip.namelist()

    def read(self, name: str) -> bytes:
        """Content of a file."""
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            raise DataError(f"{name} in {self._source} cannot be read: {error}") from None

    def _check(self) -> None:
        entries = self._zip.infolist()
        total = sum(entry.file_size for entry in entries)
        if len(entries) > MOST_FILES or total > MOST_BYTES:
            raise DataError(
                f"{self._source} holds {len(entries)} files of {total} bytes, expected at most {MOST_FILES}"
                f" files of {MOST_BYTES} bytes"
            )
        seen: set[str] = set()
        for entry in entries:
            if entry.filename in seen and not entry.is_dir():
                raise DataError(f"{entry.filename!r} is in {self._source} more than once; keep one of them")
            seen.add(entry.filename)
            parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
            if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in entry.filename.split("/")[0]:
                raise DataError(
                    f"{entry.filename!r} in {self._source} leads out of the archive; it is not opened"
                )
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise DataError(f"{entry.filename!r} in {self._source} is a link; replace it by the file")
            if entry.flag_bits & 1:
                raise DataError(
                    f"{entry.filename!r} in {self._source} is encrypted; unpack the archive and name its"
                    " folder"
                )
            if (
                entry.file_size > max(2**20, MOST_COMPRESSION * entry.compress_size)
                or entry.file_size > MOST_BYTES_OF_A_FILE
            ):
                raise DataError(
                    f"{entry.filename!r} in {self._source} would unpack from {entry.compress_size} to"
                    f" {entry.file_size} bytes; it is not opened"
                )


class StoreFiles:
    """Objects below an s3:// prefix."""

    def __init__(self, store: Store):
        self._store = store

    def names(self) -> list[str]:
        """Names of all files and folders, with / between their parts; a folder's name ends with /."""
        return list(self._store.keys(""))

    def read(self, name: str) -> bytes:
        """Content of a file."""
        return self._store.read(name)


def _below(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Names below a folder. Links to folders are followed, but for those that lead back to one above."""
    state = folder.stat()
    place = (state.st_dev, state.st_ino)
    if place in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():  # links too: large folders are often kept elsewhere
                yield f"{prefix}{entry.name}/"
                yield from _below(Path(entry.path), f"{prefix}{entry.name}/", (*above, place))
            else:
                yield prefix + entry.name
