"""What each number of a report can be: the one table that every interval of it follows."""

import re
from collections.abc import Mapping

from lossmap.components.core.estimates import Support

LOSSES = ("centre_loss", "floor", "ceiling")

_SUPPORTS: Mapping[Support, tuple[str, ...]] = {
    Support.SHARE: (
        "test_error",
        "train_error",
        "basin_fraction",
        "centre_basin_fraction",
        "convex_fraction",
        "hessian_convex_fraction",
        "trajectory_explained",
        "dropped_share",
    ),
    Support.POSITIVE: (
        *LOSSES,
        "test_loss",
        "train_loss",
        "roughness",
        "spacing",
        "largest_persistence",
        "rise",
        "fall",
        "hessian_largest",
        "gauss_newton_largest",
        "gauss_newton_trace",
        "fisher_largest",
        "fisher_trace",
        "empirical_fisher_largest",
        "empirical_fisher_trace",
        "effective_dimension",
        "worst_case_sharpness",
        "adaptive_worst_case_sharpness",
        "keskar_box_sharpness",
        "balance_loss",
        "importance_cv",
        "load_cv",
        "load_max_over_mean",
        "training_seconds",
    ),
    Support.COUNT: ("minima", "points", "evaluated_points", "masked_points", "parameters"),
    Support.REAL: (
        "hessian_smallest",
        "hessian_negative_to_positive",
        "hessian_trace",
        "average_case_sharpness",
        "adaptive_average_case_sharpness",
    ),
}
_SUPPORT_OF = {name: support for support, names in _SUPPORTS.items() for name in names}
# a threshold, a radius, and the name of a task, which may have a point in it
_SUFFIX = re.compile(r"_below_.*|(?<=sharpness)_.*|\..*")


def support_of(name: str) -> Support:
    """What the scalar of a report can be; any number where it is not in the table.

    A loss is in it as what is not negative: cross-entropy and squared errors are not. Of a loss that can be
    negative, a negative value has the interval of any number (`Support.ends`).
    """
    measure = measure_of(name)
    if measure.startswith(("barrier_", "largest_rise_")):
        return Support.SHARE if measure.endswith(("_error", "_error_test")) else Support.POSITIVE
    return _SUPPORT_OF.get(measure, Support.REAL)


def measure_of(name: str) -> str:
    """The measure without the line that it is of, its threshold, its radius and its task."""
    return _SUFFIX.sub("", name.removeprefix("line_"))
