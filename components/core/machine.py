"""What a machine has to have, whatever is computed: folders that can be written, and semaphores."""

import errno
import multiprocessing
import os
import tempfile

from lossmap.components.core.errors import LossmapError

_ROOM = 2**20  # bytes; far less than anything needs, so that what is refused would fail
_TEMPORARY = "free space, or name another folder by TMPDIR"
_FULL = "the disk is full: free space, or choose another folder with --store, or TMPDIR"
# What the system refuses through no fault of the program.
_CURES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "it can only be read: choose another folder with --store, or TMPDIR",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine: close some",
    errno.ENOMEM: "close other programs, or take fewer processes and workers",
    errno.EAGAIN: "too many processes: raise `ulimit -u`, or take fewer processes and workers",
    errno.EIO: "look at the disk",
    errno.ESTALE: "the network's file system has lost it: mount it again",
}


def explanation(error: OSError) -> str | None:
    """One line with the cure, where the machine is to blame; None where the program may be."""
    # tempfile's own words, with the errno of a file that is not there
    homeless = str(error.strerror).startswith("No usable temporary directory")
    cure = _TEMPORARY if homeless else _CURES.get(error.errno or 0)
    return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror}; {cure}" if cure else None


def require_current_folder() -> None:
    """See to it that there is a current folder.

    Raises:
        LossmapError: somebody has removed it.
    """
    try:
        os.getcwd()
    except OSError:
        raise LossmapError("the current folder is not there any more; change to another") from None


def require_temporary_folder() -> str:
    """See to it that there is room for temporary files; returns where.

    Raises:
        LossmapError: there is not.
    """
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        raise LossmapError(f"{error.strerror}; {_TEMPORARY}") from None
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_ROOM))
            file.flush()
    except OSError as error:
        raise LossmapError(
            f"the folder for temporary files, {folder}, takes none: {error.strerror}; {_TEMPORARY}"
        ) from None
    return folder


def require_semaphores() -> str:
    """See to it that processes can wait for each other; returns by way of what.

    Raises:
        LossmapError: they cannot, as in a container whose /dev/shm can only be read.
    """
    try:
        multiprocessing.get_context("fork").Lock()  # which leaves no name behind
    except OSError as error:
        raise LossmapError(
            f"processes cannot wait for each other, which they do by way of /dev/shm: {error.strerror}; mount"
            " one that can be written, as Docker does by --shm-size=256m"
        ) from None
    return "/dev/shm"


def require_device(device: str, field: str) -> None:
    """See to it that torch has what `field` asks for.

    Raises:
        LossmapError: it has not.
    """
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise LossmapError(
            f"{field} is cuda, and torch sees no GPU on this machine; choose cpu, or look at what `lossmap"
            " doctor` says of GPUs"
        )
