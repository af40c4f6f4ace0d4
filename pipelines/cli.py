"""The command line: `lossmap`."""

import json
import signal
import sys
from typing import Annotated, NoReturn

import typer

from lossmap.components.config.errors import ExperimentError, LossmapError
from lossmap.pipelines.connect_command import connect
from lossmap.pipelines.options import Sets, Store, Tracking, settings_of
from lossmap.pipelines.study_command import study
from lossmap.pipelines.survey_command import survey

app = typer.Typer(
    name="lossmap",
    help="Train neural networks with data-parallel PyTorch and survey their loss landscapes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ClusterRun = Annotated[str, typer.Argument(metavar="RUN", help="a run that was submitted: its name, or Kubeflow's id of it")]


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
    from lossmap.pipelines.survey import noted

    settings = settings_of(store, tracking)
    if bool(targets) == bool(resume):
        raise ExperimentError("run takes recipes or files, or else --resume RUN; see `lossmap recipes`")
    if resume and sets:
        raise ExperimentError("--set cannot change a run that has begun; start a new one without --resume")
    experiments = [noted(resolve(target, sets or [])) for target in targets or []]  # all are checked before the first one starts
    if resume:
        experiments = [local.stored_experiment(resume, settings)]
    names = []
    for experiment in experiments:
        names.append(resume or local.new_run(experiment))
        screen.carry_out(names[-1], experiment, settings)
    screen.conclude(names, settings)


app.command(no_args_is_help=True)(survey)
app.command(no_args_is_help=True)(connect)
app.command(no_args_is_help=True)(study)


@app.command()
def recipes() -> None:
    """List the recipes by scale; a line that begins with # is a heading."""
    from lossmap.pipelines import recipes as known

    width = max(map(len, known.names()))
    for heading, names in known.groups().items():
        typer.echo(f"# {heading}")
        for name in names:
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

    settings = settings_of(store, None)
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


@app.command(no_args_is_help=True)
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a finished run")],
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="npz, csv, vts or vtp (ParaView), gltf or glb (viewers of models)")],
    grid: Annotated[str, typer.Option("--grid", metavar="GRID", help="plane or line")] = "plane",
    height: Annotated[str, typer.Option("--height", metavar="SCALE", help="what lies upwards: log (log10 of the loss) or linear (the loss)")] = "log",
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="where to write it (else RUN-GRID.FORMAT)")] = None,
    store: Store = None,
) -> None:
    """Write a run's surface to a file for other programs, and print its path."""
    from lossmap.components.stores.objects import open_store
    from lossmap.pipelines import export as exporting

    typer.echo(exporting.export(open_store(settings_of(store, None).store), run, grid, form, height, output))


@app.command(no_args_is_help=True)
def submit(
    targets: Annotated[list[str], typer.Argument(metavar="RECIPE|FILE.yaml...", help="recipes, or files of experiments")],
    sets: Sets = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="tell what goes on until the runs have ended; the exit code says how")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what the runs would ask of the cluster, and start nothing")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="carry out every step, also those that Kubeflow's cache could answer")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Train, survey and report, on a cluster, as a run of Kubeflow Pipelines."""
    from lossmap.pipelines import cluster_screen, local
    from lossmap.pipelines import submit as submitting
    from lossmap.pipelines.recipes import resolve
    from lossmap.pipelines.survey import with_weights_noted

    settings = settings_of(None, None)
    experiments = [resolve(target, sets or []) for target in targets]
    for experiment in experiments:
        submitting.check(experiment)
    experiments = [with_weights_noted(experiment) for experiment in experiments]
    if dry_run:
        cluster_screen.demands(experiments, as_json)
        return
    started = [(run, submitting.submit(experiment, settings, run, not no_cache)) for experiment in experiments for run in [local.new_run(experiment)]]
    cluster_screen.submitted(started, as_json)
    if follow:
        raise typer.Exit(max(cluster_screen.follow(run, settings) for run, _ in started))


@app.command(no_args_is_help=True)
def status(run: ClusterRun, as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Tell how a run on a cluster is getting on: exit code 1 where it failed, 130 where it was cancelled, else 0."""
    from lossmap.pipelines import cluster_screen

    raise typer.Exit(cluster_screen.status(run, settings_of(None, None), as_json))


@app.command(no_args_is_help=True)
def logs(
    run: ClusterRun,
    step: Annotated[str | None, typer.Option("--step", help="prepare, train, plan, tile, merge, report or clean-up; all without it")] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=0, help="of the training's lines only those of this process")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the run has ended")] = False,
) -> None:
    """Print what the steps of a run on a cluster say."""
    from lossmap.pipelines import cluster_screen

    cluster_screen.logs(run, settings_of(None, None), step, rank, follow)


@app.command(no_args_is_help=True)
def cancel(run: ClusterRun) -> None:
    """End a run on a cluster, and leave nothing of it running."""
    from lossmap.pipelines import cluster_screen

    cluster_screen.cancel(run, settings_of(None, None))


@app.command(no_args_is_help=True)
def retry(
    run: ClusterRun,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="tell what goes on until the run has ended; the exit code says how")] = False,
) -> None:
    """Start a run that failed or was cancelled once more: what is finished stays, training goes on from its last checkpoint."""
    from lossmap.pipelines import cluster_screen

    settings = settings_of(None, None)
    cluster_screen.retry(run, settings)
    if follow:
        raise typer.Exit(cluster_screen.follow(run, settings))


@app.command("compile", no_args_is_help=True)
def compile_pipeline(
    target: Annotated[str, typer.Argument(metavar="RECIPE|FILE.yaml")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="where to write the pipeline")],
    sets: Sets = None,
) -> None:
    """Write the pipeline of an experiment as YAML, to upload it to Kubeflow Pipelines."""
    from lossmap.pipelines import cluster_screen
    from lossmap.pipelines import submit as submitting
    from lossmap.pipelines.recipes import resolve

    experiment = resolve(target, sets or [])
    submitting.check(experiment)
    cluster_screen.write_package(experiment, settings_of(None, None), output)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="port on this machine")] = 5000,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    cluster: Annotated[bool, typer.Option("--cluster", help="the MLflow of the cluster that KUBECONFIG points at")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Open the MLflow UI on the runs."""
    from lossmap.components.stores.tracking import serve_ui

    if cluster:
        from lossmap.pipelines import cluster_screen

        cluster_screen.ui(settings_of(store, tracking), port)
        return
    raise typer.Exit(serve_ui(settings_of(store, tracking).tracking, host, port))


@app.command()
def doctor(
    cluster: Annotated[bool, typer.Option("--cluster", help="check the cluster that KUBECONFIG points at instead of this machine")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Check this installation: what is installed, cores, GPUs, what is reachable; or that of a cluster."""
    from lossmap.pipelines import screen
    from lossmap.pipelines.doctor import examine
    from lossmap.pipelines.doctor_cluster import examine_cluster

    settings = settings_of(store, tracking)
    findings = examine_cluster(settings) if cluster else examine(settings.store, settings.tracking)
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        screen.findings(findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


if __name__ == "__main__":
    main()
