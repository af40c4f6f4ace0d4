"""The order in which numbers are read: ten that matter, the others by theme."""

from collections.abc import Iterable, Mapping

from lossmap.components.config.scalars import measure_of
from lossmap.components.core.estimates import ENDS

TEN = (
    "test_error",
    "train_loss",
    "floor",
    "ceiling",
    "basin_fraction",
    "line_convex_fraction",
    "minima",
    "hessian_largest",
    "hessian_trace",
    "parameters",
)
_NEXT = (
    "test_loss",
    "train_error",
    "centre_loss",
    "centre_basin_fraction",
    "convex_fraction",
    "largest_persistence",
    "line_minima",
    "line_roughness",
    "hessian_smallest",
    "hessian_negative_to_positive",
    "hessian_convex_fraction",
    "effective_dimension",
    "trajectory_explained",
    "load_max_over_mean",
    "training_seconds",
)
_THEMES: Mapping[str, tuple[str, ...]] = {
    "Training": ("test_", "train_", "training_"),
    "Curvature": ("hessian_", "gauss_newton_", "fisher_", "empirical_fisher_", "effective_"),
    "Experts": ("balance_", "importance_", "load_", "dropped_"),
    "How it was surveyed": ("points", "evaluated_", "masked_", "spacing", "trajectory_"),
}


def is_bound(name: str) -> bool:
    """Whether a scalar is the end of another one's interval or range."""
    return name.endswith(tuple(f"_{end}" for end in ENDS))


def ten(names: Iterable[str]) -> list[str]:
    """Those of the ten that there are, in their order."""
    present = set(names)
    return [name for name in TEN if name in present]


def sortable(scalars: Mapping[str, float | None]) -> dict[str, float]:
    """At most 25 numbers that runs are sorted by: no bounds of intervals, nothing that a run does not have.
    All are in the report's scalars.json.
    """
    return {name: value for name in (*TEN, *_NEXT) if (value := scalars.get(name)) is not None}


def by_theme(names: Iterable[str]) -> dict[str, list[str]]:
    """The others, by theme."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name not in TEN and not is_bound(name):
            found.setdefault(theme(name), []).append(name)
    return found


def theme(name: str) -> str:
    """What a number is about."""
    measure = measure_of(name)
    if measure.endswith("sharpness"):
        return "Curvature"
    for heading, beginnings in _THEMES.items():
        if measure.startswith(beginnings):
            return heading
    return "The line" if name.startswith("line_") else "The plane"
