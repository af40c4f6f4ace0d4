"""The tables of rights in k8s/README.md: of accounts at Amazon's S3, and of those in the cluster."""

import re

from readmes.documents import ROOT

_README = ROOT / "k8s/README.md"
_ROW = re.compile(
    r"\| `(?P<holder>lossmap-[a-z]+)` in `(?P<namespace>\w+)` \| (?P<verbs>[^|]+) \| (?P<of>[^|]+) \|"
)


def rights(who: str) -> list[str]:
    """The actions of S3 that the page says somebody needs, such as s3:GetObject: the first row that names
    them.
    """
    lines = _README.read_text().splitlines()
    row = next(line for line in lines if line.startswith("|") and who in line and "s3:" in line)
    return re.findall(r"`(s3:\w+)`", row)


def cluster_rights() -> dict[tuple[str, str], set[str]]:
    """Rights as `verb resource.group/subresource=name`, by account or role and its namespace."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in _ROW.finditer(_README.read_text()):
        own = found.setdefault((row["holder"], row["namespace"]), set())
        resources = re.findall(r"`([^`]+)`", row["of"])
        own |= {f"{verb} {resource}" for verb in re.findall(r"\w+", row["verbs"]) for resource in resources}
    return found
