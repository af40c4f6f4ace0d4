"""Image files to arrays, by several processes."""

import contextlib
import functools
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lossmap.components.core.errors import DataError
from lossmap.components.core.processes import process_pool, processes_starting
from lossmap.components.data.files import Files, Location, open_files

MOST_PIXELS = 16 * 2**20
_CHUNK = 500
# What a worker process keeps between chunks.
_worker: dict[str, tuple[Location, int | None]] = {}
_GREY = ("1", "L", "LA")
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode_all(
    location: Location, names: Sequence[str], image_size: int | None, progress: Callable[[int, int], None]
) -> NDArray[np.uint8]:
    """The images, uint8 N x C x H x W, in the order of their names: one channel if all are grey, else three.

    Args:
        location: where the files are.
        names: which are decoded.
        image_size: resize to this many pixels a side, by area-aware bicubic filtering; without it all must
            have one size.
        progress: called with (done, total).
    """
    images: list[NDArray[np.uint8]] = []
    with contextlib.closing(
        _decoded_chunks(location, names, image_size)
    ) as parts:  # closed at an error, so that no process outlives it
        for part in parts:
            images += part
            _check_sizes(location.source, names, images, len(part))
            progress(len(images), len(names))
    channels = max(image.shape[2] for image in images)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images]).transpose(
        0, 3, 1, 2
    )


def _check_sizes(source: str, names: Sequence[str], images: Sequence[NDArray[np.uint8]], last: int) -> None:
    first = images[0].shape[:2]
    for index in range(len(images) - last, len(images)):
        if images[index].shape[:2] != first:
            sizes = " and ".join(
                f"{names[place]} is {images[place].shape[1]}x{images[place].shape[0]}" for place in (0, index)
            )
            raise DataError(
                f"images in {source} differ in size: {sizes}; resize all: --set data.image_size={first[0]}"
            )


def decode(content: bytes, name: str, image_size: int | None = None) -> NDArray[np.uint8]:
    """One image, uint8 H x W x C, with one channel if it is grey and three if not; transparency is
    dropped.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image,
        ):
            _check(image, name)
            converted = image.convert("L" if image.mode in _GREY else "RGB")
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        if isinstance(error, UnidentifiedImageError):
            reason = "not a PNG or JPEG image"
        raise DataError(f"{name} cannot be decoded: {reason}; replace it or remove it") from None
    return _as_array(converted, image_size)


def resize_all(pixels: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Images in memory, uint8 N x C x H x W with one channel or three, resized as files are."""
    images = (Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)) for image in pixels)
    resized = [_as_array(image, image_size) for image in images]
    if not resized:
        return np.empty((0, pixels.shape[1], image_size, image_size), np.uint8)
    return np.stack(resized).transpose(0, 3, 1, 2)


def _as_array(image: Image.Image, image_size: int | None) -> NDArray[np.uint8]:
    array = np.asarray(
        image.resize((image_size, image_size), Image.Resampling.BICUBIC) if image_size else image
    )
    return array[:, :, None] if array.ndim == 2 else array


def _check(image: Image.Image, name: str) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{name} is {image.width}x{image.height}, expected at most {MOST_PIXELS} pixels")
    # Pillow would cut 16-bit colour to 8 bits without a word
    if image.mode.startswith(("I", "F")) or ";16" in str(getattr(image, "tile", "")):
        raise DataError(f"{name} has more than 8 bits a channel, expected 8; convert it")


def _decoded_chunks(
    location: Location, names: Sequence[str], image_size: int | None
) -> Generator[list[NDArray[np.uint8]]]:
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    workers = min(cpu_count(), len(chunks))
    if workers == 1 or len(chunks) < 4:  # starting processes would take longer
        files = open_files(location)
        yield from (_decode_chunk(files, part, image_size) for part in chunks)
        return
    executor = process_pool(workers, _start, location, image_size)
    try:
        with processes_starting():
            parts = executor.map(_decode_in_worker, chunks)
        yield from parts
    except BrokenProcessPool:
        raise DataError(
            f"a process decoding images of {location.source} was killed, perhaps out of memory; run"
            " again with more of it"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _decode_chunk(files: Files, names: Sequence[str], image_size: int | None) -> list[NDArray[np.uint8]]:
    return [decode(files.read(name), name, image_size) for name in names]


def _start(location: Location, image_size: int | None) -> None:
    _worker["source"] = location, image_size


def _decode_in_worker(names: Sequence[str]) -> list[NDArray[np.uint8]]:
    location, image_size = _worker["source"]
    return _decode_chunk(_opened(location), names, image_size)


# Opened at the first chunk, not at the start, so that an error there reaches the parent as it is; a zip's
# directory is then read once.
_opened = functools.cache(open_files)
