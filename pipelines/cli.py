"""The command line: `lossmap`."""

import json
import signal
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from lossmap.components.config.errors import ExperimentError, LossmapError

if TYPE_CHECKING:
    from lossmap.components.config.settings import Settings

app = typer.Typer(
    name="lossmap",
    help="Train neural networks with data-parallel PyTorch and survey their loss landscapes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Store = Annotated[str | None, typer.Option("--store", metavar="URI", help="file:///folder or s3://bucket/prefix (else LOSSMAP_STORE, else ./lossmap-runs)")]
Tracking = Annotated[str | None, typer.Option("--tracking", metavar="URI", help="MLflow tracking URI (else LOSSMAP_TRACKING, else a sqlite file in the store)")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="change a field of the experiment, for example training.epochs=3")]


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on standard error."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to stop, as by Ctrl-C
    try:
        app()
    except LossmapError as error:
        typer.echo(f"lossmap: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0)


@app.command(no_args_is_help=True)
def run(
    targets: Annotated[list[str] | None, typer.Argument(metavar="RECIPE|FILE.yaml...", help="recipes, or files of experiments")] = None,
    sets: Sets = None,
    resume: Annotated[str | None, typer.Option("--resume", metavar="RUN", help="go on with a run that was interrupted")] = None,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Train, survey and report, here; several networks are then compared."""
    from lossmap.pipelines import local, screen
    from lossmap.pipelines.recipes import resolve

    settings = _settings(store, tracking)
    if bool(targets) == bool(resume):
        raise ExperimentError("run takes recipes or files, or else --resume RUN; see `lossmap recipes`")
    if resume and sets:
        raise ExperimentError("--set cannot change a run that has begun; start a new one without --resume")
    experiments = [resolve(target, sets or []) for target in targets or []]  # all are checked before the first one starts
    if resume:
        experiments = [local.stored_experiment(resume, settings)]
    names = []
    for experiment in experiments:
        names.append(resume or local.new_run(experiment))
        screen.carry_out(names[-1], experiment, settings)
    screen.conclude(names, settings)


@app.command()
def recipes() -> None:
    """List the recipes."""
    from lossmap.pipelines import recipes as known

    width = max(map(len, known.names()))
    for name in known.names():
        typer.echo(f"{name:{width}}  {known.describe(name)}")


@app.command(no_args_is_help=True)
def show(target: Annotated[str, typer.Argument(metavar="RECIPE|FILE.yaml")], sets: Sets = None) -> None:
    """Print the complete experiment as YAML, to read or to start a file of your own."""
    from lossmap.pipelines.recipes import resolve

    typer.echo(resolve(target, sets or []).to_yaml(), nl=False)


@app.command()
def compare(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="finished runs")] = None,
    study: Annotated[str | None, typer.Option("--study", help="all finished runs of this study")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON and draw no page")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print comma-separated values and draw no page")] = False,
    store: Store = None,
) -> None:
    """Compare finished runs: a table, and a page with their surfaces on one scale."""
    from lossmap.components.stores.objects import open_store
    from lossmap.pipelines import compare as comparing
    from lossmap.pipelines import screen

    settings = _settings(store, None)
    opened = open_store(settings.store)
    if bool(runs) == bool(study):
        raise ExperimentError("compare takes names of runs, or else --study NAME")
    chosen = runs or comparing.finished_runs(opened, study or "")
    if not chosen:
        raise LossmapError(f"{settings.store} has no finished run of study {study}; `lossmap run` makes one")
    found = comparing.rows(opened, chosen)
    if as_json:
        typer.echo(json.dumps(comparing.as_records(found), indent=2))
    elif as_csv:
        typer.echo(comparing.as_csv(found), nl=False)
    else:
        screen.comparison(found, settings)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="port on this machine")] = 5000,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Open the MLflow UI on the runs."""
    from lossmap.components.stores.tracking import serve_ui

    raise typer.Exit(serve_ui(_settings(store, tracking).tracking, host, port))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Check this installation: what is installed, cores, GPUs, what is reachable."""
    from lossmap.pipelines import screen
    from lossmap.pipelines.doctor import examine

    settings = _settings(store, tracking)
    findings = examine(settings.store, settings.tracking)
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        screen.findings(findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _settings(store: str | None, tracking: str | None) -> "Settings":
    from lossmap.components.config.settings import Settings

    return Settings.model_validate({name: value for name, value in (("store", store), ("tracking", tracking)) if value})


if __name__ == "__main__":
    main()
