"""The surface of the command line is listed, so that it grows on purpose; the README speaks of it truly."""

import os
import re
import shlex
from pathlib import Path

import typer.main

from lossmap.pipelines.cli import app

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/cli.txt"
README = (ROOT / "README.md").read_text()


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


def _commands_in_readme():
    blocks = re.findall(r"```(sh|console)\n(.*?)```", README, flags=re.DOTALL)
    typed = [
        line
        for kind, block in blocks
        for line in block.replace("\\\n", " ").splitlines()
        if kind == "sh" or line.startswith("$ ")
    ]
    lines = [line.removeprefix("$ ").partition(" #")[0].strip() for line in typed]
    return [
        shlex.split(line) for line in lines if line.startswith(("lossmap ", "make ", ".venv/bin/lossmap "))
    ]


def test_every_lossmap_command_in_the_readme_exists_with_its_options():
    commands = [words[1:] for words in _commands_in_readme() if words[0].endswith("lossmap")]
    assert len(commands) >= 5
    surface = _surface()
    for name, *arguments in commands:
        assert name in surface, name
        options = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
        assert options <= set(surface[name]), (name, options)


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    used = [words[1] for words in _commands_in_readme() if words[0] == "make"]
    assert {"demo", "test"} <= set(used)
    assert set(used) <= targets


def test_every_link_in_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    for link in links:
        if "://" not in link:
            assert (ROOT / link).exists(), link
