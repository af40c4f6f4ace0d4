import pytest

from lossmap.components.core.errors import LossmapError
from lossmap.components.core.lines import one_line, shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("images differ", "images differ"),
        ("é, 中, 🙂 and ×", "é, 中, 🙂 and ×"),
        ("first\n  second\r\nthird", "first second third"),
        ("a\tb", "a b"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\x00byte", "zero\\x00byte"),
    ],
)
def test_a_line_has_no_breaks_and_nothing_that_a_terminal_obeys(text, line):
    assert one_line(text) == line
    assert one_line(line) == line
    assert str(LossmapError(text)) == line


def test_of_an_endless_line_beginning_and_end_stay():
    line = one_line(f"begin {'x' * 10**6} end")
    assert line.startswith("begin x")
    assert line.endswith("x end")
    assert len(line) < 3100


def test_values_are_shown_as_python_writes_them_but_not_whole():
    itself = []
    itself.append(itself)
    assert shown({"a": [1, 2.5, "b"]}) == "{'a': [1, 2.5, 'b']}"
    assert shown(16**6000) == "a whole number of 24001 bits"
    assert len(shown("x" * 10**6)) <= 300
    assert len(shown([[["x" * 1000] * 1000] * 1000])) < 10**6
    assert shown(itself) == "[[[[[...]]]]]"
