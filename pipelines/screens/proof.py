"""What a person, or a program, sees of a proof of invariance."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from lossmap.pipelines.screens.console import console

if TYPE_CHECKING:
    from lossmap.components.landscape.directions.invariance import Proof

_MARK = "*"


def show(proof: "Proof", run: str) -> None:
    """Normalisations and rescalings as a table: the largest relative change of the loss along two lines."""
    from lossmap.components.landscape.directions.invariance import proof_text

    kinds = [rescaling.kind for rescaling in proof.rescalings if rescaling.scales]
    if kinds:
        table = Table("normalisation", box=None, padding=(0, 2))
        for kind in kinds:
            table.add_column(kind, justify="right")
        changes = {(row.normalization, row.rescaling): row.change for row in proof.rows}
        for normalization in dict.fromkeys(row.normalization for row in proof.rows):
            table.add_row(
                normalization, *(_shown(changes[normalization, kind], proof.tolerance) for kind in kinds)
            )
        console.print(table)
        console.print(
            f" largest relative change of the loss when the network is rescaled; {_MARK}: more than"
            f" {proof.tolerance:g}"
        )
    console.print(*proof_text(proof), sep="\n", markup=False)
    console.print(f"survey it: lossmap survey --resume {run}", soft_wrap=True, markup=False)


def as_json(proof: "Proof", run: str) -> str:
    """The proof for programs. A change that is NaN or infinite is the word."""
    rows = [
        {
            **asdict(row),
            "change": row.change if row.change is None or abs(row.change) < float("inf") else str(row.change),
        }
        for row in proof.rows
    ]
    found: dict[str, Any] = {
        "run": run,
        "tolerance": proof.tolerance,
        "rescalings": [asdict(each) for each in proof.rescalings],
        "rows": rows,
    }
    found |= {"unchanged": proof.unchanged(), "changed": proof.changed(), "impossible": proof.impossible()}
    return json.dumps(found, indent=2, allow_nan=False)


def _shown(change: float | None, tolerance: float) -> str:
    if change is None:
        return "impossible"
    return f"{change:.1e} " if change <= tolerance else f"{change:.1e}{_MARK}"
