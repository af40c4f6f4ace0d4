"""Amounts of CPU and memory, as Kubernetes writes them."""

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

_NUMBER = r"(\d+\.?\d*|\.\d+)"
_CPU = re.compile(rf"{_NUMBER}(m?)")
_MEMORY = re.compile(rf"{_NUMBER}([kMGTPE]|[KMGTPE]i|[eE][+-]?\d+|)")
_DECIMAL = {unit: 1000**power for power, unit in enumerate("kMGTPE", 1)}
_BINARY = {f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", 1)}
_LEAST_MEMORY = 1 << 20


def millicores(cpu: str) -> int:
    """An amount of CPU in thousandths of a core, rounded up as Kubernetes does."""
    number, unit = _match(_CPU, cpu, "CPU", "a number of cores such as 500m, 0.5 or 2")
    return math.ceil(Decimal(number) * (1 if unit else 1000))


def whole_bytes(memory: str) -> int:
    """An amount of memory in bytes, rounded up as Kubernetes does."""
    number, unit = _match(_MEMORY, memory, "memory", "an amount such as 500Mi, 1.5Gi or 2G")
    factor = {**_DECIMAL, **_BINARY}.get(unit) or Decimal(f"1{unit}")
    return math.ceil(Decimal(number) * factor)


def _match(pattern: re.Pattern[str], text: str, what: str, expected: str) -> tuple[str, str]:
    found = pattern.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no amount of {what}, expected {expected}")
    return found[1], found[2]


def _number_as_text(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value  # YAML reads 2 as a number


def _some_cpu(cpu: str) -> str:
    if not millicores(cpu):
        raise ValueError(f"{cpu!r} is no CPU at all, expected at least 1m")
    return cpu


def _some_memory(memory: str) -> str:
    if whole_bytes(memory) < _LEAST_MEMORY:
        raise ValueError(
            f"{memory!r} is less than a megabyte, expected at least 1Mi; does a unit such as Gi miss?"
        )
    return memory


Cpu = Annotated[
    str,
    BeforeValidator(_number_as_text),
    AfterValidator(_some_cpu),
    Field(description="cores, such as 500m, 0.5 or 2"),
]
Memory = Annotated[
    str,
    BeforeValidator(_number_as_text),
    AfterValidator(_some_memory),
    Field(description="bytes, such as 500Mi, 1.5Gi or 2G"),
]
