"""Image files to arrays, by several processes."""

import functools
import io
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lossmap.components.config.errors import DataError
from lossmap.components.data.files import Location, open_files

MOST_PIXELS = 16 * 2**20
_CHUNK = 500
_SINGLE_BITS = ("1", "L", "LA")


def decode_all(location: Location, names: Sequence[str], image_size: int | None, progress: Callable[[int, int], None]) -> NDArray[np.uint8]:
    """The images, uint8 N x C x H x W, in the order of their names: one channel if all are grey, else three.

    Args:
        location: where the files are.
        names: which are decoded.
        image_size: resize to this many pixels a side, by area-aware bicubic filtering; without it all must have one size.
        progress: called with (done, total).
    """
    images: list[NDArray[np.uint8]] = []
    for part in _decoded_chunks(location, names, image_size):
        images += part
        progress(len(images), len(names))
    for name, image in zip(names, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            sizes = " and ".join(f"{other} is {array.shape[1]}x{array.shape[0]}" for other, array in ((names[0], images[0]), (name, image)))
            raise DataError(f"images in {location.source} differ in size: {sizes}; resize all: --set data.image_size={images[0].shape[0]}")
    channels = max(image.shape[2] for image in images)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images]).transpose(0, 3, 1, 2)


def decode(content: bytes, name: str, image_size: int | None = None) -> NDArray[np.uint8]:
    """One image, uint8 H x W x C, with one channel if it is grey and three if not; transparency is dropped."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter("ignore")
            _check(image, name)
            converted = image.convert("L" if image.mode in _SINGLE_BITS else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise DataError(f"{name} cannot be decoded: {reason}; replace it or remove it") from None
    if image_size:
        converted = converted.resize((image_size, image_size), Image.Resampling.BICUBIC)
    array = np.asarray(converted)
    return array[:, :, None] if array.ndim == 2 else array


def _check(image: Image.Image, name: str) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{name} is {image.width}x{image.height}, expected at most {MOST_PIXELS} pixels")
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{name} has more than 8 bits a channel (mode {image.mode}), expected 8; convert it")


def _decoded_chunks(location: Location, names: Sequence[str], image_size: int | None) -> Iterator[list[NDArray[np.uint8]]]:
    chunks = [(location, names[start : start + _CHUNK], image_size) for start in range(0, len(names), _CHUNK)]
    workers = min(os.cpu_count() or 1, len(chunks))
    if workers == 1 or len(chunks) < 4:  # starting processes would take longer
        yield from map(_decode_chunk, chunks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as executor:
        try:
            yield from executor.map(_decode_chunk, chunks)
        finally:
            executor.shutdown(cancel_futures=True)


def _decode_chunk(chunk: tuple[Location, Sequence[str], int | None]) -> list[NDArray[np.uint8]]:
    location, names, image_size = chunk
    files = _files(location)
    return [decode(files.read(name), name, image_size) for name in names]


# A zip's directory is read once in a process, not once for each chunk.
_files = functools.cache(open_files)
