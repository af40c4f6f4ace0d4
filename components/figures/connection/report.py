"""The report of a connection: numbers, page and picture in the store, and all of them in MLflow."""

import hashlib
import json
from collections.abc import Mapping

from lossmap.components.config.settings import UNTRACKED
from lossmap.components.core.frozen import canonical_json
from lossmap.components.figures.connection.page import connection_page
from lossmap.components.figures.connection.plot import connection
from lossmap.components.figures.connection.record import record, scalars
from lossmap.components.figures.connection.summary import ConnectionSummary
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.tracking.runs import open_connection_tracker

PAGE, PICTURE, RESULT = "page.html", "connection.png", "connection.json"


def write(store: Store, summary: ConnectionSummary, addresses: Mapping[str, str]) -> str:
    """Write page, picture and numbers, these last, unless the store has them; returns their digest.

    Args:
        store: where they are kept.
        summary: the connection.
        addresses: of the paths, by name.
    """
    digest = _digest(summary, addresses)
    if not store.exists(layout.connection_result(digest)):
        files = {
            PAGE: connection_page(summary).encode(),
            PICTURE: connection(summary),
            RESULT: json.dumps(record(summary), allow_nan=False, indent=2).encode(),
        }
        for name, content in files.items():
            store.write(layout.connection(digest, name), content)
    return digest


def track(store: Store, summary: ConnectionSummary, digest: str, tracking: str) -> None:
    """Log what was written to MLflow, unless tracking is `none`.

    Raises:
        TrackingError: MLflow is out of reach; the report in the store is complete.
    """
    if tracking == UNTRACKED:
        return
    tracker = open_connection_tracker(
        tracking, store.uri, digest, summary.runs, summary.connecting, summary.experiment, summary.manifest
    )
    with tracker.concluding():
        tracker.log_final(scalars(summary), step=0)
        tracker.log_artifacts(
            {name: store.read(layout.connection(digest, name)) for name in (PAGE, PICTURE, RESULT)}
        )


def _digest(summary: ConnectionSummary, addresses: Mapping[str, str]) -> str:
    identity = {
        "runs": summary.runs,
        "connecting": summary.connecting.model_dump(mode="json"),
        "paths": dict(addresses),
    }
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()
