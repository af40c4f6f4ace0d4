"""The surface of the command line is listed, so that it grows on purpose."""

import os
from pathlib import Path

import typer.main

from lossmap.pipelines.cli import app

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/cli.txt"


def _surface():
    commands = typer.main.get_command(app).commands
    options = {
        name: [option for parameter in command.params for option in parameter.opts]
        for name, command in commands.items()
    }
    return {
        name: sorted(option for option in found if option.startswith("-")) for name, found in options.items()
    }


def test_commands_and_options_are_the_listed_ones():
    lines = "".join(
        f"{name} {' '.join(options)}".rstrip() + "\n" for name, options in sorted(_surface().items())
    )
    if os.environ.get("LOSSMAP_UPDATE_GOLDEN"):
        GOLDEN.write_text(lines)
    assert GOLDEN.read_text() == lines


def test_every_command_has_help():
    assert all(command.help for command in typer.main.get_command(app).commands.values())
