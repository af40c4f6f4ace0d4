"""The numbers of a connection of two networks: the scalars that MLflow gets, and all of them for programs."""

from typing import Any

from lossmap.components.core.estimates import scalars_of
from lossmap.components.core.serialization import plain
from lossmap.components.figures.connection.sentences import verdict
from lossmap.components.figures.connection.summary import (
    QUANTITIES,
    ConnectionPath,
    ConnectionSummary,
    Estimates,
    Quantity,
)
from lossmap.components.landscape.connectivity.barriers import PathMaximum, Profile

_CURVES = ("t", "loss", "loss_standard_error", "error", "error_standard_error")


def scalars(summary: ConnectionSummary) -> dict[str, float | None]:
    """What is logged to MLflow: barrier_<path> of the training loss with its interval, of the error, and
    on test samples; the largest rise.
    """
    estimates: dict[str, PathMaximum | None] = {}
    for name, path in summary.paths_by_name.items():
        for split, suffix in (("train", ""), ("test", "_test")):
            for quantity in QUANTITIES:
                kind = "" if quantity == "loss" else "_error"
                estimates[f"barrier_{name}{kind}{suffix}"] = path.barriers.get((split, quantity))
        estimates[f"largest_rise_{name}"] = path.rises["train", "loss"]
    return scalars_of(estimates)


def record(summary: ConnectionSummary) -> dict[str, Any]:
    """Everything as JSON values; NaN and infinity are the texts NaN and Infinity."""
    return {
        "runs": list(summary.runs),
        "trainings": list(summary.trainings),
        "data": summary.manifest.digest,
        "settings": summary.connecting.model_dump(mode="json"),
        "networks": summary.note.model_dump(mode="json"),
        "verdict": verdict(summary),
        "unit": summary.unit,
        "samples": {split: summary.samples(split) for split in summary.paths[0].profiles},
        "paths": [_record(path) for path in summary.paths],
    }


def _record(path: ConnectionPath) -> dict[str, Any]:
    splits = {split: _split_record(path, split, profile) for split, profile in path.profiles.items()}
    return {"path": path.name} | splits


def _split_record(path: ConnectionPath, split: str, profile: Profile) -> dict[str, Any]:
    return {
        "barrier": _estimates(path.barriers, split),
        "largest_rise": _estimates(path.rises, split),
        **{name: plain(getattr(profile, name).tolist()) for name in _CURVES},
    }


def _estimates(estimates: Estimates, split: str) -> dict[Quantity, Any]:
    of_split = {quantity: estimate for (part, quantity), estimate in estimates.items() if part == split}
    return {
        quantity: plain(estimate and estimate.model_dump(exclude_none=True))
        for quantity, estimate in of_split.items()
    }
