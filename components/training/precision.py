"""The number type of the forward and backward pass."""

from typing import Literal

import torch

from lossmap.components.core.bfloat16 import of_device
from lossmap.components.core.errors import TrainingError
from lossmap.components.training.distributed import Group

Precision = Literal["float32", "bfloat16", "float16"]
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve(asked: Literal["auto"] | Precision, group: Group) -> Precision:
    """The type that a training begins in: auto is bfloat16 where every process is faster in it, else
    float32.

    Raises:
        TrainingError: bfloat16 is asked for, and this process's device has no instructions for it.
    """
    if asked != "auto":
        require(asked, group, f"training.precision is {asked}", "set training.precision=auto, or float32")
        return asked
    is_slower, *_ = group.any(not of_device(group.device).is_faster)
    return "float32" if is_slower else "bfloat16"


def require(precision: Precision, group: Group, who: str, cure: str) -> None:
    """See to it that this process's device has instructions for a type.

    Raises:
        TrainingError: it has not; the message begins with `who`, and ends with the cure.
    """
    lacking = of_device(group.device).lacking
    if precision == "bfloat16" and lacking:
        raise TrainingError(f"{who}, and {lacking}; {cure}")
