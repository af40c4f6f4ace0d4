"""Texts and values of others in one line that a terminal can show."""

import re
import reprlib
from typing import Any

_MOST = 3000  # characters; of more, what lies in the middle is left out
_END = 800  # of these, where messages say what to do next
_MOST_BITS = 256


def one_line(text: str) -> str:
    """The text with spaces for line breaks and tabs, and escapes for what else a terminal would
    obey and not show: it may quote names and values out of files of others.
    """
    if len(text) > _MOST:
        text = f"{text[: _MOST - _END]} … {text[-_END:]}"
    text = re.sub(r"\s*[\n\r\t\v\f\x85\u2028\u2029]\s*", " ", text)
    return text if text.isprintable() else "".join(map(_printable, text))


def shown(value: Any) -> str:
    """A value as Python writes it, cut short where it holds much, is deep, or holds itself."""
    return _BRIEF.repr(value)


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 20
        self.maxstring = self.maxother = 300

    def repr_int(self, value: int, _level: int) -> str:
        """Python refuses to write very long ones."""
        bits = value.bit_length()
        return repr(value) if bits <= _MOST_BITS else f"a whole number of {bits} bits"


_BRIEF = _Brief()


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
