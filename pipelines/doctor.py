"""Placeholder to be replaced by the tooling piece."""
from dataclasses import dataclass
@dataclass(frozen=True)
class Finding:
    name: str; ok: bool; detail: str; cure: str
def examine(store, tracking): return []
