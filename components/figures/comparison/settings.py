"""Which fields of the experiments are not the same in all runs."""

import json
from collections.abc import Sequence
from typing import Any

from lossmap.components.core.serialization import flat
from lossmap.components.figures import numbers
from lossmap.components.figures.run.summary import RunSummary

DATA_DIGEST = "data set digest"


def differing_fields(runs: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Fields of the experiments that are not the same in all runs: dotted name to one text for each run."""
    flat = [_run_fields(run) for run in runs]
    names = dict.fromkeys(name for fields in flat for name in fields)
    table = {}
    for name in names:
        values = [fields.get(name, numbers.ABSENT) for fields in flat]
        if len(set(values)) > 1:
            table[name] = values
    return table


def _run_fields(run: RunSummary) -> dict[str, str]:
    settings = {name: _text(value) for name, value in flat(run.experiment.model_dump(mode="json"))}
    return settings | {DATA_DIGEST: run.manifest.digest[:12]}


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return json.dumps(value) if isinstance(value, list) else str(value)
