"""How devices compute in bfloat16."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

_LEAST_CUDA = (8, 0)


@dataclass(frozen=True)
class Bfloat16:
    """How a device computes in bfloat16.

    Attributes:
        lacking: why it has no instructions for it, so that torch converts to float32 and back, which is
            slower than float32; empty where it has them.
        is_faster: whether training is faster in it than in float32.
    """

    lacking: str
    is_faster: bool


def of_device(device: torch.device) -> Bfloat16:
    """How this process's device does."""
    if device.type != "cuda":
        return of_processor(capabilities())
    found = torch.cuda.get_device_capability(device)
    if found >= _LEAST_CUDA:
        return Bfloat16("", True)
    capability = ".".join(map(str, found))
    return Bfloat16(f"this GPU's compute capability is {capability}, expected 8.0 at least", False)


def capabilities() -> Mapping[str, Any]:
    """Name and instructions of this processor, as torch knows them; nothing where it is too old to tell."""
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found


def of_processor(known: Mapping[str, Any]) -> Bfloat16:
    """How a processor does, by its instructions and its name as `capabilities` gives them.

    AMX, and AVX512-BF16 of AMD's processors, multiply twice as many numbers at a time as in float32. Intel's
    AVX512-BF16 does not: a Xeon without AMX trained ResNet-20 at 0.8 times float32's speed.
    """
    if known.get("amx_bf16"):
        return Bfloat16("", True)
    if known.get("avx512_bf16"):
        return Bfloat16("", str(known.get("cpu_name", "")).startswith("AMD"))
    if not known:
        return Bfloat16("this torch does not tell whether the processor has instructions for it", False)
    return Bfloat16("this processor has no instructions for it (avx512_bf16, amx_bf16)", False)
