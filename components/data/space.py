"""Room for arrays that may be larger than memory: beyond a limit they are in a file, which is gone with
them.
"""

import math
import os
import tempfile

import numpy as np
from numpy.typing import NDArray

from lossmap.components.core.errors import DataError

MOST_IN_MEMORY = 2**30  # bytes of one array


def room(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A new array of bytes. The system writes those of a file to the disk as it needs memory.

    Raises:
        DataError: the folder for temporary files has no such room.
    """
    size = math.prod(shape)
    if size <= MOST_IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            raise DataError(
                f"{tempfile.gettempdir()} has no room for {size} bytes of samples: {error.strerror}; free"
                " some, or name another folder by TMPDIR"
            ) from None
        return np.memmap(file, np.uint8, "r+", shape=shape)


def _reserve(file: int, size: int) -> None:
    """Where a disk is full, this fails, and not the writing later, which would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
