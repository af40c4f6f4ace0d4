"""What a person sees while runs go on and when they are done."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich.progress
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.pictures import Pictures
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import Interrupted, TrackingError
from lossmap.components.core.progress import Printed, Progress, counted, duration, left
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.tracking.server import is_server, ui_address
from lossmap.pipelines import compare, local
from lossmap.pipelines.doctor import Finding

if TYPE_CHECKING:
    from lossmap.components.figures.comparison.contrasts import Comparison

console = Console(highlight=False)
_COLUMNS = {
    "test_error": "error",
    "parameters": "weights",
    "floor": "floor",
    "ceiling": "ceiling",
    "basin_fraction": "basin",
    "line_convex_fraction": "convex",
}
_SHARES = ("test_error", "basin_fraction", "line_convex_fraction")
_LEGEND = (
    " error: wrong answers on the test set; floor, ceiling: least and greatest loss\n"
    " on the plane; basin: share of the plane with less loss than by guessing;\n"
    " convex: share of the line where its second difference is not negative"
)


def run_experiment(run: Run, experiment: Experiment, settings: Settings) -> None:
    """Run an experiment with a progress bar for each stage.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the message says how to go on.
    """
    console.print(run.name, style="bold")
    start = time.monotonic()
    try:
        local.run(run, experiment, settings, progress_bar)
    except TrackingError as error:
        console.print(f"  {local.untracked(run.name, error)}", soft_wrap=True, markup=False)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"interrupted; what is finished is kept. Go on with: lossmap run --resume {run.name}"
        ) from None
    console.print(f"  done in {duration(time.monotonic() - start)}")


def show_runs(runs: Sequence[Run], settings: Settings) -> None:
    """Say what came out and where it lies."""
    show_comparison(compare.rows(runs), settings)
    for run in runs:
        for note in run.survey.notes:
            console.print(f"{'note':12} {run.name}: {note}", soft_wrap=True, markup=False)
    server = is_server(settings.tracking)
    ui = ui_address(settings.tracking) if server else f"{_command()} ui{_options(settings)}"
    console.print(f"MLflow UI    {ui}", soft_wrap=True, markup=False)


def show_comparison(
    rows: Sequence[compare.Row], settings: Settings, pictures: Pictures | None = None
) -> None:
    """Show finished runs as a table, and of several what differs; say where their reports are. Of several,
    and where it is said how the loss is drawn, write the comparison page.
    """
    console.print(_table(rows), _LEGEND, sep="\n")
    pages = [("report", layout.report(row.run.name, "page.html")) for row in rows]
    if len(rows) > 1 or pictures:
        comparison = compare.compared([row.run for row in rows])
        if len(rows) > 1:
            _show_differences(comparison, settings)
        page = compare.write_page(open_store(settings.store), comparison, pictures)
        pages.append(("comparison", page))
    for name, key in pages:
        console.print(f"{name:12} {local.place(settings.store, key)}", soft_wrap=True, markup=False)


def _show_differences(comparison: "Comparison", settings: Settings) -> None:
    """What differs, and what cannot be decided; said to MLflow, too, where it has the study."""
    from lossmap.components.figures.comparison import sentences

    console.print()
    for line in (sentences.answer(comparison), *sentences.caveats(comparison)):
        console.print(Padding(escape(line), (0, 1)))
    console.print()
    try:
        compare.tell_mlflow(comparison, settings)
    except TrackingError as error:
        console.print(f"MLflow did not get what differs: {error}", markup=False)


def show_findings(findings: Sequence[Finding]) -> None:
    """Show what `doctor` found, each with its cure where it is not well."""
    table = Table("", "what", box=None)
    table.add_column("found", overflow="fold")
    for finding in findings:
        mark = "ok" if finding.ok else "NO"
        text = finding.detail if finding.ok else f"{finding.detail}; {finding.cure}"
        table.add_row(mark, finding.name, escape(text))
    console.print(table)


@contextmanager
def progress_bar(name: str) -> Iterator[Progress]:
    """A progress bar for a stage, or plain lines where no terminal is."""
    if not console.is_terminal:
        yield Printed(f"  {name}")
        return
    columns = (
        rich.progress.TextColumn("  {task.description:8}"),
        rich.progress.BarColumn(bar_width=10),
        _Said(_next_stage(name)),
    )
    with rich.progress.Progress(*columns, console=console) as bars:
        task = bars.add_task(name, total=None, detail="")
        yield lambda done, total, detail: bars.update(
            task, completed=done, total=total, detail=detail, most=total
        )
        total = bars.tasks[task].total or 1
        bars.update(task, completed=total, total=total)


class _Said(rich.progress.ProgressColumn):
    """How far a stage is, what it does, and how long it will take or has taken; in the words of `Printed`."""

    def __init__(self, following: str):
        super().__init__()
        self._following = following

    def render(self, task: rich.progress.Task) -> Text:
        """In one line, which is cut at its end where there is no room."""
        total = task.fields.get("most")
        if total is None:
            return Text("")
        times = [duration(task.elapsed or 0.0)]
        if not task.finished:
            known = task.time_remaining is not None
            times = [left(task.time_remaining or 0.0, total)] if known else []
            times += [f"then {self._following}"] if self._following else []
        parts = (counted(int(task.completed), total), task.fields["detail"], _in_brackets(times))
        return Text(" ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")


def _in_brackets(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)})" if texts else ""


def _next_stage(name: str) -> str:
    """What comes after a stage of a run; empty after the last one, and after those of other commands."""
    later = local.STAGES[local.STAGES.index(name) + 1 :] if name in local.STAGES else ()
    return later[0] if later else ""


def _table(rows: Sequence[compare.Row]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("run", overflow="fold")
    for column in _COLUMNS.values():
        table.add_column(column, justify="right", no_wrap=True)
    recipes = [row.experiment.name for row in rows]
    for row in rows:  # the recipe's name is short, and enough where no two runs share it
        name = row.experiment.name if recipes.count(row.experiment.name) == 1 else row.run.name
        table.add_row(name, *(_text(column, row.scalars.get(column)) for column in _COLUMNS))
    return table


def _text(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    if column in _SHARES:
        return f"{value:.2%}"
    return f"{value:,.0f}" if column == "parameters" else f"{value:.3g}"


def _command() -> str:
    """How the user calls lossmap: by its name where the shell finds this one, else by its path. Where Python
    itself was called (`python -c`, a notebook), the command lies beside Python.
    """
    typed, beside = Path(sys.argv[0]), Path(sys.executable or "python").with_name("lossmap")
    own = typed if typed.stem == "lossmap" and typed.is_file() else beside
    found = shutil.which("lossmap")
    return "lossmap" if found and own.exists() and own.samefile(found) else str(own)


def _options(settings: Settings) -> str:
    if settings.tracking == Settings().tracking:
        return ""
    beside_the_store = settings.tracking == Settings.model_validate({"store": settings.store}).tracking
    return f" --store {settings.store}" if beside_the_store else f" --tracking {settings.tracking}"
