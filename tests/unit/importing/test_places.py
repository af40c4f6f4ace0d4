"""Which files `--checkpoints` names, and in which order."""

import logging

import pytest

from lossmap.components.core.errors import ExperimentError
from lossmap.components.importing.places import trajectories
from lossmap.components.stores.objects import open_store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with checkpoints as Lightning names them, and what lies beside them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in ("epoch=2-step=20.ckpt", "epoch=10-step=100.ckpt", "epoch=1-step=10.ckpt", "log.txt"):
        (tmp_path / "run" / name).touch()
    for name in ("a1.pt", "a2.pt", "a10.pt"):
        (tmp_path / name).touch()
    return tmp_path


def _found(*words):
    return {path.label: [each.weights for each in path.checkpoints] for path in trajectories(words)}


IN_ORDER = [f"run/epoch={epoch}-step={10 * epoch}.ckpt" for epoch in (1, 2, 10)]


@pytest.mark.parametrize("word", ["run", "run/", "run/*.ckpt", "run/epoch=*", "**/*.ckpt"])
def test_a_folder_or_a_pattern_is_in_the_order_of_numbers(word, folder):
    assert _found(word) == {"": IN_ORDER}


def test_files_are_in_the_order_given(folder):
    assert _found("a2.pt", "a10.pt", "a1.pt") == {"": ["a2.pt", "a10.pt", "a1.pt"]}
    assert _found("a10.pt", "run") == {"": ["a10.pt", *IN_ORDER]}


def test_what_a_shell_makes_of_a_pattern_is_in_the_order_of_numbers_which_is_told(folder, caplog):
    with caplog.at_level(logging.WARNING):
        assert _found("a1.pt", "a10.pt", "a2.pt") == {"": ["a1.pt", "a2.pt", "a10.pt"]}
    assert caplog.messages == [
        "  note: checkpoints are in the order of their numbers, a1.pt, a2.pt, a10.pt, and not of their"
        " letters, in which a shell puts them: a1.pt, a10.pt, a2.pt"
    ]


def test_labels_begin_paths_and_names_with_an_equals_sign_are_no_labels(folder):
    assert _found("sgd=a1.pt", "a2.pt", "adam=run") == {"sgd": ["a1.pt", "a2.pt"], "adam": IN_ORDER}
    assert _found(*IN_ORDER) == {"": IN_ORDER}
    assert _found("sgd=run/epoch=*") == {"sgd": IN_ORDER}
    (folder / "epoch=1.pt").touch()
    assert _found("epoch=1.pt", "a1.pt") == {"": ["epoch=1.pt", "a1.pt"]}


def test_a_key_is_that_of_every_file(folder):
    assert _found("a*.pt:ema") == {"": ["a1.pt:ema", "a2.pt:ema", "a10.pt:ema"]}
    assert _found("run:ema") == {"": [f"{each}:ema" for each in IN_ORDER]}


def test_files_in_s3(s3):
    store = open_store(s3)
    for name in ("c/2.pt", "c/10.pt", "c/1.pt", "c/note.txt", "c/deeper/3.pt"):
        store.write(name, b"")
    expected = {"": [f"{s3}/c/{number}.pt" for number in (1, 2, 10)]}
    assert _found(f"{s3}/c/") == expected
    assert _found(f"{s3}/c/*.pt") == expected


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("a1.pt",),
            "--checkpoints is one file (a1.pt), expected two or more that make a path; for the network itself"
            " there is --weights",
        ),
        (("sgd=a1.pt", "adam=run"), "--checkpoints of sgd is one file (a1.pt), expected two or more"),
        (("a1.pt", "a2.pt", "a1.pt"), "--checkpoints names a1.pt twice, expected each file once"),
        (("a1.pt", "b.pt"), "--checkpoints has 'b.pt', where no file of weights is; expected a file,"),
        (("none/*.pt",), "--checkpoints has 'none/*.pt', where no file of weights is"),
    ],
)
def test_what_makes_no_path_is_refused_in_one_line(words, line, folder):
    with pytest.raises(ExperimentError) as refused:
        trajectories(words)
    assert str(refused.value).startswith(line)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(ExperimentError, match=r"^--checkpoints has 'empty', where no file of weights is"):
        trajectories(["empty"])
