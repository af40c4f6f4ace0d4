"""What a person is told to type."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lossmap.components.core.progress import AtMost
from lossmap.pipelines import local
from lossmap.pipelines.screens.console import _command, _next_stage, _Said


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


def test_a_bar_says_how_far_it_is_how_long_it_takes_and_what_comes_next():
    task = SimpleNamespace(fields={"detail": ""}, completed=0, finished=False, time_remaining=None, elapsed=1)
    assert _Said("survey").render(task).plain == ""
    task.fields = {"detail": "points, round 2", "most": AtMost(5346)}
    task.completed = 411
    assert _Said("report").render(task).plain == "411 of at most 5,346 points, round 2 (then report)"
    task.time_remaining = 130
    assert _Said("report").render(task).plain == (
        "411 of at most 5,346 points, round 2 (at most 2 min left, then report)"
    )
    task.fields, task.finished, task.elapsed = {"detail": "", "most": 4}, True, 3
    task.completed = 4
    assert _Said("").render(task).plain == "4/4 (3 s)"


def test_stages_follow_each_other():
    assert [_next_stage(name) for name in local.STAGES] == ["train", "survey", "report", ""]
    assert _next_stage("cells") == ""
