"""What a store keeps: its runs, which MLflow may lack, and their removal."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError, LossmapError, TrackingError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Entry, Store
from lossmap.components.stores.removal import Removal
from lossmap.components.stores.runs import Run, list_runs

_AGE = re.compile(r"([1-9]\d*)([hdw])")
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class KeptRun:
    """A run in a list.

    Attributes:
        name: of the run.
        finished: whether its report is complete.
        changed: when something was last written among its own objects, in seconds since 1970.
        size: of its own objects, in bytes, without what it may share with others.
    """

    name: str
    finished: bool
    changed: float
    size: int

    def record(self) -> dict[str, object]:
        """For JSON: the time as ISO 8601."""
        changed = datetime.fromtimestamp(self.changed, UTC).isoformat(timespec="seconds")
        return {"run": self.name, "finished": self.finished, "changed": changed, "bytes": self.size}


def kept_runs(store: Store) -> list[KeptRun]:
    """The runs of a store, the newest first; the store is asked for one list, whatever their number."""
    own: dict[str, dict[str, Entry]] = {}
    for entry in store.entries("runs/"):
        own.setdefault(entry.key.split("/")[1], {})[entry.key] = entry
    runs = [
        KeptRun(
            name,
            layout.scalars(name) in entries,
            max(entry.modified for entry in entries.values()),
            sum(entry.size for entry in entries.values()),
        )
        for name, entries in own.items()
        if layout.experiment(name) in entries
    ]
    return sorted(runs, key=lambda run: (run.changed, run.name), reverse=True)


def seconds_of(age: str) -> int:
    """An age as it is typed: 12h, 30d, 2w.

    Raises:
        ExperimentError: it is none.
    """
    found = _AGE.fullmatch(age)
    if not found:
        raise ExperimentError(f"--older-than is {age}, expected hours, days or weeks, such as 12h, 30d or 2w")
    return int(found[1]) * _SECONDS[found[2]]


def time_before(age: str) -> float:
    """The time so long ago, in seconds since 1970."""
    return time.time() - seconds_of(age)


def send(names: Sequence[str], store: Store, settings: Settings) -> Iterator[str]:
    """Log runs to MLflow as far as it does not have them; gives a line on each.

    Raises:
        StoreError: the store lacks one; nothing was sent then.
        TrackingError: MLflow is out of reach; the runs before were sent.
    """
    if not settings.tracks:
        raise ExperimentError(f"--tracking is {settings.tracking}, expected the address of MLflow")
    runs = [Run(store, name) for name in names]
    for run in runs:
        run.check_begun()
    return (f"{run.name}: {_send(run, settings.tracking)}" for run in runs)


def _send(run: Run, tracking: str) -> str:
    from lossmap.components.figures.run import report
    from lossmap.components.stores.tracking.runs import send_epochs

    if run.is_finished():
        report.send(run, tracking)
        return "MLflow has all of it"
    rest = f"it is not finished, go on with it: lossmap run --resume {run.name}"
    if not run.has_links():
        return f"there is nothing to send; {rest}"
    return f"MLflow has its {send_epochs(tracking, run)} epochs; {rest}"


def remove(removal: Removal, store: Store, settings: Settings) -> Iterator[str]:
    """Remove runs from the store, then put theirs into MLflow's bin; gives lines on what MLflow did not
    hear.
    """
    known = set(list_runs(store))
    studies = {name: _study(Run(store, name)) for name in removal.runs if name in known}
    removal.carry_out(store)
    if settings.tracks:
        yield from _put_into_bin(studies, store, settings)


def _put_into_bin(studies: dict[str, str | None], store: Store, settings: Settings) -> Iterator[str]:
    from lossmap.components.stores.tracking.removal import put_into_bin

    for name, study in studies.items():
        try:
            if study:
                put_into_bin(settings.tracking, study, name, store.uri)
        except TrackingError as error:
            yield f"MLflow keeps its run of {name}: {error}"
            return


def _study(run: Run) -> str | None:
    """None where the experiment cannot be read."""
    try:
        return run.experiment.study
    except (ValueError, LossmapError):
        return None
