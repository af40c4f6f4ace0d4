"""The command `lossmap explain`."""

import json
from typing import Annotated

import typer

from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.commands.completion import measure_names


def explain(
    measure: Annotated[
        str | None,
        typer.Argument(
            metavar="[MEASURE]",
            help="a number of a report, or a part of its name, such as basin; all of them without it",
            autocompletion=measure_names,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Explain a number of the reports: definition, formula, unit, how it is estimated, what it cannot say."""
    from lossmap.components.config.explanations import EXPLANATIONS, matching, record
    from lossmap.pipelines.screens.explain import show_explanation, show_measures

    names = matching(measure) if measure else list(EXPLANATIONS)
    if not names:
        raise ExperimentError(f"there is no measure {measure}; `lossmap explain` lists them")
    if as_json:
        typer.echo(json.dumps([record(name) for name in names], indent=2))
    elif measure:
        show_explanation(names[0], names[1:])
    else:
        show_measures(names)
