"""READMEs speak of the tree, the commands and their output truly."""

import os
import re
import shlex
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
import typer.main
from matplotlib import pyplot
from readmes.documents import READMES, ROOT, Block, Command, blocks, prose
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

from lossmap.components.config.parse import override, parse
from lossmap.components.core.errors import LossmapError
from lossmap.pipelines.cli import app
from lossmap.pipelines.recipes.resolve import resolve
from lossmap.pipelines.studies.named import load

COMMANDS = typer.main.get_command(app).commands
IDS = [str(path.relative_to(ROOT)) for path in READMES]
each_readme = pytest.mark.parametrize("readme", READMES, ids=IDS)


def _commands(program: str) -> list[Command]:
    return [
        command
        for readme in READMES
        for block in blocks(readme)
        for command in block.commands
        if command.program == program
    ]


@each_readme
def test_every_command_stands_in_a_block_of_commands(readme):
    for block in blocks(readme):
        assert block.language in ("", "console", "python", "sh"), block
        assert bool(block.commands) == (block.language in ("console", "sh")), block


@each_readme
def test_blocks_of_commands_do_what_they_show(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOSSMAP_") or name == "KUBECONFIG"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "110")
    for block in [block for block in blocks(readme) if block.is_run]:
        for command in block.commands:
            said = _said(command)
            assert set(command.output) <= {line.rstrip() for line in said.splitlines()}, said
            if command.target:
                (tmp_path / command.target).write_text(said)


def _said(command: Command) -> str:
    """What a command prints; a refusal where one is shown."""
    assert command.program == "lossmap", f"{shlex.join(command.words)}: mark the block not-run"
    found = CliRunner(env=dict(command.environment)).invoke(app, command.words[1:])
    if isinstance(found.exception, LossmapError):
        refusal = f"lossmap: {found.exception}"
        assert refusal in command.output
        return refusal
    assert found.exit_code == 0, found.output
    return found.output


def test_commands_that_are_not_run_are_parsed_and_their_fields_exist():
    commands = [command for command in _commands("lossmap") if not command.words[1].startswith("-")]
    assert len(commands) > 30
    for command in commands:
        _, name, *arguments = command.words
        given = COMMANDS[name].make_context(name, arguments).params
        sets = list(given.get("sets") or [])
        if name == "survey" and given["model"]:
            imported = {"architecture": "imported", "factory": given["model"]}
            override(parse({"name": "x", "data": {"source": given["data"]}, "model": imported}), sets)
        if name == "study" and not given["target"].endswith(".yaml"):
            load(given["target"], given["scale"], sets, given["seeds"])
        for target in given.get("targets") or ():
            if not target.endswith(".yaml"):
                _resolved(target, sets, command)


def _resolved(target: str, sets: list[str], command: Command) -> None:
    try:
        resolve(target, sets)
    except LossmapError as error:
        assert f"lossmap: {error}" in command.output


def test_commands_in_sentences_exist_with_their_options():
    shown = [
        shlex.split(line)[1:]
        for readme in READMES
        for line in re.findall(r"`(lossmap [a-z][^`]*)`", prose(readme))
        if "…" not in line
    ]
    assert len(shown) > 10
    for name, *arguments in shown:
        options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert {word.partition("=")[0] for word in arguments if word.startswith("-")} <= {*options, "--help"}


def test_every_make_target_and_script_that_is_shown_exists():
    targets = set(re.findall(r"^([a-z./-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    made = {word for command in _commands("make") for word in command.words[1:] if "=" not in word}
    assert {"demo", "test", "study-tables"} <= made <= targets
    scripts = {command.words[1] for command in _commands("python")} | {"k8s/kind/up.sh", "k8s/kind/down.sh"}
    assert all((ROOT / script).is_file() for script in scripts)


@each_readme
def test_the_python_that_is_shown_does_what_it_says(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    torch.manual_seed(0)
    inputs, targets = torch.randn(20, 4), torch.arange(20) % 3
    samples = TensorDataset(inputs, targets)
    tokens = torch.randint(0, 9, (20, 5))
    told = {
        "torch": torch,
        "pyplot": pyplot,
        **{name: torch.nn.Linear(4, 3) for name in ("model", "other", "third")},
        **{
            name: [torch.nn.Linear(4, 3).state_dict() for _ in "123"]
            for name in ("sgd_states", "adam_states")
        },
        **{"inputs": inputs, "targets": targets, "numbers": torch.randn(20, 3), "weights": torch.rand(20)},
        "loader": DataLoader(samples, 8, shuffle=True),
        "test_set": samples,
        "language_model": TokensOfOthers(),
        "token_loader": DataLoader([{"input_ids": row, "labels": row} for row in tokens], 8),
    }
    for block in blocks(readme):
        if block.language == "python":
            exec(compile(block.text, str(readme), "exec"), told)
    if "result" in told:
        assert np.isfinite(told["result"].plane.loss).all()
    assert list(tmp_path.iterdir()) == []
    pyplot.close("all")


class TokensOfOthers(torch.nn.Module):
    """A language model that knows its own loss."""

    def __init__(self):
        super().__init__()
        self.embedding, self.last = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9)

    def forward(self, input_ids, labels):
        logits = self.last(self.embedding(input_ids))
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return SimpleNamespace(loss=loss, logits=logits)


@each_readme
def test_links_and_images_lead_somewhere(readme):
    for link in re.findall(r"\]\(([^)]+)\)", prose(readme)):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = readme.parent / path if path else readme
        assert target.exists(), link
        assert not heading or heading in _anchors(target.read_text()), link


def _anchors(text: str) -> set[str]:
    """GitHub's names of the headings."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_command_has_a_heading():
    headings = re.findall(r"^### `lossmap (\w+)`$", (ROOT / "pipelines/README.md").read_text(), flags=re.M)
    assert sorted(headings) == sorted(COMMANDS)


def test_the_lines_that_decide_something_are_where_they_are_said_to_be():
    folder = ROOT / "components"
    _, _, rows = (folder / "README.md").read_text().partition("## Where is …?")
    named = re.findall(r"\]\((\S+\.py)\) `([^`]+)`", rows.partition("\n## ")[0])
    assert len(named) >= 10
    for path, line in named:
        assert line in (folder / path).read_text(), (path, line)


def test_the_first_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


@each_readme
def test_sentences_are_wrapped(readme):
    wide = [
        line for line in prose(readme).splitlines() if len(line) > 110 and not line.startswith(("|", "!["))
    ]
    assert wide == []


def test_a_block_that_is_not_marked_is_run():
    text = "$ lossmap show x \\\n  --set a=1 > y.yaml  # why\nname: x\n…\n\n$ A=1 .venv/bin/lossmap recipes\n"
    block = Block("console", (), text)
    first, second = block.commands
    assert block.is_run
    assert first == Command(("lossmap", "show", "x", "--set", "a=1"), (), "y.yaml", ("name: x",))
    assert (second.program, second.environment, second.output) == ("lossmap", (("A", "1"),), ())
    assert not Block("console", ("not-run",), text).is_run
    assert [command.words for command in Block("sh", (), "lossmap recipes\n# why\n").commands] == [
        ("lossmap", "recipes")
    ]
