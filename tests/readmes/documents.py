"""The READMEs, the fenced blocks in them, and the commands in these.

A block of commands is run by the tests, whole and in an empty folder. One that takes minutes, a cluster or
files of the reader's own has `not-run` behind its language, and its commands are parsed only.
"""

import re
import shlex
import textwrap
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[2]
READMES = [
    ROOT / "README.md",
    *sorted(
        path
        for folder in ("components", "pipelines", "k8s", "tests")
        for path in (ROOT / folder).rglob("*.md")
    ),
]
NOT_RUN = "not-run"
ELLIPSIS = "…"
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<marks>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
_VARIABLE = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Command:
    """One command and what it is said to print.

    Attributes:
        words: as a shell splits them, without variables and redirections.
        environment: the variables before it.
        target: the file that its output goes to.
        output: the lines below it, without those that stand for others.
    """

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    target: str | None
    output: tuple[str, ...]

    @property
    def program(self) -> str:
        """Its first word, without folders."""
        return self.words[0].rpartition("/")[2]


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def is_run(self) -> bool:
        """Whether it is a block of commands that the tests run."""
        return self.language in ("sh", "console") and NOT_RUN not in self.marks

    @property
    def commands(self) -> list[Command]:
        """What is typed: every line of `sh`, the lines of `console` that begin with a prompt."""
        return [command for typed, *shown in self._typed() for command in _command(typed, shown)]

    def _typed(self) -> list[list[str]]:
        """Each line that is typed, with the lines that it prints."""
        text = self.text.replace("\\\n", " ")
        if self.language == "sh":
            return [[line] for line in text.splitlines()]
        if self.language == "console":
            return [part.splitlines() for part in re.split(r"^\$ ", text, flags=re.M)[1:]]
        return []


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a README."""
    return [
        Block(found["language"], tuple(found["marks"].split()), textwrap.dedent(found["text"]))
        for found in _BLOCK.finditer(document.read_text())
    ]


def prose(document: Path) -> str:
    """A README without its fenced blocks."""
    return _BLOCK.sub("", document.read_text())


def _command(line: str, shown: list[str]) -> list[Command]:
    words = shlex.split(line, comments=True)
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], words[words.index(">") + 1]
    variables = list(takewhile(_VARIABLE.match, words))
    environment = tuple((name, value) for name, _, value in (each.partition("=") for each in variables))
    words = words[len(variables) :]
    output = tuple(each.rstrip() for each in shown if each.strip() and each.strip() != ELLIPSIS)
    return [Command(tuple(words), environment, target, output)] if words else []
