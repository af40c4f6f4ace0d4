"""Trains on a cluster: torchrun in the pods of a training job, and this process, in a pod of its own, that
waits for them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from lossmap.components.config.cluster import Cluster
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.errors import ClusterError, Interrupted, LossmapError
from lossmap.components.core.processes import noted_signals
from lossmap.components.jobs import submission
from lossmap.components.jobs.connection import Api, connect, own_pod_name
from lossmap.components.jobs.kind import Kind
from lossmap.components.jobs.kinds import chosen_kind
from lossmap.components.jobs.request import Launcher, Request, name_of
from lossmap.components.jobs.transcript import Say, Transcript
from lossmap.components.jobs.watch import Pace, Watch, failure
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store, open_store
from lossmap.components.training.heartbeat import beating
from lossmap.components.training.listen import Listener, Listeners

_DELETION_SECONDS = 45.0
_PACE = Pace()
_GONE = (
    "the training job was deleted by somebody else, as `lossmap cancel` does; `lossmap retry` goes on from"
    " its checkpoint"
)


def print_line(line: str) -> None:
    """Print a line of a training at once."""
    print(line, flush=True)


def launch(
    address: str,
    training: Training,
    cluster: Cluster,
    nodes: int,
    settings: Settings,
    listeners: Listeners,
    say: Say = print_line,
) -> None:
    """Carry out a training by a job in this pod's cluster; returns when the store has its result.

    Asked for again, it goes on with the job that is there. The job ends with this process: deleted where it
    is asked to stop, and by itself, within a minute, where it is killed (see training/heartbeat.py).

    Args:
        address: of the training, whose task and data set are in the store.
        training: how many processes, and of how many threads.
        cluster: what the pods ask for.
        nodes: number of pods.
        settings: handed on to the processes.
        listeners: called as training goes on.
        say: gets what every rank prints, as `rank N: line`, and a line for every reason to wait; progress is
            for the listeners alone.

    Raises:
        TrainingError: it cannot start, or it failed; the message holds the reason.
        ClusterError: the API server refuses, or is away for longer than a minute and a half.
        Interrupted: somebody asked this process, or the training, to stop.
    """
    run = settings.run or address[:12]
    launch_in(Request(address, run, settings.store, training, cluster, nodes), listeners, say, None)


def launch_in(request: Request, listeners: Listeners, say: Say, api: Api | None, pace: Pace = _PACE) -> None:
    """As `launch`, in a given cluster that has this pod in it, at a given pace."""
    store = open_store(request.store)
    if store.exists(layout.training_result(request.address)):
        return
    api = api or connect()
    kind = chosen_kind(api, request.cluster.trainer)
    transcript = Transcript(api, kind.container, Listener(listeners), say)
    # A signal's handler that raises, in the midst of a request, can leave a lock of a library's locked for
    # ever, for which the deletion of the job would wait.
    with noted_signals() as signals, beating(store, request.address):
        launcher = Launcher.of(api.core.read_namespaced_pod(own_pod_name(), api.namespace))
        submission.submit(api, kind, request, launcher, transcript.say, signals)
        has_result = partial(store.exists, layout.training_result(request.address))
        watch = Watch(api, kind, request, transcript, pace, has_result, signals)
        _follow(watch, api, kind, request, store, transcript, pace)


def _follow(
    watch: Watch, api: Api, kind: Kind, request: Request, store: Store, transcript: Transcript, pace: Pace
) -> None:
    name = name_of(request)
    with _deleted_on_failure(api, kind, name, transcript):
        state = _wait(watch, request, store, transcript, pace)
    if state == "done":
        transcript.say(
            f"the store has the result, and {kind.name} {name} goes on, as with a container beside its"
            " own such as Istio's; it is deleted"
        )
    if state == "done" or not kind.expires:
        _delete(api, kind, name, transcript)


def _wait(watch: Watch, request: Request, store: Store, transcript: Transcript, pace: Pace) -> str:
    state, message = watch.until_it_ends()
    transcript.close()
    if not _has_result(store, request.address, pace.result if state == "Succeeded" else 0.0):
        raise Interrupted(_GONE) if state == "gone" else failure(watch, transcript, request, state, message)
    return state


def _has_result(store: Store, address: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not store.exists(layout.training_result(address)):
        if time.monotonic() >= end:
            return False
        time.sleep(1.0)
    return True


@contextmanager
def _deleted_on_failure(api: Api, kind: Kind, name: str, transcript: Transcript) -> Iterator[None]:
    try:
        yield
    except LossmapError:
        _delete(api, kind, name, transcript)
        raise


def _delete(api: Api, kind: Kind, name: str, transcript: Transcript) -> None:
    """Delete a job, and pass on what its ranks say until its pods are gone. What does not succeed is told."""
    transcript.hear_ranks_alone()
    try:
        if not submission.delete(api, kind, name, _DELETION_SECONDS, transcript.hear):
            transcript.say(f"{kind.name} {name} is still being deleted after {_DELETION_SECONDS:.0f} s")
    except ClusterError as error:  # what went wrong before is the error to tell
        transcript.say(
            f"{kind.name} {name} could not be deleted, and stops by itself within a minute: {error}"
        )
    transcript.close()
