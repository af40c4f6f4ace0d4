"""What a zip archive says that it unpacks to, looked at before anything is unpacked."""

import io
import zipfile

MOST_COMPRESSION = 200  # times; images and weights hardly shrink
MOST_UNPACKED = 2**30  # bytes that may be compressed more, as masks and zeros are


def check_unpacked(content: bytes) -> None:
    """Refuse an archive that would unpack to far more than it holds. What is no archive passes.

    Raises:
        ValueError: with both sizes.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > max(MOST_UNPACKED, MOST_COMPRESSION * len(content)):
        raise ValueError(
            f"it would unpack from {len(content)} to {size} bytes, and is not opened; compress it less"
        )
