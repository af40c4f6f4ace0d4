"""The command `lossmap connect`."""

from typing import Annotated

import typer

from lossmap.components.core.errors import ExperimentError, Interrupted
from lossmap.pipelines.commands.options import (
    Arguments,
    Loss,
    Model,
    Sets,
    Source,
    Store,
    Study,
    Tracking,
    settings_of,
)

_FEWEST = 2


def connect(  # noqa: PLR0913  # the options of the command
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="trained runs of one architecture and one data set; with --model files of weights",
        ),
    ],
    *,
    model: Model = None,
    arguments: Arguments = "{}",
    data: Source = None,
    loss: Loss = "cross-entropy",
    sets: Sets = None,
    points: Annotated[
        int | None, typer.Option("--points", help="on each path, both ends included (else 25)")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="training samples, and as many test samples (else 512)")
    ] = None,
    batch_norm: Annotated[
        str | None,
        typer.Option(
            "--batch-norm",
            metavar="CHOICE",
            help="BatchNorm's statistics: reestimated at every point (default), interpolated, or frozen",
        ),
    ] = None,
    curve: Annotated[
        str | None, typer.Option("--curve", metavar="SHAPE", help="bezier (default), polygon, or none")
    ] = None,
    curve_epochs: Annotated[
        int | None, typer.Option("--curve-epochs", help="epochs that train the curve's bend (else 50)")
    ] = None,
    curve_learning_rate: Annotated[
        float | None,
        typer.Option(
            "--curve-learning-rate",
            help="at their start (else the first run's, where SGD trained it, or 0.01)",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="barrier of the loss up to which networks count as connected (else 0.05 of cross-entropy)",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="of the choice of samples, the alignment and the curve (else 0)"),
    ] = None,
    study: Study = "lossmap",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Tell whether minima are connected: barriers along straight, aligned and trained paths; of more than two
    between every two of them.
    """
    from lossmap.components.importing.places import weight_files
    from lossmap.pipelines import local
    from lossmap.pipelines.connect import connect_all, connect_runs, connection_settings, for_many
    from lossmap.pipelines.screens.connect import connection_json, matrix_json, show_connection, show_matrix
    from lossmap.pipelines.screens.console import progress_bar
    from lossmap.pipelines.stages import printed_stage
    from lossmap.pipelines.survey import Network, imported_experiments, imported_run

    settings = settings_of(store, tracking)
    options = {
        "points": points,
        "samples": samples,
        "batch_norm": batch_norm,
        "seed": seed,
        "threshold": threshold,
    }
    options |= {"curve": curve, "curve_epochs": curve_epochs, "curve_learning_rate": curve_learning_rate}
    if bool(model) != bool(data):
        raise ExperimentError("--model and --data go together: with them, files of weights are connected")
    if not model and (sets or loss != "cross-entropy" or arguments != "{}"):
        raise ExperimentError("--set, --loss and --factory-arguments are for files of weights, with --model")
    stage = printed_stage if as_json else progress_bar
    names = weight_files(networks) if model else networks
    if len(names) < _FEWEST:
        raise ExperimentError(f"connect got one network ({', '.join(names)}), expected two or more")
    try:
        if model and data:
            network = Network(model, arguments, loss=loss)
            imported = imported_experiments(network, names, data, study, sets or [])
            runs = [imported_run(experiment, settings, stage) for experiment in imported]
        else:
            runs = [local.open_run(name, settings) for name in names]
        connecting = connection_settings(runs[0], options)
        if len(runs) > _FEWEST:
            connecting = for_many(connecting, options)
            labels = [name.rpartition("/")[2] for name in names] if model else names
            matrix = connect_all(runs, labels, connecting, settings.tracking, stage)
        else:
            report = connect_runs((runs[0], runs[1]), connecting, settings.tracking, stage)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            "interrupted; the paths that are finished are kept, and the same command goes on"
        ) from None
    if len(runs) > _FEWEST:
        typer.echo(matrix_json(matrix, settings)) if as_json else show_matrix(matrix, settings)
    else:
        typer.echo(connection_json(report, settings)) if as_json else show_connection(report, settings)
