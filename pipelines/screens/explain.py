"""Measures on the screen: what they are, and what they cannot say."""

import re
from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lossmap.components.config.definitions import definition
from lossmap.components.config.explanations import docstring, explanation
from lossmap.pipelines.screens.console import console


def show_measures(names: Sequence[str]) -> None:
    """All measures, each with its definition."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name in names:
        table.add_row(name, Text(definition(name)))
    console.print(table)


def show_explanation(name: str, others: Sequence[str]) -> None:
    """One measure whole, and the names of others that may have been meant."""
    found = explanation(name)
    console.print(Text(name, style="bold"))
    _paragraph(definition(name))
    _paragraph(f"Unit: {found.unit}.")
    _paragraph(f"How sure: {found.certainty}")
    if found.silence:
        _paragraph("What it cannot say:")
        for sentence in found.silence:
            _paragraph(f"- {sentence}")
    for place in found.computed:
        console.print(Text(f"\n{place}", style="dim"))
        for paragraph in re.split(r"\n\s*\n|\n(?=- )", docstring(place)):
            _paragraph(paragraph)
    if others:
        console.print(Text(f"\nAlso: {', '.join(others)}"))


def _paragraph(text: str) -> None:
    console.print(Padding(Text(" ".join(text.split())), (0, 0, 0, 2)))
