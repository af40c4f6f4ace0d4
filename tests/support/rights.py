"""The table of k8s/README.md, "Who may do what", as rights: `verb resource.group/subresource=name`."""

import re
from pathlib import Path

_README = Path(__file__).parents[2] / "k8s/README.md"
_ROW = re.compile(
    r"\| `(?P<holder>lossmap-[a-z]+)` in `(?P<namespace>\w+)` \| (?P<verbs>[^|]+) \| (?P<of>[^|]+) \|"
)


def documented() -> dict[tuple[str, str], set[str]]:
    """Rights by account or role and its namespace."""
    rights: dict[tuple[str, str], set[str]] = {}
    for row in _ROW.finditer(_README.read_text()):
        own = rights.setdefault((row["holder"], row["namespace"]), set())
        resources = re.findall(r"`([^`]+)`", row["of"])
        own |= {f"{verb} {resource}" for verb in re.findall(r"\w+", row["verbs"]) for resource in resources}
    return rights
