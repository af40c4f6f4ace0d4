"""A run's surfaces as files for other programs."""

from pathlib import Path
from typing import Literal, TypeVar

from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.stores.runs import Run

Choice = TypeVar("Choice", bound=str)


def export_surface(run: Run, grid: str, form: str, height: str, output: str | None) -> Path:
    """Write the plane or the line of a finished run to a file, and return its path.

    Args:
        run: a finished one.
        grid: plane or line.
        form: see `figures.export`.
        height: scale, log or linear.
        output: where to write; RUN-GRID.FORM in this folder without it.
    """
    from lossmap.components.figures.export import stored
    from lossmap.components.figures.export.surface import FORMATS, HEIGHTS, Format, export
    from lossmap.components.surveys.merge import load_surfaces
    from lossmap.components.surveys.pending import grids

    forms: tuple[Literal["npz"] | Format, ...] = (stored.FORMAT, *FORMATS)
    chosen_form = _one_of(forms, "--format", form)
    chosen_height = _one_of(HEIGHTS, "--height", height)
    run.check_finished()
    known = grids(run.experiment.landscape)
    if grid not in known:
        raise ExperimentError(
            f"--grid is {grid} and run {run.name} has {' and '.join(known)}, expected one of those"
        )
    path = Path(output or f"{run.name}-{grid}.{form}")
    if chosen_form == "npz":
        write_file(path, stored.of_run(run, grid).npz())
    else:
        surface = load_surfaces(run)[grid]
        write_file(path, export(surface, chosen_form, chosen_height, run.experiment.pictures))
    return path


def _one_of(choices: tuple[Choice, ...], option: str, value: str) -> Choice:
    for choice in choices:
        if choice == value:
            return choice
    raise ExperimentError(f"{option} is {value}, expected one of {', '.join(choices)}")


def write_file(path: Path, content: bytes) -> None:
    """Write a file that a user named with --output, or that has a name of ours.

    Raises:
        LossmapError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise LossmapError(
            f"cannot write {path}: {error.strerror}; name another file with --output"
        ) from None
