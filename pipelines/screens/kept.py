"""Runs of a store on the screen, and what their removal frees."""

import json
from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from lossmap.components.stores.objects import Entry
from lossmap.components.stores.removal import Removal
from lossmap.pipelines.kept import KeptRun
from lossmap.pipelines.screens.console import console

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def runs_json(runs: Sequence[KeptRun]) -> str:
    """Runs for other programs."""
    return json.dumps([run.record() for run in runs], indent=2)


def show_kept_runs(runs: Sequence[KeptRun], store: str) -> None:
    """Runs as a table, the newest first."""
    if not runs:
        console.print(f"{store} has no runs; `lossmap run` makes one", soft_wrap=True, markup=False)
        return
    table = Table(box=None, padding=(0, 1))
    table.add_column("run", overflow="fold")
    for column in ("last written", "state"):
        table.add_column(column, no_wrap=True)
    for run in runs:
        when = datetime.fromtimestamp(run.changed).strftime("%Y-%m-%d %H:%M")
        table.add_row(run.name, when, "finished" if run.finished else "not finished")
    console.print(table)


def removal_json(removal: Removal, dry_run: bool) -> str:
    """A removal for other programs."""
    sizes = {"freed_bytes": removal.removed, "kept_bytes": removal.kept}
    return json.dumps(
        {
            "runs": list(removal.runs),
            "removed": not dry_run,
            "objects": len(removal.removed),
            **{name: sum(entry.size for entry in entries) for name, entries in sizes.items()},
        },
        indent=2,
    )


def show_removal(removal: Removal, dry_run: bool) -> None:
    """Which runs go or are gone, and what that frees."""
    for name in removal.runs:
        console.print(f"  {name}", soft_wrap=True, markup=False)
    runs = f"{len(removal.runs)} run{'s' * (len(removal.runs) != 1)}"
    verb = "would be removed" if dry_run else "removed"
    kept = f"; other runs need {_amount(removal.kept)} of theirs, which stay" if removal.kept else ""
    console.print(f"{runs} {verb}: {_amount(removal.removed)}{kept}", soft_wrap=True, markup=False)


def _amount(entries: Sequence[Entry]) -> str:
    size, unit = float(sum(entry.size for entry in entries)), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    count = len(entries)
    return f"{size:.3g} {_UNITS[unit]} in {count:,} object{'s' * (count != 1)}"
