"""The report of a connection: numbers, page and picture in the store, and all of them in MLflow."""

import hashlib
import json
from collections.abc import Mapping

from lossmap.components.config.experiment import canonical_json
from lossmap.components.config.progress import Progress, silent
from lossmap.components.figures.connection import ConnectionSummary, record, scalars
from lossmap.components.figures.connection_page import connection_page
from lossmap.components.figures.connection_plot import connection
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.run_tracking import open_connection_tracker

PAGE, PICTURE, RESULT = "page.html", "connection.png", "connection.json"


def report(store: Store, summary: ConnectionSummary, addresses: Mapping[str, str], tracking: str, progress: Progress = silent) -> str:
    """Write the report unless the store has it, log it to MLflow, and return its digest.

    Args:
        store: where the report is kept.
        summary: what was found.
        addresses: of the paths, by name.
        tracking: an MLflow tracking URI.
        progress: hears what is done.

    Raises:
        TrackingError: MLflow is out of reach; the report in the store is complete.
    """
    digest = _digest(summary, addresses)
    if not store.exists(layout.connection_result(digest)):
        progress(0, 2, "drawing")
        found = json.dumps(record(summary), allow_nan=False, indent=2).encode()
        for name, content in ((PAGE, connection_page(summary).encode()), (PICTURE, connection(summary)), (RESULT, found)):
            store.write(layout.connection(digest, name), content)
    progress(1, 2, "logging to MLflow")
    _track(store, summary, digest, tracking)
    progress(2, 2, "")
    return digest


def _digest(summary: ConnectionSummary, addresses: Mapping[str, str]) -> str:
    asked = {"runs": summary.runs, "connecting": summary.connecting.model_dump(mode="json"), "paths": dict(addresses)}
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()


def _track(store: Store, summary: ConnectionSummary, digest: str, tracking: str) -> None:
    tracker = open_connection_tracker(tracking, store.uri, digest, summary.runs, summary.connecting, summary.experiment, summary.manifest)
    tracker.log_final(scalars(summary), step=0)
    tracker.log_artifacts({name: store.read(layout.connection(digest, name)) for name in (PAGE, PICTURE, RESULT)})
    tracker.finish("FINISHED")
