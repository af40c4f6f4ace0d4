"""Many of everything: what a process keeps stays, and what a store is asked for grows in proportion."""

import gc
import os
import shutil
import threading
from collections import Counter

import psutil
import pytest
import torch
from support.campaigns import cases, outcomes
from support.counting_store import CountingStore
from support.small_run import EXPERIMENT, survey

from lossmap.components import steps
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.settings import Settings
from lossmap.components.landscape.grid import Result
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.tiles import evaluate_tile
from lossmap.pipelines import api
from lossmap.pipelines.compare import as_records, compared, finished_runs, rows
from lossmap.pipelines.kept import kept_runs

_WARM_UP = 5
_KIB_A_SURVEY = 64  # the greatest growth of resident memory: less than one of its pictures
_KIB_AT_ALL = 64 * 1024  # it goes up and down by 42 MiB over 310 surveys
_FEWEST = 200  # surveys whose growth says something: a few go up by megabytes each, and down again


def _asked(store, call, argument):
    """How often the store is asked while that is called, and what it returns."""
    store.asked.clear()
    result = call(argument)
    return Counter(store.asked), result


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("finished")
    survey(Settings(store=str(folder), tracking="none"), Run(open_store(str(folder)), "run"))
    steps.report(Run(open_store(str(folder)), "run"), Settings(store=str(folder), tracking="none"))
    return folder


def test_listing_and_comparing_runs_asks_the_store_in_proportion_to_them(finished, tmp_path):
    most = cases(20, cost=10)
    few, many = (_store_of(finished, tmp_path / str(count), count) for count in (most // 2, most))
    for what, call, each in (
        ("listed", kept_runs, Counter()),
        ("found by study", lambda store: finished_runs(store, EXPERIMENT.study), Counter(read=1)),
        ("with scalars", lambda store: rows(_runs(store)), Counter(exists=1, read=1)),
        ("compared", _compare, None),
    ):
        (less, _), (more, found) = _asked(few, call, few), _asked(many, call, many)
        assert len(found) == most
        grown = Counter({kind: count / (most - most // 2) for kind, count in (more - less).items()})
        first = less - Counter({kind: int(count * (most // 2)) for kind, count in grown.items()})
        assert first.total() <= 1, (what, less, more)  # the list
        assert each is None or grown == each, (what, grown)
        outcomes[f"runs {what}: {dict(grown)} requests a run"] += most


def _compare(store):
    runs = _runs(store)
    return as_records(rows(runs), compared(runs))


def _runs(store):
    return [Run(store, f"run-{index}") for index in range(len(list((store.folder / "runs").iterdir())))]


def _store_of(finished, folder, count):
    for part in ("datasets", "surfaces", "surveys", "trainings"):
        shutil.copytree(finished / part, folder / part)
    for index in range(count):
        own = folder / "runs" / f"run-{index}"
        own.mkdir(parents=True)
        for path in (finished / "runs/run").glob("*.json"):
            shutil.copyfile(path, own / path.name)
        scalars = layout.scalars(f"run-{index}")
        (folder / scalars).parent.mkdir(exist_ok=True)
        shutil.copyfile(finished / layout.scalars("run"), folder / scalars)
    return CountingStore(folder)


def test_a_plan_of_many_tiles_reads_each_tile_once(finished, tmp_path):
    side = int(cases(100) ** 0.5)
    shutil.copytree(finished, tmp_path / "store")
    store, axis = CountingStore(tmp_path / "store"), Axis(points=side)
    landscape = Landscape(plane=Plane(x=axis, y=axis), line=None, samples=8, tile_points=1, curvature=None)
    run = Run(store, "wide")
    steps.prepare(run, EXPERIMENT.model_copy(update={"landscape": landscape}))
    assert run.training == Run(store, "run").training
    planning, _ = _asked(store, steps.plan, run)
    assert planning.total() < 50, planning
    asked, tiles = _asked(store, pending_tiles, Run(store, "wide"))
    assert len(tiles) == side**2 and asked["read"] < 5 and asked["list"] == 1, asked
    for tile in tiles[1:]:
        evaluate_tile(store, tile, lambda x, y: Result(x, y, 0.0))
    run = Run(store, "wide")
    asked, left = _asked(store, pending_tiles, run)
    assert left == tiles[:1] and asked["read"] < len(tiles) + 5 and asked["list"] == 1, asked
    again, left = _asked(store, pending_tiles, run)
    assert left == tiles[:1] and again == Counter(list=1)
    outcomes["tiles planned, listed and read once"] += len(tiles)


def test_surveys_in_one_process_leave_nothing_in_it(tmp_path):
    torch.manual_seed(0)
    inputs, targets = torch.randn(12, 3), torch.randint(0, 2, (12,))
    axis = Axis(points=3)
    landscape = Landscape(plane=Plane(x=axis, y=axis), line=None, samples=12, curvature=None, adaptive=None)
    count, before = cases(5, cost=20), None
    for number in range(_WARM_UP + count):
        if number == _WARM_UP:
            before = _kept()
        folder = tmp_path / str(number)
        api.survey(
            torch.nn.Linear(3, 2),
            "cross-entropy",
            inputs,
            targets,
            landscape=landscape,
            store=str(folder),
            tracking="none",
            quiet=True,
        )
        shutil.rmtree(folder)
    after = _kept()
    assert after[1:] == before[1:]
    grown = (after[0] - before[0]) / 1024 / count
    outcomes[f"surveys in one process: memory grew by {grown:.1f} KiB each, nothing else"] += count
    assert count < _FEWEST or grown < _KIB_A_SURVEY + _KIB_AT_ALL / count, grown


def _kept():
    """Resident bytes, open files, threads, and processes below this one."""
    gc.collect()
    me = psutil.Process()
    return (
        me.memory_info().rss,
        len(os.listdir("/proc/self/fd")),
        sorted(thread.name for thread in threading.enumerate()),
        len(me.children(recursive=True)),
    )
