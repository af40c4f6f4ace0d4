"""Runs of MLflow whose lossmap runs are removed."""

from lossmap.components.stores.tracking.client import RunTracker
from lossmap.components.stores.tracking.server import is_begun


def put_into_bin(uri: str, study: str, name: str, store: str) -> bool:
    """Put the run of a lossmap run into MLflow's bin; False where MLflow does not know it.

    Raises:
        TrackingError: MLflow is out of reach, or refuses.
    """
    if not is_begun(uri):
        return False
    tracker = RunTracker(uri, study, name, store)
    if not tracker.resume():
        return False
    tracker.delete()
    return True
