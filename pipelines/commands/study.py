"""The command `lossmap study`."""

from typing import TYPE_CHECKING, Annotated

import typer

from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.pipelines.commands.options import Sets, Store, Tracking, settings_of

if TYPE_CHECKING:
    from lossmap.components.config.settings import Settings


def study(  # noqa: PLR0913  # the options of the command
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.yaml",
            help=(
                "lesson, depth, shortcuts, equal-loss, minima, batch, experts, tasks, or the file of a study"
            ),
        ),
    ],
    *,
    scale: Annotated[
        str | None,
        typer.Option("--scale", metavar="SCALE", help="of a named study: digits (default), cifar10 or gpu"),
    ] = None,
    sets: Sets = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="repetitions of every network (else the study's)")
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
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Train and survey networks with several seeds each, and judge what is said of them."""
    from lossmap.components.stores.objects import open_store
    from lossmap.pipelines.screens.console import progress_bar
    from lossmap.pipelines.screens.study import print_aside, print_line, show_plan, show_report
    from lossmap.pipelines.stages import printed_stage
    from lossmap.pipelines.studies.cells import (
        connect_pairs,
        seed_pairs,
        split_finished,
        stored_pairs,
        study_cells,
        write_report,
    )
    from lossmap.pipelines.studies.cluster import run_on_cluster
    from lossmap.pipelines.studies.local import parallel_capacity, run_in_parallel, run_in_sequence
    from lossmap.pipelines.studies.named import load

    if submit and report_only:
        raise ExperimentError("--submit and --report-only exclude each other; --report-only runs no cell")
    settings, definition = settings_of(store, tracking), load(target, scale, sets or [], seeds)
    opened, cells = open_store(settings.store), study_cells(definition)
    finished, missing = split_finished(opened, cells)
    if dry_run:
        show_plan(definition, finished, missing, as_json)
        return
    say, stage = (print_aside, printed_stage) if as_json else (print_line, progress_bar)
    say(f"{definition.name}: {definition.title}\n{len(finished)} of {len(cells)} cells are finished")
    failed: dict[str, str] = {}
    if submit:
        failed = run_on_cluster(missing, settings, parallel or 4, print_aside)
    elif not report_only and (capacity := parallel or parallel_capacity(missing)) > 1:
        failed = run_in_parallel(missing, settings, capacity, stage, say)
    elif not report_only:
        failed = run_in_sequence(missing, settings, stage, say)
    finished, _ = split_finished(opened, cells)
    if not finished:
        raise LossmapError(_nothing(definition.name, settings, submit, failed))
    pairs = seed_pairs(definition, finished)
    if report_only:
        connected = stored_pairs(definition, pairs, settings)
    else:
        connected, unconnected = connect_pairs(definition, pairs, settings, stage, say)
        failed |= unconnected
    usual = load(target, scale, [], None)
    # one that was changed has a report of its own, so that two seeds do not overwrite what ten have found
    folder = usual.name if definition == usual else f"{usual.name}-{definition.digest()[:8]}"
    page = write_report(opened, definition, cells, connected, settings, say, folder)
    show_report(page, failed, settings, as_json)
    raise typer.Exit(1 if failed else 0)


def _nothing(name: str, settings: "Settings", submitted: bool, failed: "dict[str, str]") -> str:
    if submitted and not failed:
        where = "with --store s3://… and its keys in the environment, where the cluster keeps them"
        return (
            f"the runs of study {name} have ended, and {settings.store} has none of them; report on them"
            f" {where}: the same command with --report-only"
        )
    because = f"; the first failed: {next(iter(failed.values()))}" if failed else ""
    return f"{settings.store} has no finished cell of study {name}, so there is nothing to report{because}"
