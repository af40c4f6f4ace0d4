"""What the cells of a study found, in a folder that can be committed, so that several machines, and several
sittings, make one study:

    <folder>/<network>-<levels>-s<seed>/cell.json    which cell, how it was asked for, every scalar of its
                                                     report, its training, its path on the plane
    <folder>/<network>-<levels>-s<seed>/plane-0.npz  the loss on the plane of each pair of directions: x (X,),
    <folder>/<network>-<levels>-s<seed>/line-0.npz   y (Y,), and loss, error, loss_standard_error, evaluated,
                                                     interpolated (Y, X), as landscape.grid.Surface has them

Neither trained weights nor paths of the machine are among them.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lossmap.components.config.experiment import Experiment
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.serialization import flat, plain
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_json
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import Run, load_training_computation
from lossmap.components.studies.cells import Cell, Outcome
from lossmap.pipelines.stages import Say

_CELL = "cell.json"


def export_cells(store: Store, finished: Sequence[Cell], folder: Path) -> None:
    """Write what finished cells found, over what the folder has of them.

    Raises:
        ExperimentError: the folder cannot be written.
    """
    for cell in finished:
        files, place = _files(store, cell), folder / _place(cell)
        try:
            place.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (place / name).write_bytes(content)
        except OSError as error:
            raise ExperimentError(
                f"{folder} cannot be written: {error.strerror}; name another folder"
            ) from None


def exported_outcomes(cells: Sequence[Cell], folder: Path, say: Say) -> tuple[list[Outcome], list[Cell]]:
    """The cells that a folder has, with their scalars, and those that it lacks.

    Args:
        cells: of the study.
        folder: where cells were exported to.
        say: hears of cells beside the study's, and where versions, processors or precisions differ.

    Raises:
        ExperimentError: the folder has none of them; one was asked for otherwise than the study says; or they
            are of several data sets.
    """
    read = [(cell, _read(folder / _place(cell) / _CELL)) for cell in cells]
    found = [(cell, record) for cell, record in read if record]
    if not found:
        names = ", ".join(_place(cell) for cell in cells[:3])
        raise ExperimentError(f"{folder} has none of the study's cells ({names} …); export some to it first")
    for cell, record in found:
        _check(cell, record, folder)
    records = [record for _, record in found]
    _check_data(records, folder)
    _tell_differences(records, say)
    _tell_others(cells, folder, say)
    taken = [Outcome(replace(cell, run=record["run"]), record["scalars"]) for cell, record in found]
    return taken, [cell for cell, record in read if not record]


def _place(cell: Cell) -> str:
    return "-".join([cell.network, *cell.levels.values(), f"s{cell.seed}"])


def _files(store: Store, cell: Cell) -> dict[str, bytes]:
    from lossmap.components.landscape.grid import to_small_npz
    from lossmap.components.surveys.stored_result import load_result

    run = Run(store, cell.run)
    result = load_result(run)
    path = [
        {**each.position.model_dump(mode="json"), "loss": each.loss, "plane_loss": each.plane_loss}
        for each in result.trajectory
    ]
    record = {
        "network": cell.network,
        "levels": dict(cell.levels),
        "seed": cell.seed,
        "run": cell.run,
        "asked": _asked(run.experiment),
        "dataset": run.manifest.digest,
        "software": load_training_computation(store, run.training).software,
        "training": run.training_result,
        "scalars": load_json(store, layout.scalars(cell.run)),
        "path": path,
    }
    files = {_CELL: (json.dumps(plain(record), indent=1, allow_nan=False) + "\n").encode()}
    for kind, surfaces in (("plane", result.planes), ("line", result.lines)):
        files |= {f"{kind}-{number}.npz": to_small_npz(surface) for number, surface in enumerate(surfaces)}
    return files


def _asked(experiment: Experiment) -> dict[str, Any]:
    """What decides a cell's numbers, but for where its data lie."""
    whole = experiment.model_dump(mode="json", include={"data", "model", "training", "landscape"})
    return {**whole, "data": {name: value for name, value in whole["data"].items() if name != "source"}}


def _read(file: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{file} cannot be read: {error}; export that cell again") from None
    return record


def _check(cell: Cell, record: Mapping[str, Any], folder: Path) -> None:
    found, expected = (dict(flat(asked)) for asked in (record["asked"], _asked(cell.experiment)))
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise ExperimentError(
                f"{folder / _place(cell)} was made with {name} {found.get(name)}, expected"
                f" {expected.get(name)} as in the study; run that cell again, or name by --set what it was"
                " made with"
            )


def _check_data(records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    datasets = sorted({record["dataset"][:12] for record in records})
    if len(datasets) > 1:
        raise ExperimentError(
            f"the cells in {folder} are of several data sets ({', '.join(datasets)}), expected one; run them"
            " on the same images"
        )


def _tell_differences(records: Sequence[Mapping[str, Any]], say: Say) -> None:
    kinds = {
        "versions": [record["software"] for record in records],
        "precisions": [record["training"]["precision"] for record in records],
        "processors": [record["training"]["processor"] for record in records],
    }
    for kind, values in kinds.items():
        counts = Counter(values)
        if len(counts) > 1:
            told = ", ".join(f"{value} ({count} cells)" for value, count in counts.items())
            say(f"these cells were made by several {kind}: {told}")


def _tell_others(cells: Sequence[Cell], folder: Path, say: Say) -> None:
    known = {_place(cell) for cell in cells}
    others = sorted(file.parent.name for file in folder.glob(f"*/{_CELL}") if file.parent.name not in known)
    if others:
        say(f"{folder} has other cells, too, which --seeds and --first-seed choose: {', '.join(others)}")
