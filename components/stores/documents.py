"""Objects that say themselves whether they are whole: JSON and safetensors with the SHA-256 of what they
hold, under `seal`. What an earlier lossmap wrote has none, and is taken as it is.
"""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from lossmap.components.core.errors import StoreError
from lossmap.components.core.frozen import Frozen
from lossmap.components.stores.objects import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_SEAL = "seal"
_IS_SEAL = re.compile(r"sha256:[0-9a-f]{64}")
_LENGTH = struct.Struct("<Q")  # of the header of safetensors
_ALIGNMENT = 8  # bytes, of what comes after it
_CURES = (
    (r"runs/[^/]*/experiment\.json", "the run cannot go on: start a new one"),
    (
        r"trainings/[^/]*/(epochs|trajectory.*)/.*",
        "remove the training's folder, {folder}, and train it again by `lossmap run --resume RUN`",
    ),
    (r"studies/.*|connections/.*|paths/.*", "remove it, and run what made it again"),
    (r".*", "`lossmap run --resume RUN` makes it again"),
)

Document = TypeVar("Document", bound=Frozen)


class Damaged(StoreError):
    """An object is not what was written."""


def write_json(store: Store, key: str, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its seal."""
    store.write(key, json.dumps({**value, _SEAL: _seal(value)}).encode())


def load_json(store: Store, key: str) -> Any:
    """A JSON object without its seal.

    Raises:
        StoreError: it is missing.
        Damaged: it is damaged.
    """
    try:
        value = json.loads(store.read(key))
    except (ValueError, RecursionError):
        raise _damaged(store, key, "it is no JSON") from None
    if not isinstance(value, dict):
        raise _damaged(store, key, "it is no JSON object")
    seals = [name for name, text in value.items() if isinstance(text, str) and _IS_SEAL.fullmatch(text)]
    seal = value.pop(_SEAL, None)
    if seals not in ([], [_SEAL]) or (seal is not None and seal != _seal(value)):
        raise _damaged(store, key, "its SHA-256 is not the one written in it")
    return value


def write_document(store: Store, key: str, document: Frozen) -> None:
    """Write a document as JSON with its seal."""
    write_json(store, key, document.model_dump(mode="json"))


def load_document(store: Store, key: str, kind: type[Document]) -> Document:
    """A document of that kind.

    Raises:
        StoreError: it is missing.
        Damaged: it is damaged.
    """
    value = load_json(store, key)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _damaged(store, key, f"it is no {kind.__name__}: {error.errors()[0]['msg']}") from None


def sealed(content: bytes) -> bytes:
    """The content of a safetensors file with its seal in the metadata."""
    header, tensors = _parts(content)
    metadata = {_SEAL: _seal(header, tensors)}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text + tensors


def load_tensors(store: Store, key: str) -> "dict[str, Tensor]":
    """The tensors of a safetensors file by name.

    Raises:
        StoreError: it is missing.
        Damaged: it is damaged.
    """
    return unsealed(store, key, store.read(key))


def unsealed(store: Store, key: str, content: bytes) -> "dict[str, Tensor]":
    """The same of what has been read.

    Raises:
        Damaged: it is.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
        header, data = _parts(content)
    except (SafetensorError, ValueError, struct.error, RecursionError, KeyError):
        raise _damaged(store, key, "it is no safetensors file") from None
    seal = header.pop("__metadata__", {}).get(_SEAL)
    if seal is not None and seal != _seal(header, data):
        raise _damaged(store, key, "its SHA-256 is not the one written in it")
    return tensors


def load_npz(store: Store, key: str) -> "dict[str, NDArray[np.generic]]":
    """The arrays of an .npz archive, which has check sums of its own.

    Raises:
        StoreError: it is missing.
        Damaged: it is damaged.
    """
    from lossmap.components.landscape.grid import from_npz

    content = store.read(key)
    try:
        return from_npz(content)
    except Exception as error:  # of a damaged file it can be any
        raise _damaged(store, key, f"it is no whole .npz archive ({type(error).__name__})") from None


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    return json.loads(content[_LENGTH.size : start]), content[start:]


def _seal(value: Mapping[str, Any], data: bytes = b"") -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode())
    digest.update(data)
    return f"sha256:{digest.hexdigest()}"


def _damaged(store: Store, key: str, what: str) -> Damaged:
    cure = next(cure for pattern, cure in _CURES if re.fullmatch(pattern, key))
    folder = "/".join(key.split("/")[:2])
    return Damaged(f"{store.uri}/{key} is damaged: {what}; {cure.format(folder=folder)}")
