"""The table of rights in k8s/README.md."""

import re

from readmes.documents import ROOT


def rights(command: str) -> list[str]:
    """The actions of S3 that the page says a command needs, such as s3:GetObject."""
    lines = (ROOT / "k8s/README.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("|") and f"`{command}`" in line and "s3:" in line)
    return re.findall(r"`(s3:\w+)`", row)
