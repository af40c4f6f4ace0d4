"""A run's surfaces as files for other programs."""

from pathlib import Path
from typing import TypeVar

from lossmap.components.core.errors import ExperimentError, LossmapError, StoreError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import load_experiment

Choice = TypeVar("Choice", bound=str)


def export_surface(store: Store, run: str, grid: str, form: str, height: str, output: str | None) -> Path:
    """Write the plane or the line of a finished run to a file, and return its path.

    Args:
        store: where the run is.
        run: its name.
        grid: plane or line.
        form: see `figures.export`.
        height: log or linear.
        output: where to write; RUN-GRID.FORM in this folder without it.
    """
    from lossmap.components.figures.export.surface import FORMATS, HEIGHTS, export
    from lossmap.components.surveys.merge import load_surfaces

    chosen_form = _one_of(FORMATS, "--format", form)
    chosen_height = _one_of(HEIGHTS, "--height", height)
    load_experiment(store, run)  # says which runs there are
    if not store.exists(layout.scalars(run)):
        raise StoreError(f"run {run} is not finished; go on with it: lossmap run --resume {run}")
    surfaces = load_surfaces(store, run)
    if grid not in surfaces:
        raise ExperimentError(
            f"--grid is {grid} and run {run} has {' and '.join(surfaces)}, expected one of those"
        )
    path = Path(output or f"{run}-{grid}.{form}")
    _write(path, export(surfaces[grid], chosen_form, chosen_height))
    return path


def _one_of(choices: tuple[Choice, ...], option: str, value: str) -> Choice:
    for choice in choices:
        if choice == value:
            return choice
    raise ExperimentError(f"{option} is {value}, expected one of {', '.join(choices)}")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise LossmapError(
            f"cannot write {path}: {error.strerror}; name another file with --output"
        ) from None
