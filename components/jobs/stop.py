"""Ends training jobs by their labels, and waits until nothing of them is left."""

import time
from collections.abc import Iterator

from kubernetes import client

from lossmap.components.jobs.connection import Api, ApiError, connect
from lossmap.components.jobs.kind import Kind, made_by
from lossmap.components.jobs.kinds import KINDS

_PAUSE_SECONDS = 1.0


def stop(namespace: str, label_selector: str, api: Api | None = None, seconds: float = 60.0) -> list[str]:
    """Delete the training jobs that a label selector such as `lossmap/run=NAME` selects, and wait for their
    pods and services to go.

    Returns:
        What was left after so many seconds, such as `pod train-x-worker-0`; nothing when all is well.

    Raises:
        ClusterError: the API server refuses, or stays away.
    """
    api, end = api or connect(), time.monotonic() + seconds
    deleted = [(kind, kind.names(api, namespace, label_selector)) for kind in KINDS.values()]
    for kind, names in deleted:
        for name in names:
            kind.delete(api, name, namespace)
    while left := [
        each for kind, names in deleted for each in _left(api, kind, namespace, label_selector, names)
    ]:
        if time.monotonic() >= end:
            break
        time.sleep(_PAUSE_SECONDS)
    return left


def _left(api: Api, kind: Kind, namespace: str, label_selector: str, names: list[str]) -> Iterator[str]:
    for name in kind.names(api, namespace, label_selector):
        yield f"{kind.name.lower()} {name}"
    for name in names:
        yield from made_by(api, kind, name, namespace)
        for service in _services(api, namespace, kind.pods_of(name)):
            yield f"service {service.metadata.name}"


def _services(api: Api, namespace: str, selector: str) -> list[client.V1Service]:
    try:
        return list(api.core.list_namespaced_service(namespace, label_selector=selector).items)
    except ApiError as error:
        if error.status != 403:
            raise
        return []  # they go with the pods, so that this look is for certainty alone
