"""What a person is told to type."""

import sys
from pathlib import Path

import pytest

from lossmap.pipelines.screens.console import _command


@pytest.fixture
def beside_python(tmp_path, monkeypatch):
    """An environment with lossmap in it, whose Python runs; nothing is on the path."""
    own = tmp_path / "bin" / "lossmap"
    own.parent.mkdir()
    own.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path))
    return own


@pytest.mark.parametrize("typed", ["-c", "", "-", "<stdin>", "/gone/ipykernel_launcher.py", "no/lossmap"])
def test_where_python_was_called_lossmap_is_the_one_beside_it(typed, beside_python, monkeypatch):
    monkeypatch.setattr(sys, "argv", [typed])
    assert _command() == str(beside_python)
    monkeypatch.setenv("PATH", str(beside_python.parent))
    assert _command() == "lossmap"


def test_another_lossmap_on_the_path_is_not_this_one(beside_python, tmp_path, monkeypatch):
    other = tmp_path / "other" / "lossmap"
    other.parent.mkdir()
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert _command() == str(beside_python)
    monkeypatch.setattr(sys, "argv", [str(other)])
    assert _command() == "lossmap"


def test_without_any_file_of_that_name_it_is_called_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert Path(_command()).name == "lossmap"
