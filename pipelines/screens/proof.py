"""What a person, or a program, sees of a proof of invariance."""

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from lossmap.pipelines.screens.console import console

if TYPE_CHECKING:
    from lossmap.components.landscape.directions.invariance import Proof

_MARK = "*"


def show_proof(proof: "Proof", run: str) -> None:
    """Normalisations and rescalings as a table: the largest relative change of the loss along two lines."""
    from lossmap.components.landscape.directions.invariance import proof_text

    kinds = [rescaling.kind for rescaling in proof.rescalings if rescaling.scales]
    if kinds:
        table = Table("normalisation", box=None, padding=(0, 2))
        for kind in kinds:
            table.add_column(kind, justify="right")
        changes = {(row.normalization, row.rescaling): row.change for row in proof.rows}
        for normalization in dict.fromkeys(row.normalization for row in proof.rows):
            cells = [_text(changes[normalization, kind], proof.tolerance) for kind in kinds]
            table.add_row(normalization, *cells)
        console.print(table)
        console.print(
            f" largest relative change of the loss when the network is rescaled; {_MARK}: more than"
            f" {proof.tolerance:g}"
        )
    console.print(*proof_text(proof), sep="\n", markup=False)
    console.print(f"survey it: lossmap survey --resume {run}", soft_wrap=True, markup=False)


def proof_json(proof: "Proof", run: str) -> str:
    """The proof for programs. A change that is NaN or infinite is the word."""
    rows = [asdict(row) for row in proof.rows]
    for row in rows:
        if row["change"] is not None and not math.isfinite(row["change"]):
            row["change"] = str(row["change"])
    record: dict[str, Any] = {
        "run": run,
        "tolerance": proof.tolerance,
        "rescalings": [asdict(rescaling) for rescaling in proof.rescalings],
        "rows": rows,
    }
    record |= {"unchanged": proof.unchanged(), "changed": proof.changed(), "impossible": proof.impossible()}
    return json.dumps(record, indent=2, allow_nan=False)


def _text(change: float | None, tolerance: float) -> str:
    if change is None:
        return "impossible"
    return f"{change:.1e} " if change <= tolerance else f"{change:.1e}{_MARK}"
