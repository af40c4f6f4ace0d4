"""Files that hold a network's weights: one, or an index and the parts that it lists. Nothing here waits for
torch.
"""

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any

from lossmap.components.core.errors import ExperimentError
from lossmap.components.data.files import read_file

INDEX = ".index.json"  # the ending of a list of parts, as Hugging Face's libraries write it
_DISTRIBUTED = ".metadata"  # the file that a folder of torch.distributed.checkpoint has


def read_parts(place: str, field: str) -> dict[str, bytes]:
    """Content by place: of one file, or of an index and then of every file that it lists, which lie beside
    it.

    Args:
        place: path or s3:// URI.
        field: of the experiment, for messages.

    Raises:
        DataError: one of them cannot be read.
        ExperimentError: the index is damaged, or lists files that are not beside it.
    """
    content = read_file(place, field)
    if not place.lower().endswith(INDEX):
        return {place: content}
    folder = place.rpartition("/")[0]
    names = dict.fromkeys(listed_parts(content, place).values())
    places = [f"{folder}/{name}" if folder else name for name in names]
    return {place: content} | {each: read_file(each, f"a part of {field}") for each in places}


def parts_sha256(parts: dict[str, bytes]) -> str:
    """SHA-256 over what read_parts found: of one file, the file's own."""
    digest = hashlib.sha256()
    for content in parts.values():
        digest.update(content)
    return digest.hexdigest()


def listed_parts(content: bytes, place: str) -> dict[str, str]:
    """Names of files by the names of the tensors that they hold, as an index has them.

    Raises:
        ExperimentError: it has none, or one that is no plain name of a file.
    """
    try:
        found: Any = json.loads(content)["weight_map"]
        plain = all(PurePosixPath(name).name == name and "\\" not in name for name in found.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found, plain = None, False
    if not (found and plain):
        raise ExperimentError(
            f"{place} is no index of weights in several files, expected JSON whose weight_map has the names"
            " of files beside it by the names of tensors"
        )
    return dict(found)


def refuse_distributed(place: str, names: list[str]) -> None:
    """Refuse a folder that torch.distributed.checkpoint wrote, whose table is a pickle.

    Args:
        place: of the folder.
        names: of the files in it.

    Raises:
        ExperimentError: it is one, with how one file is made of it.
    """
    if _DISTRIBUTED in names:
        raise ExperimentError(
            f"{place} is a checkpoint of torch.distributed.checkpoint, whose table of contents is a pickle"
            " and could run code; where you trust it, make one file of it: python -m"
            f" torch.distributed.checkpoint.format_utils dcp_to_torch {place} FILE.pt"
        )
