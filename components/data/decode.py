"""Image files to arrays, by several processes."""

import contextlib
import functools
import io
import struct
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lossmap.components.core.errors import DataError
from lossmap.components.core.processes import process_pool, processes_starting
from lossmap.components.data.files import Files, Location, open_files
from lossmap.components.data.sizing import AS_IT_IS, Sizing
from lossmap.components.data.space import room

MOST_PIXELS = 16 * 2**20
MOST_PIXELS_RESIZED = 64 * 2**20  # which are in memory one at a time
MOST_CHUNK = 500  # images that a process decodes at once, and fewer where they are large:
_CHUNK_BYTES = 32 * 2**20
# torchvision's ImageFolder takes these, too
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
# What a worker process keeps between chunks.
_worker: dict[str, tuple[Location, Sizing]] = {}
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
    location: Location, names: Sequence[str], sizing: Sizing, progress: Callable[[int, int], None]
) -> NDArray[np.uint8]:
    """The images, uint8 N x C x H x W, in the order of their names: one channel if all are grey, else three.
    They are in memory, or in a temporary file where they are many.

    Args:
        location: where the files are.
        names: which are decoded, one at least.
        sizing: their size and channels; where it leaves the size open, all must have one.
        progress: called with (done, total).
    """
    done, pixels = 0, np.empty((0, 0, 0, 0), np.uint8)
    with contextlib.closing(
        _decoded_chunks(location, names, sizing)
    ) as parts:  # closed at an error, so that no process outlives it
        for part in parts:
            for image in part:
                if not done:
                    pixels = room((len(names), image.shape[2], *image.shape[:2]))
                _check_size(location.source, names, image, done, pixels)
                if image.shape[2] > pixels.shape[1]:
                    pixels = _coloured(pixels)
                pixels[done] = image.transpose(2, 0, 1)
                done += 1
            progress(done, len(names))
    return pixels


def _coloured(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey images with three equal channels."""
    coloured = room((len(pixels), 3, *pixels.shape[2:]))
    coloured[:] = pixels
    return coloured


def _check_size(
    source: str, names: Sequence[str], image: NDArray[np.uint8], place: int, pixels: NDArray[np.uint8]
) -> None:
    height, width = pixels.shape[2:]
    if image.shape[:2] != (height, width):
        raise DataError(
            f"images in {source} differ in size: {names[0]} is {width}x{height} and {names[place]} is"
            f" {image.shape[1]}x{image.shape[0]}; resize all: --set data.image_size={height}"
        )


def decode(content: bytes, name: str, sizing: Sizing = AS_IT_IS) -> NDArray[np.uint8]:
    """One image, uint8 H x W x C: the first one of a file that holds several, as it is stored, whatever it
    says of how to turn it.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content), formats=_FORMATS) as image,
        ):
            _check(image, name, sizing)
            return sizing.array(image, name)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        if isinstance(error, UnidentifiedImageError):
            reason = f"not a {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} image"
        raise DataError(f"{name} cannot be decoded: {reason}; replace it or remove it") from None


def resize_all(pixels: NDArray[np.uint8], sizing: Sizing, source: str) -> NDArray[np.uint8]:
    """Images in memory, uint8 N x C x H x W with one channel or three, resized as files are."""
    images = (Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)) for image in pixels)
    resized = [sizing.array(image, f"an image of {source}") for image in images]
    if not resized:
        side = sizing.side()
        return np.empty((0, sizing.channels or pixels.shape[1], side or 1, side or 1), np.uint8)
    return np.stack(resized).transpose(0, 3, 1, 2)


def _check(image: Image.Image, name: str, sizing: Sizing) -> None:
    most = MOST_PIXELS_RESIZED if sizing.side() else MOST_PIXELS
    if image.width * image.height > most:
        hint = "" if sizing.side() else f", or {MOST_PIXELS_RESIZED} where data.image_size is set"
        raise DataError(
            f"{name} is {image.width}x{image.height}, expected at most {most} pixels{hint}; make it smaller"
        )
    # Pillow would cut 16-bit colour to 8 bits without a word
    if image.mode.startswith(("I", "F")) or _is_deep(image):
        raise DataError(f"{name} has more than 8 bits a channel, expected 8; convert it")


def _is_deep(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", ())
    if image.format == "PPM":  # its last argument is the greatest value
        return any(isinstance(part, int) and part > 255 for tile in tiles for part in _arguments(tile))
    return ";16" in str(tiles)


def _arguments(tile: Any) -> tuple[Any, ...]:
    return tile[3] if isinstance(tile[3], tuple) else (tile[3],)


def _decoded_chunks(
    location: Location, names: Sequence[str], sizing: Sizing
) -> Generator[list[NDArray[np.uint8]]]:
    size = _chunk_size(location, names, sizing)
    chunks = [names[start : start + size] for start in range(0, len(names), size)]
    workers = min(cpu_count(), len(chunks))
    if workers == 1 or len(chunks) < 4:  # starting processes would take longer
        files = open_files(location)
        yield from (_decode_chunk(files, part, sizing) for part in chunks)
        return
    executor = process_pool(workers, _start, location, sizing)
    try:
        yield from _in_order(executor, chunks, 2 * workers)
    except BrokenProcessPool:
        raise DataError(
            f"a process decoding images of {location.source} was killed, perhaps out of memory; run"
            " again with more of it"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _chunk_size(location: Location, names: Sequence[str], sizing: Sizing) -> int:
    """As many images as fit into a part of memory, by the size of the first."""
    side = sizing.side()
    if side:
        return max(1, min(MOST_CHUNK, _CHUNK_BYTES // (3 * side**2)))
    first = decode(open_files(location).read(names[0]), names[0], sizing)
    return max(1, min(MOST_CHUNK, _CHUNK_BYTES // first.nbytes))


def _in_order(
    executor: ProcessPoolExecutor, chunks: Sequence[Sequence[str]], most: int
) -> Iterator[list[NDArray[np.uint8]]]:
    """Decoded chunks, and no more than `most` that wait to be taken."""
    waiting: deque[Future[list[NDArray[np.uint8]]]] = deque()
    for chunk in chunks:
        if len(waiting) == most:
            yield waiting.popleft().result()
        with processes_starting():
            waiting.append(executor.submit(_decode_in_worker, chunk))
    while waiting:
        yield waiting.popleft().result()


def _decode_chunk(files: Files, names: Sequence[str], sizing: Sizing) -> list[NDArray[np.uint8]]:
    return [decode(files.read(name), name, sizing) for name in names]


def _start(location: Location, sizing: Sizing) -> None:
    _worker["source"] = location, sizing


def _decode_in_worker(names: Sequence[str]) -> list[NDArray[np.uint8]]:
    location, sizing = _worker["source"]
    return _decode_chunk(_opened(location), names, sizing)


# Opened at the first chunk, not at the start, so that an error there reaches the parent as it is; a zip's
# directory is then read once.
_opened = functools.cache(open_files)
