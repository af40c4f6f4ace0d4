"""The command `lossmap study`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.pipelines.commands.options import Sets, Store, Tracking, settings_of

if TYPE_CHECKING:
    from lossmap.components.config.settings import Settings
    from lossmap.components.config.study import Study
    from lossmap.components.studies.cells import Cell
    from lossmap.components.studies.samples import Measurements


def study(  # noqa: PLR0913  # the options of the command
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.yaml",
            help=(
                "lesson, depth, shortcuts, equal-loss, minima, batch, experts, tasks, slides, or the file of"
                " a study"
            ),
        ),
    ],
    *,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="SCALE",
            help="of a named study: digits (default, but of slides), cifar10 or gpu",
        ),
    ] = None,
    sets: Sets = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="repetitions of every network (else the study's)")
    ] = None,
    first_seed: Annotated[
        int | None, typer.Option("--first-seed", min=0, help="the first of the seeds (else the study's)")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="tell which cells are finished and which are missing, and start nothing"
        ),
    ] = False,
    submit: Annotated[
        bool,
        typer.Option(
            "--submit", help="run the missing cells on the cluster, each as a pipeline run of its own"
        ),
    ] = False,
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            min=1,
            help=(
                "cells that run at the same time at most (else as many as fit on this machine's cores; with"
                " --submit 4)"
            ),
        ),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="run and connect nothing; report on what the store has")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FOLDER",
            help="keep what finished cells found (numbers, surfaces) in a folder that can be committed",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="run nothing; report on what was exported to a folder, anywhere"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Train and survey networks with several seeds each, and judge what is said of them."""
    from lossmap.components.stores.objects import open_store
    from lossmap.components.studies.samples import Measurements
    from lossmap.pipelines.screens.study import print_aside, print_line, show_plan, show_report
    from lossmap.pipelines.studies.cells import report_folder, split_finished, study_cells, write_report
    from lossmap.pipelines.studies.exports import exported_outcomes
    from lossmap.pipelines.studies.named import load

    if submit and report_only:
        raise ExperimentError("--submit and --report-only exclude each other; --report-only runs no cell")
    if source and (submit or report_only or export or dry_run):
        raise ExperimentError("--from runs and exports nothing; give it alone")
    settings = settings_of(store, tracking)
    definition = load(target, scale, sets or [], seeds, first_seed)
    folder = report_folder(definition, load(target, scale, [], None))
    opened, cells = open_store(settings.store), study_cells(definition)
    if dry_run:
        show_plan(definition, *split_finished(opened, cells), as_json)
        return
    failed: dict[str, str] = {}
    if source:
        found, missing = exported_outcomes(cells, source, print_aside)
        measured = Measurements.of(definition, found, missing=missing)
    else:
        how = _How(submit, report_only, parallel, export, as_json)
        measured, failed = _measured(definition, cells, settings, how)
    page = write_report(opened, measured, settings, print_aside if as_json else print_line, folder)
    show_report(page, failed, settings, as_json)
    raise typer.Exit(1 if failed else 0)


@dataclass(frozen=True)
class _How:
    """What is done with the missing cells, and where the finished ones are kept besides."""

    submit: bool
    report_only: bool
    parallel: int | None
    export: Path | None
    as_json: bool


def _measured(
    definition: "Study", cells: "Sequence[Cell]", settings: "Settings", how: _How
) -> "tuple[Measurements, dict[str, str]]":
    """What the cells have found after the missing ones were run, and which failed, and why."""
    from lossmap.components.stores.objects import open_store
    from lossmap.components.studies.samples import Measurements
    from lossmap.pipelines.screens.console import progress_bar
    from lossmap.pipelines.screens.study import print_aside, print_line
    from lossmap.pipelines.stages import printed_stage
    from lossmap.pipelines.studies.cells import (
        connect_pairs,
        outcomes,
        seed_pairs,
        split_finished,
        stored_pairs,
    )
    from lossmap.pipelines.studies.cluster import run_on_cluster
    from lossmap.pipelines.studies.exports import export_cells
    from lossmap.pipelines.studies.local import parallel_capacity, run_in_parallel, run_in_sequence

    opened = open_store(settings.store)
    finished, missing = split_finished(opened, cells)
    say, stage = (print_aside, printed_stage) if how.as_json else (print_line, progress_bar)
    say(f"{definition.name}: {definition.title}\n{len(finished)} of {len(cells)} cells are finished")
    failed: dict[str, str] = {}
    if how.submit:
        failed = run_on_cluster(missing, settings, how.parallel or 4, print_aside)
    elif not how.report_only and (capacity := how.parallel or parallel_capacity(missing)) > 1:
        failed = run_in_parallel(missing, settings, capacity, stage, say)
    elif not how.report_only:
        failed = run_in_sequence(missing, settings, stage, say)
    finished, missing = split_finished(opened, cells)
    if not finished:
        raise LossmapError(_nothing(definition.name, settings, how.submit, failed))
    if how.export:
        export_cells(opened, finished, how.export)
        say(f"{len(finished)} cells are in {how.export}")
    pairs = seed_pairs(definition, finished)
    if how.report_only:
        connected = stored_pairs(definition, pairs, settings)
    else:
        connected, unconnected = connect_pairs(definition, pairs, settings, stage, say)
        failed |= unconnected
    return Measurements.of(definition, outcomes(opened, finished), connected, missing), failed


def _nothing(name: str, settings: "Settings", submitted: bool, failed: "dict[str, str]") -> str:
    if submitted and not failed:
        where = "with --store s3://… and its keys in the environment, where the cluster keeps them"
        return (
            f"the runs of study {name} have ended, and {settings.store} has none of them; report on them"
            f" {where}: the same command with --report-only"
        )
    because = f"; the first failed: {next(iter(failed.values()))}" if failed else ""
    return f"{settings.store} has no finished cell of study {name}, so there is nothing to report{because}"
