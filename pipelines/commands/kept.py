"""What is typed to list the runs of a store, to send some to MLflow, and to remove some."""

from typing import TYPE_CHECKING, Annotated

import typer

from lossmap.pipelines.commands.completion import run_names
from lossmap.pipelines.commands.options import Store, Tracking, settings_of

if TYPE_CHECKING:
    from lossmap.components.config.settings import Settings
    from lossmap.components.stores.objects import Store as Objects
    from lossmap.components.stores.removal import Removal

DryRun = Annotated[bool, typer.Option("--dry-run", help="tell what it would free, and remove nothing")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


def runs(as_json: AsJson = False, store: Store = None) -> None:
    """List the runs of the store, the newest first."""
    from lossmap.components.stores.objects import open_store
    from lossmap.pipelines.kept import kept_runs
    from lossmap.pipelines.screens.kept import runs_json, show_kept_runs

    opened = open_store(settings_of(store, None).store)
    found = kept_runs(opened)
    if as_json:
        typer.echo(runs_json(found))
    else:
        show_kept_runs(found, opened.uri)


def sync(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="runs", autocompletion=run_names)],
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Send runs to MLflow that it did not get, or got in part: nothing is computed again."""
    from lossmap.components.stores.objects import open_store
    from lossmap.pipelines.kept import send

    settings = settings_of(store, tracking)
    for line in send(names, open_store(settings.store), settings):
        typer.echo(line)


def delete(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="runs", autocompletion=run_names)],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Remove runs from the store, with all that no other run needs; MLflow's go into its bin."""
    from lossmap.components.stores.objects import open_store
    from lossmap.components.stores.removal import removal_of_runs

    settings = settings_of(store, tracking)
    opened = open_store(settings.store)
    _remove(removal_of_runs(opened, names), opened, settings, dry_run, as_json)


def gc(
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="AGE", help="hours, days or weeks since the last change: 12h, 30d, 2w"
        ),
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Remove old runs from the store, and what is as old and belongs to no run."""
    from lossmap.components.stores.objects import open_store
    from lossmap.components.stores.removal import removal_of_old
    from lossmap.pipelines.kept import time_before

    before, settings = time_before(older_than), settings_of(store, tracking)
    opened = open_store(settings.store)
    _remove(removal_of_old(opened, before), opened, settings, dry_run, as_json)


def _remove(removal: "Removal", store: "Objects", settings: "Settings", dry_run: bool, as_json: bool) -> None:
    from lossmap.pipelines.kept import remove
    from lossmap.pipelines.screens.kept import removal_json, show_removal

    lines = [] if dry_run else list(remove(removal, store, settings))
    if as_json:
        typer.echo(removal_json(removal, dry_run))
    else:
        show_removal(removal, dry_run)
    for line in lines:
        typer.echo(f"lossmap: {line}", err=True)
