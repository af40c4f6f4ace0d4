"""Texts without the secrets that other libraries quote in them."""

import os
import re

from lossmap.components.core.lines import one_line

_VARIABLES = re.compile(
    r"(LOSSMAP_DATA_)?AWS_(SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN)|MLFLOW_TRACKING_(TOKEN|PASSWORD)"
)
_SHORTEST = 8  # what is shorter may be an ordinary word
_IN_ADDRESSES = re.compile(r"://[^/\s]*@")
_IN_HEADERS = re.compile(r"\b(Bearer|Basic) +[^\s'\"\\]+")


def without_password(text: str) -> str:
    """An address, or a text with addresses, without users and passwords."""
    return _IN_ADDRESSES.sub("://", text)


def public_line(text: str) -> str:
    """A text as one line that everybody may read."""
    return one_line(without_secrets(text))


def without_secrets(text: str) -> str:
    """A text without what the environment holds of keys, tokens and passwords, without users and passwords in
    addresses, and without what a header says of who asks.
    """
    for name, value in os.environ.items():
        if _VARIABLES.fullmatch(name) and len(value.strip()) >= _SHORTEST:
            text = text.replace(value.strip(), "…")
    return _IN_HEADERS.sub(r"\1 …", without_password(text))
