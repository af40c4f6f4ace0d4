"""What is typed to run here, to look at recipes, and at what has run."""

import json
from typing import Annotated

import typer

from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.pipelines.commands.completion import recipe_names, run_names
from lossmap.pipelines.commands.options import (
    Limits,
    ScaleOf,
    Sets,
    Store,
    Tracking,
    pictures_of,
    settings_of,
)


def run(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE|FILE.yaml...",
            help="recipes, or files of experiments",
            autocompletion=recipe_names,
        ),
    ] = None,
    sets: Sets = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN", help="go on with a run that was interrupted", autocompletion=run_names
        ),
    ] = None,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Train, survey and report, here; several networks are then compared."""
    from lossmap.components.importing.digests import with_digests
    from lossmap.pipelines import local
    from lossmap.pipelines.recipes.resolve import resolve
    from lossmap.pipelines.screens.console import run_experiment, show_runs

    settings = settings_of(store, tracking)
    if bool(targets) == bool(resume):
        raise ExperimentError("run takes recipes or files, or else --resume RUN; see `lossmap recipes`")
    if resume and sets:
        raise ExperimentError("--set cannot change a run that has begun; start a new one without --resume")
    runs = []
    if resume:
        runs = [local.open_run(resume, settings)]
        run_experiment(runs[0], runs[0].experiment, settings)
    # all are checked before the first one starts
    experiments = [with_digests(resolve(target, sets or [])) for target in targets or []]
    for experiment in experiments:
        runs.append(local.open_run(local.new_name(experiment), settings))
        run_experiment(runs[-1], experiment, settings)
    show_runs(runs, settings)


def recipes() -> None:
    """List the recipes by scale; a line that begins with # is a heading."""
    from lossmap.pipelines.recipes.registry import describe, groups, names

    width = max(map(len, names()))
    for heading, listed in groups().items():
        typer.echo(f"# {heading}")
        for name in listed:
            typer.echo(f"{name:{width}}  {describe(name)}")


def show(
    target: Annotated[str, typer.Argument(metavar="RECIPE|FILE.yaml", autocompletion=recipe_names)],
    sets: Sets = None,
) -> None:
    """Print the complete experiment as YAML, to read or to start a file of your own."""
    from lossmap.pipelines.recipes.resolve import resolve

    typer.echo(resolve(target, sets or []).to_yaml(), nl=False)


def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="finished runs", autocompletion=run_names)
    ] = None,
    study: Annotated[str | None, typer.Option("--study", help="all finished runs of this study")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print what differs and all numbers as JSON, and draw no page")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="print comma-separated values and draw no page")
    ] = False,
    scale: ScaleOf = None,
    limits: Limits = None,
    store: Store = None,
) -> None:
    """Compare finished runs: what differs and how sure that is, a table, and a page with their surfaces on
    one scale.
    """
    from lossmap.components.stores.objects import open_store
    from lossmap.components.stores.runs import Run
    from lossmap.pipelines.compare import as_records, compared, finished_runs, rows, rows_as_csv
    from lossmap.pipelines.screens.console import show_comparison

    settings = settings_of(store, None)
    opened = open_store(settings.store)
    if bool(runs) == bool(study):
        raise ExperimentError("compare takes names of runs, or else --study NAME")
    chosen = [Run(opened, name) for name in runs or ()] or finished_runs(opened, study or "")
    if not chosen:
        raise LossmapError(f"{settings.store} has no finished run of study {study}; `lossmap run` makes one")
    table, drawn = rows(chosen), pictures_of(scale, limits)
    if as_json:
        typer.echo(json.dumps(as_records(table, compared(chosen)), indent=2))
    elif as_csv:
        typer.echo(rows_as_csv(table), nl=False)
    else:
        show_comparison(table, settings, drawn)


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a finished run", autocompletion=run_names)],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="npz, csv, vts or vtp (ParaView), gltf or glb (viewers of models)",
        ),
    ],
    grid: Annotated[str, typer.Option("--grid", metavar="GRID", help="plane or line")] = "plane",
    height: Annotated[
        str,
        typer.Option(
            "--height",
            metavar="SCALE",
            help=(
                "what lies upwards: scale (the height on the pictures' scale), log (log10 of the loss) or"
                " linear (the loss)"
            ),
        ),
    ] = "scale",
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="where to write it (else RUN-GRID.FORMAT)"),
    ] = None,
    store: Store = None,
) -> None:
    """Write a run's surface to a file for other programs, and print its path."""
    from lossmap.pipelines.export import export_surface
    from lossmap.pipelines.local import open_run

    exported = open_run(run, settings_of(store, None))
    typer.echo(export_surface(exported, grid, form, height, output))
