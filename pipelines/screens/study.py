"""What a person, or a program, sees of a study."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from lossmap.components.config.settings import Settings
from lossmap.components.config.study import Study
from lossmap.components.stores.objects import open_store
from lossmap.components.studies.cells import Cell
from lossmap.pipelines import local
from lossmap.pipelines.cluster.submit import demand
from lossmap.pipelines.screens.console import console

_VERDICT_FIELDS = ("statement", "source", "verdict", "evidence")
_SUMMED = ("training_pods", "survey_pods", "points", "images")


def print_line(line: str) -> None:
    """A line for a person."""
    console.print(line, soft_wrap=True, markup=False)


def print_aside(line: str) -> None:
    """A line on standard error, so that standard output holds nothing but JSON."""
    print(line, file=sys.stderr, flush=True)


def show_plan(study: Study, finished: Sequence[Cell], missing: Sequence[Cell], as_json: bool) -> None:
    """Which cells are finished, which are missing, and what these ask for."""
    totals = _totals(missing)
    if as_json:
        cells = sorted([*finished, *missing], key=lambda cell: cell.seed)
        records = [_record(cell, cell in finished) for cell in cells]
        plan = {"study": study.model_dump(mode="json"), "cells": records, "missing": totals}
        print(json.dumps(plan, indent=2))
        return
    console.print(_table(study, finished, missing))
    print_line(
        f"{len(finished)} of {len(finished) + len(missing)} cells are finished, {len(missing)} are missing"
    )
    print_line(
        f"missing: {totals['points']:,} points at most, {totals['images']:,} images through the networks"
    )
    print_line(
        f"on a cluster: {totals['training_pods']:,} pods that train and {totals['survey_pods']:,} that"
        " survey, over all runs"
    )


def _table(study: Study, finished: Sequence[Cell], missing: Sequence[Cell]) -> Table:
    table = Table("network", *study.factors, "seeds finished", "missing", box=None, padding=(0, 1))
    rows = dict.fromkeys((cell.network, *cell.levels.values()) for cell in [*finished, *missing])
    for row in rows:
        table.add_row(*map(escape, row), _seeds(finished, row), _seeds(missing, row))
    return table


def _seeds(cells: Sequence[Cell], row: tuple[str, ...]) -> str:
    seeds = [str(cell.seed) for cell in cells if (cell.network, *cell.levels.values()) == row]
    return ", ".join(seeds) or "-"


def _totals(missing: Sequence[Cell]) -> dict[str, int]:
    demands = [asdict(demand(cell.experiment)) for cell in missing]
    totals = {name: sum(needs[name] for needs in demands) for name in _SUMMED}
    return {"runs": len(missing), **totals}


def _record(cell: Cell, finished: bool) -> dict[str, Any]:
    return {
        "run": cell.run,
        "network": cell.network,
        "levels": dict(cell.levels),
        "seed": cell.seed,
        "finished": finished,
    }


def show_report(page: str, failed: Mapping[str, str], settings: Settings, as_json: bool) -> None:
    """The verdict on each statement, what failed, and where the report lies."""
    results = json.loads(open_store(settings.store).read(page.replace("page.html", "results.json")))
    place = local.place(settings.store, page)
    if as_json:
        failures = [{"what": what, "reason": reason} for what, reason in failed.items()]
        print(json.dumps({**results, "failed": failures, "page": place}, indent=2))
        return
    for verdict in results["verdicts"]:
        print_line(_verdict(verdict))
    for what, reason in failed.items():
        print_line(f"failed: {what}: {reason}")
    if results["missing"]:
        print_line(f"{len(results['missing'])} cells are missing; the same command runs them")
    print_line(f"report  {place}")


def _verdict(verdict: Mapping[str, Any]) -> str:
    levels = " ".join(str(value) for name, value in verdict.items() if name not in _VERDICT_FIELDS)
    place = f" ({levels})" if levels else ""
    return f"{verdict['verdict']}: {verdict['statement']}{place}\n  {verdict['evidence']}"
