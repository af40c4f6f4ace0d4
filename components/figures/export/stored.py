"""A surface with everything that is needed to draw it without its store, as an .npz file: the arrays of the
surface, and `about`, JSON as a text.
"""

import zipfile
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from lossmap.components.config.pictures import Pictures
from lossmap.components.core.errors import LossmapError
from lossmap.components.core.frozen import Frozen
from lossmap.components.figures.run import captions
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.landscape.grid import Surface, from_npz, to_npz
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.stored_result import load_result

FORMAT: Literal["npz"] = "npz"
_ABOUT = "about"


class About(Frozen):
    """What a surface is of.

    Attributes:
        run: its name.
        title: network and data set.
        evaluation: what was evaluated, and how, in sentences.
        interpolation: how the points between evaluated ones were found; empty where all were evaluated.
        guessing_loss: of guessing uniformly; None where that means nothing.
        guess: the same as a formula; empty where there is none.
        networks: the other networks on the plane: name, x, y.
        paths: of training: a label, and the places of snapshots (x, y) in order.
        marks: what networks and paths on the plane are, in sentences; empty where there are none.
        pictures: settings of its pictures.
        experiment: SHA-256 of the run's experiment.
        training: address of the training in its store.
        survey: address of the survey.
    """

    run: str
    title: str
    evaluation: str
    interpolation: str
    guessing_loss: float | None
    guess: str
    networks: tuple[tuple[str, float, float], ...]
    paths: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    marks: str
    pictures: Pictures
    experiment: str
    training: str
    survey: str


@dataclass(frozen=True)
class StoredSurface:
    """A surface, and what it is of."""

    surface: Surface
    about: About

    def npz(self) -> bytes:
        """The file."""
        return to_npz(**vars(self.surface), **{_ABOUT: np.array(self.about.model_dump_json())})


def of_run(run: Run, grid: str = "plane") -> StoredSurface:
    """The plane or the line of a finished run."""
    result = load_result(run)
    summary = RunSummary(run.name, run.experiment, run.manifest, (), {}, result)
    surface = {"plane": summary.plane, "line": summary.line}[grid]
    if surface is None:
        raise LossmapError(f"run {run.name} has no {grid}, expected landscape.{grid} to be an axis")
    return StoredSurface(
        surface,
        About(
            run=run.name,
            title=captions.title(summary),
            evaluation=captions.evaluation(summary),
            interpolation=_interpolation(summary) if surface.interpolated.any() else "",
            guessing_loss=summary.guessing_loss,
            guess=captions.guess(summary),
            networks=tuple(summary.networks),
            paths=tuple(
                (trail.label, tuple((each.position.x, each.position.y) for each in snapshots))
                for trail, snapshots in result.paths
            ),
            marks=f"{captions.networks(summary)}{captions.trails(summary)}".strip(),
            pictures=summary.pictures,
            experiment=run.experiment.digest(),
            **run.links.model_dump(),
        ),
    )


def of_file(content: bytes, name: str) -> StoredSurface:
    """What an .npz file holds; other arrays in it are passed over.

    Raises:
        LossmapError: it is no such file, or says nothing about its surface, as files of older lossmaps.
    """
    try:
        arrays: dict[str, Any] = from_npz(content)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise LossmapError(
            f"{name} is no .npz file, expected what `lossmap export RUN --format npz` writes"
        ) from None
    missing = sorted({field.name for field in fields(Surface)} - arrays.keys())
    if missing:
        raise LossmapError(
            f"{name} has no {', '.join(missing)}, expected what `lossmap export RUN --format npz` writes"
        )
    if _ABOUT not in arrays:
        raise LossmapError(
            f"{name} does not say what its surface is of; write it again: lossmap export RUN --format npz"
        )
    try:
        about = About.model_validate_json(str(arrays[_ABOUT]))
    except ValidationError as error:
        first = error.errors()[0]
        raise LossmapError(
            f"{name}: {'.'.join(map(str, first['loc'])) or _ABOUT} of what it says about its surface:"
            f" {first['msg']}; write it again: lossmap export RUN --format npz"
        ) from None
    return StoredSurface(Surface(**{field.name: arrays[field.name] for field in fields(Surface)}), about)


def _interpolation(run: RunSummary) -> str:
    adaptive = run.experiment.landscape.adaptive
    if not adaptive:
        return ""
    scale = "log loss" if adaptive.scale == "log" else "loss"
    bound = f"{100 * adaptive.tolerance:g}\N{NO-BREAK SPACE}%"
    return f"by cubic radial basis functions of the {scale}, to {bound} of its range"
