"""A study: its cells, which of them are missing, connections between seeds, and one report."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

from lossmap.components.config.connection import Connecting
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.parse import override
from lossmap.components.config.settings import Settings
from lossmap.components.config.study import Study
from lossmap.components.core.errors import ExperimentError, Interrupted, LossmapError, TrackingError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_json
from lossmap.components.stores.objects import Store, open_store
from lossmap.components.studies.cells import Cell, Outcome, SeedPair
from lossmap.components.studies.samples import Measurements
from lossmap.pipelines.local import open_run
from lossmap.pipelines.recipes.resolve import resolve
from lossmap.pipelines.stages import Say, Stage

_NAME_LENGTH = 63  # of an experiment's name


def study_cells(study: Study) -> list[Cell]:
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
        experiment = resolve(study.networks[network], study.assignments)
        _require_training(experiment)
        experiment = override(experiment, study.assignments_of(network, levels, seed))
    except ExperimentError as error:
        raise ExperimentError(f"network {network} of study {study.name}: {error}") from None
    name = _name([study.name, network, *levels.values()], seed)
    experiment = experiment.model_copy(update={"study": study.name, "name": name})
    return Cell(network, levels, seed, experiment, _run(experiment))


def _require_training(experiment: Experiment) -> None:
    if not experiment.training:
        raise ExperimentError(
            f"model.architecture is {experiment.model.architecture}, expected a network that lossmap trains,"
            " once for each seed"
        )


def _name(words: Sequence[str], seed: int) -> str:
    end = f"-s{seed}"
    return "-".join(words)[: _NAME_LENGTH - len(end)].rstrip("-") + end


def _run(experiment: Experiment) -> str:
    return f"{experiment.name}-{experiment.digest()[:8]}"


def split_finished(store: Store, cells: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """The cells that are finished in the store, and those that are missing there."""
    finished = {cell.run for cell in cells if store.exists(layout.scalars(cell.run))}
    missing = [cell for cell in cells if cell.run not in finished]
    return [cell for cell in cells if cell.run in finished], missing


def outcomes(store: Store, finished: Sequence[Cell]) -> list[Outcome]:
    """The cells with the scalars of their reports."""
    return [Outcome(cell, load_json(store, layout.scalars(cell.run))) for cell in finished]


def seed_pairs(study: Study, finished: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Cells that differ in nothing but the seed: the first pairs of each network at each level, in the
    order (0, 1), (0, 2), (1, 2), (0, 3) …
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in sorted(finished, key=lambda cell: cell.seed):
        groups.setdefault((cell.network, *cell.levels.values()), []).append(cell)
    labels = dict.fromkeys((cell.network, *cell.levels.values()) for cell in finished)
    return [pair for label in labels for pair in islice(_pairs(groups[label]), study.connections)]


def _pairs(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Cell]]:
    for number, second in enumerate(cells):
        for first in cells[:number]:
            yield first, second


def connect_pairs(
    study: Study, pairs: Sequence[tuple[Cell, Cell]], settings: Settings, stage: Stage, say: Say
) -> tuple[list[SeedPair], dict[str, str]]:
    """Measure the barriers between the networks of some pairs, as far as the store does not have them. Also
    returned: which pairs failed, and why.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the paths that are finished are kept.
    """
    store, connected, failed = open_store(settings.store), list[SeedPair](), dict[str, str]()
    for number, (first, second) in enumerate(pairs, start=1):
        key, connecting = _connection(study, first, second, settings)
        if not store.exists(key):
            say(f"connection {number}/{len(pairs)} {first.run} {second.run}")
            try:
                barriers = _barriers(first, second, connecting, settings, stage, say)
                store.write(key, json.dumps(barriers).encode())
            except (KeyboardInterrupt, Interrupted):
                raise Interrupted(
                    "interrupted; the cells and paths that are finished are kept, and the same command"
                    " goes on"
                ) from None
            except LossmapError as error:
                failed[f"{first.run} {second.run}"] = str(error)
                say(f"  failed: {error}")
                continue
        connected.append(_seed_pair(store, key, first, second, connecting))
    return connected, failed


def stored_pairs(study: Study, pairs: Sequence[tuple[Cell, Cell]], settings: Settings) -> list[SeedPair]:
    """Those of the pairs between which the barriers are in the store."""
    store, stored = open_store(settings.store), []
    for first, second in pairs:
        key, connecting = _connection(study, first, second, settings)
        if store.exists(key):
            stored.append(_seed_pair(store, key, first, second, connecting))
    return stored


def _connection(study: Study, first: Cell, second: Cell, settings: Settings) -> tuple[str, Connecting]:
    """Where the barriers between two networks are kept, and how they are measured."""
    from lossmap.pipelines.connect import connection_settings

    connecting = connection_settings(open_run(first.run, settings), {})
    identity = canonical_json([first.run, second.run, connecting.model_dump(mode="json")])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return layout.study(study.name, f"connections/{digest}.json"), connecting


def _barriers(
    first: Cell, second: Cell, connecting: Connecting, settings: Settings, stage: Stage, say: Say
) -> dict[str, tuple[float, float, float]]:
    """Barriers by path: value, lower and upper end of the interval."""
    from lossmap.pipelines.connect import connect_runs

    runs = open_run(first.run, settings), open_run(second.run, settings)
    report = connect_runs(runs, connecting, settings.tracking, stage)
    if report.untracked:
        say(f"  MLflow did not get this connection: {report.untracked}")
    barriers = report.summary.barriers
    return {str(path): (barrier.value, barrier.low, barrier.high) for path, barrier in barriers.items()}


def _seed_pair(store: Store, key: str, first: Cell, second: Cell, connecting: Connecting) -> SeedPair:
    barriers = {name: (value, low, high) for name, (value, low, high) in load_json(store, key).items()}
    return SeedPair(first, second, barriers, connecting.threshold)


def report_folder(study: Study, usual: Study) -> str:
    """Where among the studies the report is kept. A study that was changed has one of its own, so that two
    seeds do not overwrite what ten have found.
    """
    return usual.name if study == usual else f"{usual.name}-{study.digest()[:8]}"


def write_report(store: Store, found: Measurements, settings: Settings, say: Say, folder: str) -> str:
    """Write the report on finished cells into a folder among the studies; returns the key of its page."""
    from lossmap.components.figures.study.report import PAGE, write

    try:
        return write(
            store, found.study, found.outcomes, found.pairs, found.missing, settings.tracking, folder
        )
    except TrackingError as error:
        say(
            f"MLflow did not get the study: {error}; the report is complete, and --report-only sends it later"
        )
        return layout.study(folder, PAGE)
