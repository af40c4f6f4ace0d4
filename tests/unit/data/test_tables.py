import numpy as np
import pytest
import torch

from lossmap.components.core.errors import DataError
from lossmap.components.data.formats.table import read_table


def _read(text, name="a.csv", target=None, keep=False):
    return read_table(text.encode(), name, target, keep)


def _refused(text, **settings):
    with pytest.raises(DataError) as refused:
        _read(text, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("header", ["a,b,y\n", ""])
def test_the_last_column_is_the_target_and_a_line_of_names_is_none_of_the_samples(name, header):
    text = f"{header}1,2.5,0\n3,-4e1,2\n"
    found = _read(text.replace(",", "\t") if name == "a.tsv" else text, name)
    assert found.values["inputs"].tolist() == [[1, 2.5], [3, -40]]
    assert found.values["inputs"].dtype == torch.float32
    assert found.values["targets"].tolist() == [0, 2]
    assert found.values["targets"].dtype == torch.int64
    named = "its first line names the columns; target y; inputs a, b"
    unnamed = "no line names the columns; target column 3; inputs column 1, column 2"
    assert found.notes == (f"{name} has 2 samples; {named if header else unnamed}",)


@pytest.mark.parametrize(
    "text",
    [
        "a;b;y\n1;2;0\n3;4;1\n",
        '"a", "b", "y"\r\n1, 2, 0\r\n3, 4, 1\r\n',
        "\ufeffa,b,y\n1,2,0\n\n3,4,1",
        "0,1,2\n1,2,0\n3,4,1\n",  # names of columns as pandas writes them of an array
    ],
)
def test_tables_as_other_programs_write_them(text):
    found = _read(text)
    assert found.values["inputs"].tolist() == [[1, 2], [3, 4]]
    assert found.values["targets"].tolist() == [0, 1]


def test_any_column_can_be_the_target():
    found = _read("a,b,y\n1,2,0\n3,4,1\n", target="b")
    assert found.values["inputs"].tolist() == [[1, 0], [3, 1]]
    assert found.values["targets"].tolist() == [2, 4]
    assert _refused("a,b\n1,2\n", target="c") == "data.target is 'c', expected a column of a.csv: a, b"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "label,p,q\n7,0,255\n3,1,4\n",
            "a.csv has a column label, and q is its last one, which is predicted unless data.target names"
            " another: expected data.target=label or data.target=q",
        ),
        ("a,y\n1_000,0\n2,1\n", "a.csv has '1_000', which is no number, in line 2, a; "),
        ("a,y\n1,0\n2,9223372036854775808\n", "a.csv has 9223372036854775808, which has more than 64 bits, "),
    ],
)
def test_what_would_be_read_as_something_else_is_one_line(text, line):
    assert _refused(text).startswith(line)


def test_texts_are_targets_as_they_are_and_numbers_with_points_are_floats():
    found = _read("5.1,3.5,setosa\n4.9,3.0,virginica\n")
    assert found.values["targets"].tolist() == ["setosa", "virginica"]
    assert len(found.values["inputs"]) == 2
    floats = _read("a,y\n1,0.5\n2,1\n").values["targets"]
    assert (floats.dtype, floats.tolist()) == (torch.float32, [0.5, 1])


def test_a_column_that_counts_the_rows_is_left_out_and_told():
    found = _read(",a,y\n0,5,1\n1,6,0\n")
    assert found.values["inputs"].tolist() == [[5], [6]]
    assert found.notes[0] == "the first column of a.csv counts its rows and is left out"


@pytest.mark.parametrize("missing", ["", "NA", "nan", "NULL", "?"])
def test_missing_numbers_are_told_by_line_and_column_and_can_be_kept(missing):
    text = f"a,b,y\n1,2,0\n3,{missing},1\n4,{missing},1\n"
    assert _refused(text) == (
        f"a.csv has no number (NaN): {missing!r} in line 3, b, and in 1 more lines; fill it or leave the line"
        " out"
    )
    found = _read(text, keep=True).values["inputs"].numpy()
    np.testing.assert_array_equal(found, [[1, 2], [3, np.nan], [4, np.nan]])
    assert "in line 3, y; fill it" in _refused("a,y\n1,cat\n2,\n3,dog\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "a,b,y\n1,red,0\n",
            "a.csv has 'red', which is no number, in line 2, b; write the column as numbers",
        ),
        ("a,b,y\n1,2,0\n1,2\n", "a.csv has 2 cells in line 3 and 3 in its first, expected as many"),
        ("a,b,y\n1,inf,0\n", "a.csv has no number (NaN): 'inf' in line 2, b; fill it"),
        ("a,a,y\n1,2,0\n", "a.csv has two columns of one name: a, a, y; rename one"),
        ("y\n1\n", "a.csv has one column, y, expected inputs beside the target"),
        ("", "a.csv is empty, expected a sample in each line"),
        ("a,b\n", "a.csv has names of columns and no samples"),
    ],
)
def test_what_is_no_table_of_numbers_is_one_line(text, line):
    assert _refused(text).startswith(line)


def test_other_encodings_are_one_line():
    with pytest.raises(DataError, match=r"^a.csv cannot be read as a table in UTF-8: "):
        read_table("ä,b\n1,2\n".encode("latin-1"), "a.csv", None, False)
