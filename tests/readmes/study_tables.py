"""Makes the tables of pipelines/studies/README.md from what the studies found: `make study-tables`.

`lossmap study NAME` writes studies/NAME/means.csv into the store. Copied to
pipelines/studies/results/NAME/means.csv, it is what the table between the lines `<!-- means of NAME -->` and
`<!-- end of means -->` is made from.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lossmap.components.core.estimates import ENDS
from lossmap.components.figures import numbers
from lossmap.components.figures.study.tables import ABSENT, mean_and_deviation

STUDIES = Path(__file__).parents[2] / "pipelines/studies"
README, RESULTS = STUDIES / "README.md", STUDIES / "results"
PARTS = ("", "_deviation", *(f"_{end}" for end in ENDS), "_n")
REGION = re.compile(
    r"(?<=<!-- means of )(?P<study>[\w-]+) -->\n(?P<table>.*?)(?=<!-- end of means -->)", re.S
)


def filled(readme: str, results: Path) -> str:
    """The text with a table made anew for each study that has means there; the other tables stay as they
    are.

    Raises:
        LookupError: means of a study for whose table the text has no place.
    """
    means = {path.parent.name: path for path in sorted(results.glob("*/means.csv"))}
    places = {found["study"] for found in REGION.finditer(readme)}
    if lost := sorted(set(means) - places):
        raise LookupError(f"no line <!-- means of {lost[0]} -->, expected one in {README.name} for its table")

    def region(found: re.Match[str]) -> str:
        study = found["study"]
        return f"{study} -->\n{table(_rows(means[study]))}" if study in means else found[0]

    return REGION.sub(region, readme)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of the rows of a means.csv: network, levels, and of every measure mean ± standard
    deviation between seeds; how many runs a mean is of, where there are fewer than the last column says.
    """
    measures = [name for name in rows[0] if f"{name}_n" in rows[0]]
    parts = {f"{name}{part}" for name in measures for part in PARTS}
    labels = [name for name in rows[0] if name not in parts]
    heads = [*labels, *map(numbers.label, measures), "runs"]
    lines = [heads, ["---"] * len(labels) + ["---:"] * (len(measures) + 1)]
    lines += [[*(row[name] for name in labels), *_cells(row, measures)] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: Mapping[str, str], measures: Sequence[str]) -> list[str]:
    runs = max(int(row[f"{name}_n"]) for name in measures)
    return [*(_cell(row, name, runs) for name in measures), str(runs)]


def _cell(row: Mapping[str, str], measure: str, runs: int) -> str:
    if not row[measure]:
        return ABSENT
    deviation = row[f"{measure}_deviation"]
    text = mean_and_deviation(measure, float(row[measure]), float(deviation) if deviation else None)
    count = int(row[f"{measure}_n"])
    return text if count == runs else f"{text} (of {count})"


def _rows(means: Path) -> list[dict[str, str]]:
    with means.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    README.write_text(filled(README.read_text(), RESULTS))
