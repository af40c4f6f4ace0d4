"""Runs that are removed from a store, with everything that no other run needs.

An object belongs to what the first two parts of its key name: runs/<run>/, datasets/<digest>/,
trainings/<address>/, surveys/<address>/, surfaces/<digest>/. A run needs its data set, its training and those
whose paths are on its plane, its survey, and the surfaces, directions and samples of that. Comparisons,
connections, their paths and studies are reports of their own, and stay.

What says that something is complete goes first, and what says what a run needed goes last. So an interrupted
removal leaves no run that seems whole, and asked again it goes on.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from lossmap.components.core.errors import LossmapError, StoreError
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_document
from lossmap.components.stores.objects import Entry, Store
from lossmap.components.stores.runs import Links, Run, list_runs

_SHARED = ("datasets/", "trainings/", "surveys/", "surfaces/")
_TOGETHER = 16  # requests
_SAY_COMPLETE = ("/report/scalars.json", "/training.json", "/checkpoints/LATEST", "/manifest.json")
_SAY_NEEDED = ("/plan.json", "/experiment.json", "/links.json", "/dataset.json")


@dataclass(frozen=True)
class Removal:
    """What is to be removed.

    Attributes:
        runs: whose names are given up.
        removed: their objects and those that nobody needs then, in the order in which they go.
        kept: objects of theirs that other runs need.
    """

    runs: tuple[str, ...]
    removed: tuple[Entry, ...]
    kept: tuple[Entry, ...]

    def carry_out(self, store: Store) -> None:
        """Remove it. What is gone already is no error."""
        for entry in self.removed:
            store.delete(entry.key)


def removal_of_runs(store: Store, names: Sequence[str]) -> Removal:
    """The removal of some runs. A run that an earlier removal left in part counts as one.

    Raises:
        StoreError: there is no such run, or what another run needs cannot be read.
        LossmapError: a run that stays and is not finished needs one of them.
    """
    doomed = tuple(dict.fromkeys(names))
    for name in doomed:
        if not any(store.keys(layout.run(name, ""))):
            Run(store, name).check_begun()
    needed = _needed_by_others(store, list_runs(store), doomed)
    owned = set[str]().union(*(_needs(Run(store, name)) for name in doomed))
    own = [entry for name in doomed for entry in store.entries(layout.run(name, ""))]
    return Removal(
        doomed,
        _in_order([*own, *_entries(store, owned - needed)]),
        tuple(_entries(store, owned & needed)),
    )


def removal_of_old(store: Store, before: float) -> Removal:
    """The removal of the runs in which nothing has happened since a time, and of what no run needs and is as
    old: of runs that were removed in part, or before they had begun.

    A finished run is as old as its report, any other as the newest of what it needs.

    Args:
        store: where they are.
        before: seconds since 1970.

    Raises:
        StoreError: as `removal_of_runs`.
        LossmapError: as `removal_of_runs`.
    """
    by_owner: dict[str, list[Entry]] = {}
    for entry in _entries(store, ("runs/", *_SHARED)):
        by_owner.setdefault(_owner(entry.key), []).append(entry)
    names = list_runs(store)
    doomed = tuple(name for name in names if _last_change(store, name, by_owner) < before)
    needed = _needed_by_others(store, names, doomed)
    owned = set[str]().union(*(_needs(Run(store, name)) for name in doomed))
    begun = {layout.run(name, "") for name in names}
    removed = [entry for name in doomed for entry in by_owner[layout.run(name, "")]]
    kept = list[Entry]()
    for owner, entries in by_owner.items():
        is_old = max(entry.modified for entry in entries) < before
        if owner in owned and owner in needed:
            kept += entries
        elif owner not in needed and owner not in begun and (owner in owned or is_old):
            removed += entries
    return Removal(doomed, _in_order(removed), tuple(kept))


def _last_change(store: Store, name: str, by_owner: dict[str, list[Entry]]) -> float:
    """When something happened last in a run, in seconds since 1970."""
    own = {entry.key: entry.modified for entry in by_owner[layout.run(name, "")]}
    if layout.scalars(name) in own:
        return own[layout.scalars(name)]
    shared = (by_owner.get(owner, ()) for owner in _needs(Run(store, name)))
    return max([*own.values(), *(entry.modified for entries in shared for entry in entries)])


def _needed_by_others(store: Store, names: Sequence[str], doomed: Sequence[str]) -> set[str]:
    """What those of some runs need that stay.

    Raises:
        LossmapError: one that is not finished needs one of the doomed.
    """
    staying = [Run(store, name) for name in names if name not in doomed]
    with ThreadPoolExecutor(_TOGETHER) as threads:
        return set[str]().union(*threads.map(lambda run: _needs_of_staying(run, doomed), staying))


def _needs_of_staying(run: Run, doomed: Sequence[str]) -> set[str]:
    try:
        landscape, needs = run.experiment.landscape, set(_owners(run))
    except (ValueError, StoreError):
        raise StoreError(
            f"{run.store.uri} has a run {run.name} whose documents cannot be read, so that it is not known"
            f" what it needs; remove that first: lossmap delete {run.name}"
        ) from None
    named = [name for name in (*landscape.networks, *landscape.paths) if name in doomed]
    if named and not run.is_finished():
        raise LossmapError(
            f"run {run.name} is not finished and goes through the network of {named[0]}; finish it first"
            f" (lossmap run --resume {run.name}), or remove both"
        )
    return needs


def _needs(run: Run) -> set[str]:
    """Whose objects a run needs, besides its own, as far as its documents can be read."""
    owners = _owners(run)
    needs = set[str]()
    with suppress(ValueError, StoreError):
        for owner in owners:
            needs.add(owner)
    return needs


def _owners(run: Run) -> Iterator[str]:
    if not run.has_data():
        return
    yield _owner(layout.dataset(run.manifest.digest))
    if run.store.exists(layout.experiment(run.name)):
        yield _owner(run.samples)
    key = layout.links(run.name)
    if not run.store.exists(key):
        return
    links = load_document(run.store, key, Links)  # run.links would write damaged ones again
    yield _owner(layout.training_result(links.training))
    plan = layout.survey_plan(links.survey)
    yield _owner(plan)
    if run.store.exists(plan):
        yield from (_owner(layout.training_result(trail.training)) for trail in run.survey.trails)
        for part in run.survey.parts:
            yield _owner(layout.tiles(part.address))
            yield _owner(layout.directions(part.plane))


def _owner(key: str) -> str:
    """The first two parts of a key, which say what an object belongs to."""
    kind, name, _ = key.split("/", 2)
    return f"{kind}/{name}/"


def _entries(store: Store, owners: Iterable[str]) -> Iterator[Entry]:
    for owner in sorted(owners):
        yield from store.entries(owner)


def _in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: (_turn(entry.key), entry.key)))


def _turn(key: str) -> int:
    """When an object goes: what says that something is complete, then the rest, then what a run needed."""
    turns = (*_SAY_COMPLETE, "", *_SAY_NEEDED)
    return next((turn for turn, end in enumerate(turns) if end and key.endswith(end)), len(_SAY_COMPLETE))
