"""The command line: `lossmap`."""

import signal
import sys
from typing import NoReturn

import typer

from lossmap.components.core.errors import LossmapError
from lossmap.components.core.machine import explanation, require_current_folder
from lossmap.components.core.processes import interrupts
from lossmap.pipelines.commands.cluster import cancel, compile_pipeline, logs, retry, status, submit
from lossmap.pipelines.commands.connect import connect
from lossmap.pipelines.commands.doctor import doctor, ui
from lossmap.pipelines.commands.explain import explain
from lossmap.pipelines.commands.kept import delete, gc, runs, sync
from lossmap.pipelines.commands.options import many_words
from lossmap.pipelines.commands.picture import picture
from lossmap.pipelines.commands.run import compare, export, recipes, run, show
from lossmap.pipelines.commands.study import study
from lossmap.pipelines.commands.survey import survey

app = typer.Typer(
    name="lossmap",
    help="Train neural networks with data-parallel PyTorch and survey their loss landscapes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on standard error."""
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # asked to stop, as by Ctrl-C
        if signal.getsignal(asked) is not signal.SIG_IGN:  # as after nohup, or in a script's background
            signal.signal(asked, interrupts())
    try:
        require_current_folder()
        app()
    except LossmapError as error:
        typer.echo(f"lossmap: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        line = explanation(error)
        if not line:
            raise
        typer.echo(f"lossmap: {line}", err=True)
        sys.exit(1)
    sys.exit(0)


app.command(no_args_is_help=True)(run)
app.command(no_args_is_help=True, cls=many_words("--checkpoints", "--networks"))(survey)
app.command(no_args_is_help=True)(connect)
app.command(no_args_is_help=True)(study)
app.command()(recipes)
app.command(no_args_is_help=True)(show)
app.command()(compare)
app.command()(explain)
app.command(no_args_is_help=True)(picture)
app.command(no_args_is_help=True)(export)
app.command()(runs)
app.command(no_args_is_help=True)(sync)
app.command(no_args_is_help=True)(delete)
app.command(no_args_is_help=True)(gc)
app.command(no_args_is_help=True)(submit)
app.command(no_args_is_help=True)(status)
app.command(no_args_is_help=True)(logs)
app.command(no_args_is_help=True)(cancel)
app.command(no_args_is_help=True)(retry)
app.command("compile", no_args_is_help=True)(compile_pipeline)
app.command()(ui)
app.command()(doctor)


if __name__ == "__main__":
    main()
