"""What is typed to run on a cluster."""

from typing import Annotated

import typer

from lossmap.pipelines.commands.completion import recipe_names
from lossmap.pipelines.commands.options import Sets, settings_of

ClusterRun = Annotated[
    str, typer.Argument(metavar="RUN", help="a run that was submitted: its name, or Kubeflow's id of it")
]


def submit(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE|FILE.yaml...",
            help="recipes, or files of experiments",
            autocompletion=recipe_names,
        ),
    ],
    sets: Sets = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="tell what goes on until the runs have ended; the exit code says how"
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="print what the runs would ask of the cluster, and start nothing"),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="carry out every step, also those that Kubeflow's cache could answer"
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Train, survey and report, on a cluster, as a run of Kubeflow Pipelines."""
    from lossmap.components.importing.digests import with_weights_digest
    from lossmap.pipelines.cluster.submit import check_for_cluster
    from lossmap.pipelines.recipes.resolve import resolve
    from lossmap.pipelines.screens.cluster import follow_run, show_demands, submit_all

    settings = settings_of(None, None)
    experiments = [resolve(target, sets or []) for target in targets]
    for experiment in experiments:
        check_for_cluster(experiment)
    experiments = [with_weights_digest(experiment) for experiment in experiments]
    if dry_run:
        show_demands(experiments, as_json)
        return
    started = submit_all(experiments, settings, not no_cache, as_json)
    if follow:
        raise typer.Exit(max(follow_run(run, settings) for run in started))


def status(
    run: ClusterRun, as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False
) -> None:
    """Tell how a run on a cluster is getting on; exit code 1 if it failed, 130 if it was cancelled."""
    from lossmap.pipelines.screens.cluster import show_status

    raise typer.Exit(show_status(run, settings_of(None, None), as_json))


def logs(
    run: ClusterRun,
    step: Annotated[
        str | None,
        typer.Option("--step", help="prepare, train, plan, tile, merge, report or clean-up; all without it"),
    ] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", min=0, help="of the training's lines only those of this process")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the run has ended")] = False,
) -> None:
    """Print what the steps of a run on a cluster say."""
    from lossmap.pipelines.screens.cluster import show_logs

    show_logs(run, settings_of(None, None), step, rank, follow)


def cancel(run: ClusterRun) -> None:
    """End a run on a cluster, and leave nothing of it running."""
    from lossmap.pipelines.screens.cluster import cancel_run

    cancel_run(run, settings_of(None, None))


def retry(
    run: ClusterRun,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="tell what goes on until the run has ended; the exit code says how"
        ),
    ] = False,
) -> None:
    """Start a run that failed or was cancelled once more; what is finished stays."""
    from lossmap.pipelines.screens.cluster import follow_run, retry_run

    settings = settings_of(None, None)
    retry_run(run, settings)
    if follow:
        raise typer.Exit(follow_run(run, settings))


def compile_pipeline(
    target: Annotated[str, typer.Argument(metavar="RECIPE|FILE.yaml", autocompletion=recipe_names)],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="where to write the pipeline")
    ],
    sets: Sets = None,
) -> None:
    """Write the pipeline of an experiment as YAML, to upload it to Kubeflow Pipelines."""
    from lossmap.pipelines.cluster.submit import check_for_cluster
    from lossmap.pipelines.recipes.resolve import resolve
    from lossmap.pipelines.screens.cluster import write_package

    experiment = resolve(target, sets or [])
    check_for_cluster(experiment)
    write_package(experiment, settings_of(None, None), output)
