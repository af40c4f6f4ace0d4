"""Real processes killed or asked to stop at seeded moments, one or all, once and again: the same command
goes on to the bits of an undisturbed run, and no process is left.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from support.campaigns import cases, check_line, draws, outcomes
from support.command_line import LOSSMAP, environment
from support.processes import as_ranks
from support.small_run import EXPERIMENT, found, same

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import LossmapError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run

_EPOCHS = 12
_MOST_SECONDS = 150
_LATEST = {"start-up": 4.0, "step": 0.05, "checkpoint": 0.002, "last epoch": 0.1, "survey": 0.5}  # s after
_TRAINED = EXPERIMENT.model_copy(
    update={
        "training": EXPERIMENT.training.model_copy(update={"processes": 2, "epochs": _EPOCHS}),
        "landscape": EXPERIMENT.landscape.model_copy(update={"workers": 2, "tile_points": 1}),
    }
)
_MOMENTS = ("start-up", "step", "checkpoint", "last epoch", "survey")
_VICTIMS = ("a rank or worker", "what starts them", "the command", "all")
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What is found of the run."""
    run = _begun(tmp_path_factory.mktemp("whole"))
    _finish(run)
    return found(run)


def test_a_run_goes_on_whatever_process_is_killed(undisturbed, tmp_path):
    for case, generator in enumerate(draws("processes", cases(1, cost=200))):
        run, told = _begun(tmp_path / str(case)), []
        for _ in range(generator.choice((1, 1, 2, 3))):
            told.append(_disturbed(run, generator))
            outcomes[f"process: {told[-1]}; then the same bits"] += 1
        _finish(run)
        assert same(found(Run(run.store, run.name)), undisturbed), told


def test_a_survey_goes_on_whatever_worker_is_killed(undisturbed, tmp_path):
    trained = _begun(tmp_path / "trained")
    steps.train(trained, Settings(store=trained.store.uri, tracking="none"))
    steps.plan(trained)
    for case, generator in enumerate(draws("workers", cases(1, cost=100))):
        shutil.copytree(trained.store.folder, tmp_path / str(case))
        run, kills = Run(open_store(str(tmp_path / str(case))), "run"), generator.randrange(1, 4)
        told = sum(not _survived(run, generator) for _ in range(kills))
        as_ranks(2, _merge_and_report, run.store.uri)
        together = _content(run.store)
        _merge_and_report(0, run.store.uri)
        assert _content(run.store) == together
        assert same(found(Run(run.store, "run")), undisturbed)
        outcomes["survey, worker killed: told, then the same bits"] += told
        outcomes["survey, worker killed: done all the same"] += kills - told
        outcomes["two merges, two reports at once: both end, the same bytes"] += 1
        assert not _workers()


def _survived(run, generator):
    """Evaluate, with a worker killed at a moment; whether that ended well."""
    moment, kind = generator.randrange(8), generator.choice(_SIGNALS)
    delay = generator.random() * 0.01

    def disturb(done, _total, _detail):
        workers = _workers()
        if done == moment and workers:
            time.sleep(delay)
            with contextlib.suppress(psutil.NoSuchProcess):
                generator.choice(workers).send_signal(kind)

    try:
        steps.evaluate(Run(run.store, "run"), disturb)
    except LossmapError as error:
        check_line(str(error))
        assert "--resume run" in str(error)
        return False
    return True


def _merge_and_report(_rank, uri):
    steps.merge(Run(open_store(uri), "run"))
    steps.report(Run(open_store(uri), "run"), Settings(store=uri, tracking="none"))


def _content(store):
    return {key: store.read(key) for key in store.keys("")}


def _workers():
    """The children of this process's fork server."""
    return [child for server in psutil.Process().children() for child in server.children()]


def _begun(folder):
    run = Run(open_store(str(folder)), "run")
    steps.prepare(run, _TRAINED)
    return run


def _start(run):
    variables = {"LOSSMAP_STORE": run.store.uri, "LOSSMAP_TRACKING": "none"}
    return subprocess.Popen(
        [LOSSMAP, "run", "--resume", run.name],
        env={**environment(), **variables},
        cwd=run.store.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _finish(run):
    process = _start(run)
    _, said = process.communicate(timeout=_MOST_SECONDS)
    assert process.returncode == 0, said
    _nobody_is_left(run)


def _disturbed(run, generator):
    """Run, with some of its processes disturbed at a moment; returns what was done and how that ended."""
    moment, victim = generator.choice(_MOMENTS), generator.choice(_VICTIMS)
    kind, process, chosen = generator.choice(_SIGNALS), _start(run), []
    if _comes(moment, process, run, generator):
        victim, chosen = _chosen(victim, process, generator)
    for one in chosen:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(kind)
    _, said = process.communicate(timeout=_MOST_SECONDS)
    _nobody_is_left(run)
    what = f"{kind.name} at {moment} to {victim}" if chosen else "ended before"
    if process.returncode == 0:
        return f"{what}: done all the same"
    assert "Traceback" not in said, (what, said)
    if process.returncode < 0:
        assert process.pid in [one.pid for one in chosen], (what, said)
        return f"{what}: gone"
    errors = [line for line in said.splitlines() if line.startswith("lossmap: ")]
    assert len(errors) == 1, (what, said)
    check_line(errors[0])
    return f"{what}: told"


def _comes(moment, process, run, generator):
    """Wait for a moment; whether it came before the end of the process."""
    store, delay = run.store, generator.random()
    training = store.folder / layout.training_result(run.training)
    epochs = (store.folder / layout.epoch_metrics(run.training, 1)).parent
    tiles, parts = store.folder / "surfaces", training.parent / "checkpoints"
    reached = generator.randrange(1, _EPOCHS - 1)

    def is_there():
        match moment:
            case "start-up":
                return True
            case "step":
                return training.exists() or len(list(epochs.glob("*.json"))) >= reached
            case "last epoch":
                return training.exists() or len(list(epochs.glob("*.json"))) >= _EPOCHS - 1
            case "checkpoint":
                return training.exists() or any(parts.rglob(".*.part"))
            case _:
                return any(tiles.glob("*/tiles/*"))

    while not is_there():
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    time.sleep(_LATEST[moment] * delay)
    return process.poll() is None


def _chosen(victim, process, generator):
    """Processes of a kind, which is named with them; where there is none of it yet, the command itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        command = psutil.Process(process.pid)
        below = sorted(command.children(recursive=True), key=lambda one: one.pid)
        leaves = [one for one in below if not one.children()]
        starting = [one for one in below if one.children()]
        if victim == "all":
            return victim, [command, *below]
        group = {"a rank or worker": leaves, "what starts them": starting}.get(victim)
        return (victim, [generator.choice(group)]) if group else ("the command", [command])
    return victim, []


def _nobody_is_left(run):
    """Every process that has this store in its environment ends."""
    left = [one for one in psutil.process_iter() if one.pid != os.getpid() and _is_of(one, run)]
    _, alive = psutil.wait_procs(left, timeout=90)
    assert not alive, [one.cmdline() for one in alive]


def _is_of(process, run):
    with contextlib.suppress(psutil.Error):
        return process.environ().get("LOSSMAP_STORE") == run.store.uri
    return False
