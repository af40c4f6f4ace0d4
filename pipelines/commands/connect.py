"""The command `lossmap connect`."""

from typing import Annotated

import typer

from lossmap.components.core.errors import Interrupted
from lossmap.pipelines.commands.options import Store, Tracking, settings_of


def connect(  # noqa: PLR0913  # the options of the command
    runs: Annotated[
        tuple[str, str],
        typer.Argument(metavar="RUN RUN", help="two trained runs of one architecture and one data set"),
    ],
    *,
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
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Tell whether two minima are connected: barriers along straight, aligned and trained paths."""
    from lossmap.pipelines import local
    from lossmap.pipelines.connect import connect_runs, connection_settings
    from lossmap.pipelines.screens.connect import connection_json, show_connection
    from lossmap.pipelines.screens.console import progress_bar
    from lossmap.pipelines.stages import printed_stage

    settings = settings_of(store, tracking)
    options = {
        "points": points,
        "samples": samples,
        "batch_norm": batch_norm,
        "seed": seed,
        "threshold": threshold,
    }
    options |= {"curve": curve, "curve_epochs": curve_epochs, "curve_learning_rate": curve_learning_rate}
    first, second = (local.open_run(name, settings) for name in runs)
    connecting = connection_settings(first, options)
    stage = printed_stage if as_json else progress_bar
    try:
        report = connect_runs((first, second), connecting, settings.tracking, stage)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            "interrupted; the paths that are finished are kept, and the same command goes on"
        ) from None
    if as_json:
        typer.echo(connection_json(report, settings))
    else:
        show_connection(report, settings)
