"""Nested fields by one name each, and numbers as text that other programs read."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def plain(value: Any) -> Any:
    """JSON values; NaN and infinity become the texts NaN, Infinity and -Infinity."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(float(value))]
    return value


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields of nested mappings by their dotted names, and their values. An empty mapping has none."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as comma-separated values, with a header; what a row does not have is empty."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
