""".csv and .tsv: one sample in each row, numbers in the columns, and one column that is predicted."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lossmap.components.core.errors import DataError
from lossmap.components.data.formats.found import Found, Value

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a"}
_SEPARATORS = (",", ";", "\t")
_CALLED = {"target", "targets", "label", "labels", "class", "y"}
_SHOWN = 8
_MOST_DIGITS = 19  # of 2**63


@dataclass(frozen=True)
class Table:
    """Cells as texts.

    Attributes:
        name: of the file, for messages.
        columns: names of the columns; their numbers from 1 on where the file names none.
        rows: the cells of each row.
        lines: for each row its line in the file.
        named: whether the file names its columns.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    named: bool


def read_table(content: bytes, name: str, target: str | None, keep: bool) -> Found:
    """Inputs, float32 N x (columns - 1), and targets: int64 of whole numbers, float32 of others, or texts.

    Args:
        content: of the file.
        name: of the file.
        target: the column that is predicted; the last without it.
        keep: whether missing numbers become NaN.

    Raises:
        DataError: with line and column of what is no number, or is missing.
    """
    table, notes = _without_row_numbers(_parsed(content, name))
    place = _target(table, target)
    others = [index for index in range(len(table.columns)) if index != place]
    if not others:
        raise DataError(f"{name} has one column, {table.columns[0]}, expected inputs beside the target")
    inputs = np.stack([_numbers(table, index, keep) for index in others], axis=1)
    targets = _targets(table, place, keep)
    described = _described([table.columns[index] for index in others])
    header = "its first line names the columns" if table.named else "no line names the columns"
    notes.append(
        f"{name} has {len(table.rows)} samples; {header}; target {table.columns[place]}; inputs {described}"
    )
    values: dict[str, Value] = {"inputs": torch.from_numpy(inputs.astype(np.float32)), "targets": targets}
    return Found(values, tuple(notes), table.columns)


def _parsed(content: bytes, name: str) -> Table:
    try:
        text = content.decode("utf-8-sig")
        separator = "\t" if name.lower().endswith(".tsv") else _separator(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
        pairs = [(reader.line_num, tuple(cell.strip() for cell in row)) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} cannot be read as a table in UTF-8: {error}") from None
    if not pairs:
        raise DataError(f"{name} is empty, expected a sample in each line")
    width = len(pairs[0][1])
    for line, row in pairs:
        if len(row) != width:
            raise DataError(
                f"{name} has {len(row)} cells in line {line} and {width} in its first, expected as many"
            )
    lines, rows = zip(*pairs, strict=True)
    named = _names_columns(rows)
    columns = rows[0] if named else tuple(f"column {index + 1}" for index in range(width))
    if len(set(columns)) < width:
        raise DataError(f"{name} has two columns of one name: {_described(columns)}; rename one")
    if len(rows) == named:
        raise DataError(f"{name} has names of columns and no samples")
    return Table(name, columns, rows[named:], lines[named:], named)


def _separator(text: str) -> str:
    first = text.partition("\n")[0]
    return max(_SEPARATORS, key=first.count)


def _names_columns(rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether the first row is names: a text above numbers, or nothing but texts, or counting numbers that
    are above others.
    """
    first, others = rows[0], rows[1:]
    if not others:
        return not any(_is_number(cell) for cell in first)
    for column, cell in enumerate(first):
        below = [row[column] for row in others if not _is_missing(row[column])]
        if not _is_number(cell) and not _is_missing(cell) and below and all(map(_is_number, below)):
            return True
    numbers = [cell for cell in first if _is_number(cell)]
    counting = [str(index) for index in range(len(first))]
    return not numbers or (len(numbers) > 1 and numbers == counting[: len(numbers)] and first != others[0])


def _without_row_numbers(table: Table) -> tuple[Table, list[str]]:
    """The table without a first column that has no name and counts the rows, as pandas writes it."""
    counted = [row[0] for row in table.rows]
    if not table.named or table.columns[0] or counted != [str(index) for index in range(len(counted))]:
        return table, []
    rows = tuple(row[1:] for row in table.rows)
    left = Table(table.name, table.columns[1:], rows, table.lines, table.named)
    return left, [f"the first column of {table.name} counts its rows and is left out"]


def _target(table: Table, target: str | None) -> int:
    if target is None:
        return _last(table)
    if target in table.columns:
        return table.columns.index(target)
    raise DataError(
        f"data.target is {target!r}, expected a column of {table.name}: {_described(table.columns)}"
    )


def _last(table: Table) -> int:
    """The last column, unless another one alone is called as targets are, as in tables that begin with it."""
    *others, last = table.columns
    called = [column for column in others if column.lower() in _CALLED]
    if table.named and called and last.lower() not in _CALLED:
        raise DataError(
            f"{table.name} has a column {called[0]}, and {last} is its last one, which is predicted unless"
            f" data.target names another: expected data.target={called[0]} or data.target={last}"
        )
    return len(others)


def _targets(table: Table, place: int, keep: bool) -> Value:
    cells = [row[place] for row in table.rows]
    known = [cell for cell in cells if not _is_missing(cell)]
    if all(map(_is_number, known)) and (keep or len(known) == len(cells)):
        if all(cell.lstrip("+-").isdecimal() for cell in cells):
            return _whole(table, place, cells)
        return torch.from_numpy(_numbers(table, place, keep).astype(np.float32))
    missing = [index for index, cell in enumerate(cells) if _is_missing(cell)]
    if missing:
        raise DataError(_told(table, missing, place, "no value"))
    return np.array(cells, dtype=np.str_)


def _whole(table: Table, place: int, cells: Sequence[str]) -> Value:
    large = [index for index, cell in enumerate(cells) if _is_large(cell)]
    if large:
        raise DataError(_told(table, large, place, f"{cells[large[0]]}, which has more than 64 bits,"))
    return torch.tensor([int(cell) for cell in cells])


def _numbers(table: Table, place: int, keep: bool) -> NDArray[np.float64]:
    cells = [row[place] for row in table.rows]
    texts = [index for index, cell in enumerate(cells) if not (_is_number(cell) or _is_missing(cell))]
    if texts:
        raise DataError(_told(table, texts, place, f"{cells[texts[0]]!r}, which is no number,"))
    missing = [index for index, cell in enumerate(cells) if not _is_finite(cell)]
    if missing and not keep:
        raise DataError(_told(table, missing, place, f"no number (NaN): {cells[missing[0]]!r}"))
    return np.array([math.nan if _is_missing(cell) else float(cell) for cell in cells])


def _told(table: Table, rows: Sequence[int], place: int, what: str) -> str:
    more = f", and in {len(rows) - 1} more lines" if len(rows) > 1 else ""
    cure = (
        "fill it or leave the line out"
        if "no number (NaN)" in what or "no value" in what
        else ("write the column as numbers, leave it out, or predict it by data.target")
    )
    return f"{table.name} has {what} in line {table.lines[rows[0]]}, {table.columns[place]}{more}; {cure}"


def _described(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return f"{', '.join(columns[:_SHOWN])}{more}"


def _is_large(cell: str) -> bool:
    """Python refuses to read whole numbers of thousands of digits."""
    return len(cell.lstrip("+-0")) > _MOST_DIGITS or abs(int(cell)) >= 2**63


def _is_missing(cell: str) -> bool:
    return cell.lower() in _MISSING


def _is_number(cell: str) -> bool:
    try:
        return "_" not in cell and not math.isnan(float(cell))  # Python takes 1_000 for a number
    except ValueError:
        return False


def _is_finite(cell: str) -> bool:
    return not _is_missing(cell) and math.isfinite(float(cell))
