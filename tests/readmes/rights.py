"""The table of rights in k8s/README.md."""

import re

from readmes.documents import ROOT


def rights(who: str) -> list[str]:
    """The actions of S3 that the page says somebody needs, such as s3:GetObject: the first row that names
    them.
    """
    lines = (ROOT / "k8s/README.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("|") and who in line and "s3:" in line)
    return re.findall(r"`(s3:\w+)`", row)
