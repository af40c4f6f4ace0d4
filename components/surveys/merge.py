"""From tiles to grids."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.adaptive.plane import interpolate
from lossmap.components.landscape.grid import Grid, Point, Result, Surface, to_npz
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_npz
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part
from lossmap.components.surveys.pending import grids
from lossmap.components.surveys.tiles import evaluated_points

_CENTRE = (0.0, 0.0)
_APART = 1e-3  # far above what another order of sums and another processor round


def merge(run: Run) -> list[dict[str, Surface]]:
    """Assemble the grids of every pair of directions from its tiles and write them; returns them pair by
    pair.

    A point that no tile holds stays a hole, unless the plane is adaptive and complete: there it is
    interpolated.

    Raises:
        ExperimentError: the loss at the centre is not that of the network as it was taken in.
    """
    landscape = run.experiment.landscape
    merged = []
    for part in run.survey.planes:
        known = evaluated_points(run, part)
        _check_centre(run, known)
        merged.append(
            {name: _assembled(name, grid, landscape, known) for name, grid in grids(landscape).items()}
        )
        for name, surface in merged[-1].items():
            run.store.write(_key(part, name, landscape), to_npz(**vars(surface)))
    return merged


def _check_centre(run: Run, known: Mapping[Point, Result]) -> None:
    """Compare the centre with the loss of an imported network, where all samples are surveyed, BatchNorm has
    the statistics that it had, and weights move in the type in which they came.
    """
    landscape, split = run.experiment.landscape, run.experiment.landscape.split
    if not isinstance(run.experiment.model, Imported) or _CENTRE not in known:
        return
    result = run.training_result
    whole = landscape.samples >= run.manifest.count(split) and landscape.batch_norm == "frozen"
    if not whole or result.get("narrow_types", True):
        return
    found, expected = known[_CENTRE].loss, result[split]["loss"]
    losses = [abs(each.loss) for each in known.values() if np.isfinite(each.loss)]
    if np.isfinite(expected) and not abs(found - expected) <= _APART * max(abs(expected), *losses, 0.0):
        raise ExperimentError(
            f"the loss at the centre of {run.name} is {found:.6g}, and the network's own on the same samples"
            f" {expected:.6g}: the pods or processes that evaluated it computed something else than the one"
            " that took it in; compare their packages and devices, and start a new run"
        )


def _assembled(name: str, grid: Grid, landscape: Landscape, known: Mapping[Point, Result]) -> Surface:
    surface = assemble(grid, known)
    if name == "plane" and landscape.adaptive:
        return interpolate(surface, landscape.adaptive, landscape.seed)
    return surface


def assemble(grid: Grid, known: Mapping[Point, Any]) -> Surface:
    """The values on a grid; points that are not known stay NaN and unevaluated."""
    first = next(iter(known.values())) if known else Result(float("nan"), float("nan"), float("nan"))
    groups = len(first.group_losses)
    missing = Result(float("nan"), float("nan"), float("nan"), (float("nan"),) * groups)
    rows = [vars(known.get(point, missing)) for point in grid.points()]
    shape = (len(grid.y), len(grid.x))
    values = {
        name: np.array([row[name] for row in rows], dtype=np.float64).reshape(*shape, -1)
        for name in ("loss", "error", "loss_standard_error", "group_losses")
    }
    evaluated = np.array([point in known for point in grid.points()]).reshape(shape)
    return Surface(
        x=np.array(grid.x),
        y=np.array(grid.y),
        loss=values["loss"][..., 0],
        error=values["error"][..., 0],
        loss_standard_error=values["loss_standard_error"][..., 0],
        group_losses=values["group_losses"].reshape(*shape, groups),
        evaluated=evaluated,
        interpolated=np.zeros(shape, dtype=bool),
        group_weights=np.array(first.group_weights, dtype=np.float64),
    )


def load_surfaces(run: Run) -> dict[str, Surface]:
    """The merged grids of a run's first pair of directions, which are drawn, by name."""
    return load_pairs(run)[0]


def load_pairs(run: Run) -> list[dict[str, Surface]]:
    """The merged grids of every pair of directions by name."""
    names = grids(run.experiment.landscape)
    return [{name: _load_surface(run, part, name) for name in names} for part in run.survey.planes]


def _load_surface(run: Run, part: Part, name: str) -> Surface:
    arrays = load_npz(run.store, _key(part, name, run.experiment.landscape))
    return Surface(**arrays)  # type: ignore[arg-type]


def _key(part: Part, name: str, landscape: Landscape) -> str:
    settings = landscape.adaptive.model_dump_json() if name == "plane" and landscape.adaptive else ""
    return layout.grid(part.address, grids(landscape)[name].digest(settings))
