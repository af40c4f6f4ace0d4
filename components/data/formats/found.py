"""What a file of tensors holds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Value = Tensor | NDArray[np.str_]  # texts are names of classes


@dataclass(frozen=True)
class Found:
    """Tensors by the names that the file gives them.

    Attributes:
        values: by name; a file of one array gives it none.
        notes: lines for people on what was chosen.
        columns: of a table.
    """

    values: dict[str, Value]
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def as_value(value: Any) -> Value:
    """An array as a tensor; texts stay as they are, and so do tensors, without what made them.

    Raises:
        TypeError: it holds neither numbers nor texts.
    """
    if isinstance(value, Tensor):
        return value.detach().to_dense()
    array: NDArray[Any] = np.asarray(value)
    if array.dtype.kind in "US":
        texts: NDArray[np.str_] = array.astype(np.str_)
        return texts
    native = array.astype(array.dtype.newbyteorder("="), copy=False)  # torch takes no other order
    return torch.from_numpy(np.ascontiguousarray(native).reshape(array.shape))
