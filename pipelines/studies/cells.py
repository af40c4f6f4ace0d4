"""A study: its cells, which of them are missing, connections between seeds, and one report."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import product

from lossmap.components.config.connection import Connecting
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.parse import override
from lossmap.components.config.settings import Settings
from lossmap.components.config.study import Study
from lossmap.components.core.errors import ExperimentError, Interrupted, LossmapError, TrackingError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.core.progress import Progress
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store, open_store
from lossmap.components.stores.runs import load_json
from lossmap.components.studies.cells import Cell, Outcome, SeedPair
from lossmap.pipelines.recipes.resolve import resolve

Stage = Callable[[str], AbstractContextManager[Progress]]
Say = Callable[[str], None]

_NAME_LENGTH = 63  # of an experiment's name


def cells(study: Study) -> list[Cell]:
    """Every cell, seed by seed: what there is of an unfinished study compares all networks.

    Raises:
        ExperimentError: a cell cannot be run; the message names its network.
    """
    return [
        _cell(study, network, levels, seed)
        for seed in _seeds(study)
        for levels in _levels(study)
        for network in study.networks
    ]


def _seeds(study: Study) -> range:
    return range(study.first_seed, study.first_seed + study.seeds)


def _levels(study: Study) -> Iterator[dict[str, str]]:
    for levels in product(*study.factors.values()):
        yield dict(zip(study.factors, levels, strict=True))


def _cell(study: Study, network: str, levels: Mapping[str, str], seed: int) -> Cell:
    try:
        experiment = override(
            _trained(resolve(study.networks[network], study.assignments)),
            study.assignments_of(network, levels, seed),
        )
    except ExperimentError as error:
        raise ExperimentError(f"network {network} of study {study.name}: {error}") from None
    named = experiment.model_copy(
        update={"study": study.name, "name": _name([study.name, network, *levels.values()], seed)}
    )
    return Cell(network, levels, seed, named, _run(named))


def _trained(experiment: Experiment) -> Experiment:
    if not experiment.training:
        raise ExperimentError(
            f"model.architecture is {experiment.model.architecture}, expected a network that lossmap trains,"
            " once for each seed"
        )
    return experiment


def _name(words: Sequence[str], seed: int) -> str:
    end = f"-s{seed}"
    return "-".join(words)[: _NAME_LENGTH - len(end)].rstrip("-") + end


def _run(experiment: Experiment) -> str:
    return f"{experiment.name}-{experiment.digest()[:8]}"


def split(store: Store, found: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """The cells that are finished in the store, and those that are missing there."""
    finished = {cell.run for cell in found if store.exists(layout.scalars(cell.run))}
    return [cell for cell in found if cell.run in finished], [
        cell for cell in found if cell.run not in finished
    ]


def outcomes(store: Store, finished: Sequence[Cell]) -> list[Outcome]:
    """The cells with the scalars of their reports."""
    return [Outcome(cell, load_json(store, layout.scalars(cell.run))) for cell in finished]


def pairs(study: Study, finished: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Cells that differ in nothing but the seed: the first pairs of each network at each level, in the
    order (0, 1), (0, 2), (1, 2), (0, 3) …
    """
    found = []
    for label in dict.fromkeys((cell.network, *cell.levels.values()) for cell in finished):
        alike = sorted(
            (cell for cell in finished if (cell.network, *cell.levels.values()) == label),
            key=lambda cell: cell.seed,
        )
        found += [(first, second) for number, second in enumerate(alike) for first in alike[:number]][
            : study.connections
        ]
    return found


def join(
    study: Study, wanted: Sequence[tuple[Cell, Cell]], settings: Settings, stage: Stage, say: Say
) -> tuple[list[SeedPair], dict[str, str]]:
    """Measure the barriers between the networks of some pairs, as far as the store does not have them. Also
    returned: which pairs failed, and why.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the paths that are finished are kept.
    """
    store, found, failed = open_store(settings.store), list[SeedPair](), dict[str, str]()
    for number, (first, second) in enumerate(wanted, start=1):
        key, asked = _connection(study, first, second, settings)
        if not store.exists(key):
            say(f"connection {number}/{len(wanted)} {first.run} {second.run}")
            try:
                store.write(key, json.dumps(_measured(first, second, asked, settings, stage, say)).encode())
            except (KeyboardInterrupt, Interrupted):
                raise Interrupted(
                    "interrupted; the cells and paths that are finished are kept, and the same command"
                    " goes on"
                ) from None
            except LossmapError as error:
                failed[f"{first.run} {second.run}"] = str(error)
                say(f"  failed: {error}")
                continue
        found.append(_joined(store, key, first, second, asked))
    return found, failed


def known(study: Study, wanted: Sequence[tuple[Cell, Cell]], settings: Settings) -> list[SeedPair]:
    """Those of the pairs between which the barriers are in the store."""
    store = open_store(settings.store)
    keys = [(*_connection(study, *pair, settings), pair) for pair in wanted]
    return [_joined(store, key, *pair, asked) for key, asked, pair in keys if store.exists(key)]


def _connection(study: Study, first: Cell, second: Cell, settings: Settings) -> tuple[str, Connecting]:
    """Where the barriers between two networks are kept, and how they are measured."""
    from lossmap.pipelines import connect as connecting

    asked = connecting.asked(first.run, {}, settings)
    digest = hashlib.sha256(
        canonical_json([first.run, second.run, asked.model_dump(mode="json")]).encode()
    ).hexdigest()
    return layout.study(study.name, f"connections/{digest}.json"), asked


def _measured(
    first: Cell, second: Cell, asked: Connecting, settings: Settings, stage: Stage, say: Say
) -> dict[str, tuple[float, float, float]]:
    """Barriers by path: value, lower and upper end of the interval."""
    from lossmap.pipelines import connect as connecting

    outcome = connecting.connect((first.run, second.run), asked, settings, stage)
    if outcome.untracked:
        say(f"  MLflow did not get this connection: {outcome.untracked}")
    return {
        str(path): (barrier.value, barrier.low, barrier.high)
        for path, barrier in outcome.summary.barriers.items()
    }


def _joined(store: Store, key: str, first: Cell, second: Cell, asked: Connecting) -> SeedPair:
    barriers = {name: (value, low, high) for name, (value, low, high) in load_json(store, key).items()}
    return SeedPair(first, second, barriers, asked.threshold)


def report(
    store: Store, study: Study, found: Sequence[Cell], joined: Sequence[SeedPair], settings: Settings, say: Say
) -> str:
    """Write the report on what the store has, and return the key of its page."""
    from lossmap.components.figures.study import report as study_report

    finished, missing = split(store, found)
    try:
        return study_report.write(store, study, outcomes(store, finished), joined, missing, settings.tracking)
    except TrackingError as error:
        say(
            f"MLflow did not get the study: {error}; the report is complete, and --report-only sends it later"
        )
        return layout.study(study.name, study_report.PAGE)
