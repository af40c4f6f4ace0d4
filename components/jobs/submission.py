"""One job for one request, however often it is asked for; and its end."""

import time
from collections.abc import Callable, Sequence

from lossmap.components.core.errors import ClusterError, Interrupted
from lossmap.components.jobs.connection import Api, ApiError
from lossmap.components.jobs.kind import Job, Kind, identity_of, made_by
from lossmap.components.jobs.request import Launcher, Request, name_of

_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0


def submit(
    api: Api,
    kind: Kind,
    request: Request,
    launcher: Launcher,
    say: Callable[[str], None],
    signals: Sequence[int],
) -> None:
    """Create the job, or adopt the one that an earlier start of the same step created.

    One of the same name that has ended, or is being deleted, makes room first; so does one of an earlier
    pipeline run that somebody terminated, once it notices that nobody waits for it any longer.

    Raises:
        ClusterError: a job of that name belongs to somebody else, or does not make room.
        Interrupted: the launcher was asked to stop while it waited for room.
    """
    name, namespace, end = name_of(request), api.namespace, time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        if _created(api, kind, request, launcher):
            say(f"created {kind.name} {namespace}/{name}")
            return
        existing = kind.get(api, name, namespace)
        if existing and not existing.is_deleted:
            _refuse_a_stranger(existing, request, kind)
            if existing.ending:
                kind.delete(api, name, namespace)
            elif existing.pipeline == launcher.pipeline:
                say(f"going on with {kind.name} {namespace}/{name}, which is there already")
                return
        if signals:
            raise Interrupted(f"training was asked to stop before there was room for {kind.name} {name}")
        time.sleep(_PAUSE_SECONDS)
    raise ClusterError(
        f"{kind.name} {namespace}/{name} has made no room for more than {_PATIENCE_SECONDS:.0f} s: another"
        f" pipeline run of the same name goes on, or it cannot be deleted; see: kubectl -n {namespace}"
        f" describe {kind.name.lower()} {name}"
    )


def delete(
    api: Api, kind: Kind, name: str, seconds: float, pause: Callable[[float], None] = time.sleep
) -> bool:
    """Delete a job with what it has made; whether all of it was gone within some seconds.

    Args:
        api: the cluster, in whose namespace it is.
        kind: of the job.
        name: of the job.
        seconds: for which its end is waited for.
        pause: lets some seconds pass.
    """
    end = time.monotonic() + seconds
    kind.delete(api, name, api.namespace)
    while kind.get(api, name, api.namespace) or any(made_by(api, kind, name, api.namespace)):
        if time.monotonic() > end:
            return False
        pause(_PAUSE_SECONDS)
    return True


def _created(api: Api, kind: Kind, request: Request, launcher: Launcher) -> bool:
    """Create the job of a request; False where there is one of that name."""
    try:
        kind.create(api, request, launcher, api.namespace)
    except ApiError as error:
        if error.status != 409:
            raise
        return False
    return True


def _refuse_a_stranger(existing: Job, request: Request, kind: Kind) -> None:
    if existing.identity != identity_of(request):
        owner, requester = _text(existing.identity), _text(identity_of(request))
        raise ClusterError(
            f"{kind.name} {name_of(request)} is there for somebody else ({owner}, expected {requester});"
            " delete it or choose another run name"
        )


def _text(identity: dict[str, str | None]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in identity.items())
