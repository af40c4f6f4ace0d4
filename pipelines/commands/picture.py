"""The command `lossmap picture`."""

from pathlib import Path
from typing import Annotated

import typer

from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.commands.completion import drawn_names
from lossmap.pipelines.commands.options import Limits, ScaleOf, Store, pictures_of, settings_of


def picture(  # noqa: PLR0913  # the options of the command
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|FILE.npz...",
            help="finished runs, or planes that `lossmap export --format npz` wrote; side by side",
            autocompletion=drawn_names,
        ),
    ],
    *,
    style: Annotated[
        str, typer.Option("--style", metavar="STYLE", help="paper (on white), slides or dark")
    ] = "paper",
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="SIZE",
            help="width, or WIDTHxHEIGHT, in in (else), cm, mm or px: 17.8cm, 7x4in, 1920x1080px",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help=".png, .svg or .pdf (else picture.png)"),
    ] = None,
    turn: Annotated[
        str | None, typer.Option("--turn", metavar="FILE.gif", help="turning once around, instead of a still")
    ] = None,
    scale: ScaleOf = None,
    limits: Limits = None,
    store: Store = None,
) -> None:
    """Draw finished runs for a paper or a talk, as lit surfaces side by side on one scale; print the file and
    how it was made.
    """
    from lossmap.pipelines.picture import check_turn, still, write_still, write_turn

    if turn and output:
        raise ExperimentError("picture takes --output FILE for a still, or --turn FILE.gif; expected one")
    target = Path(turn or output or "picture.png")
    if turn:
        check_turn(target)
    drawn = still(networks, settings_of(store, None), style, size, pictures_of(scale, limits))
    if turn:
        write_turn(drawn, target)
    else:
        write_still(drawn, target)
    typer.echo(target)
    typer.echo(drawn.caption, err=True)
