"""What campaigns share: bounded memory, and a table of what came of their inputs."""

import pytest
from support.campaigns import outcomes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many inputs were read and how many refused, where this process ran the campaigns."""
    for name, count in sorted(outcomes.items()):
        terminalreporter.write_line(f"{count:>9,} {name}")
