"""Training by torchrun: real processes, killed for real."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from reference import training as reference
from safetensors.torch import load
from support.training import in_process

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import ResNet
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Optimizer, Schedule, Training
from lossmap.components.core.errors import TrainingError
from lossmap.components.data.batches import load_images
from lossmap.components.models import build
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run, load_epochs
from lossmap.components.training.heartbeat import beating
from lossmap.pipelines.local import open_run


def _experiment(processes, epochs=2, **changes):
    training = Training(
        epochs=epochs,
        batch_size=24,
        processes=processes,
        optimizer=Optimizer(learning_rate=0.05, nesterov=True, weight_decay=1e-3),
        schedule=Schedule(warmup_epochs=0.5),
        checkpoint_seconds=0.0,
    )
    data = Data(source="blobs", blobs=Blobs(classes=3, train_per_class=32, test_per_class=7))
    return Experiment(
        name="test", data=data, model=ResNet(depth=8), training=training.model_copy(update=changes)
    )


@pytest.fixture
def settings(tmp_path, tracking):
    return Settings(store=str(tmp_path), tracking=tracking(tmp_path))


def _train(settings, run, experiment):
    steps.prepare(open_run(run, settings), experiment)
    steps.train(open_run(run, settings), settings)
    return _weights(settings, run)


def _weights(settings, run):
    store = open_store(settings.store)
    return load(store.read(layout.weights(Run(store, run).training)))


def _equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_two_processes_equal_one_that_does_both_shares_in_float64(settings):
    experiment = _experiment(processes=2)
    weights = _train(settings, "run", experiment)
    store = open_store(settings.store)
    manifest = Run(store, "run").manifest
    images = load_images(store, manifest, "train")
    expected = reference.train(
        experiment.training, manifest, build(experiment.model, manifest), images, world=2
    ).state_dict()
    for name, tensor in weights.items():
        # eight steps in float32, as in tests/unit/test_training.py
        torch.testing.assert_close(tensor.double(), expected[name].double(), rtol=1e-4, atol=1e-5)


def test_killed_and_resumed_training_has_the_bits_of_an_undisturbed_one(settings, tmp_path):
    processes = 3
    experiment = _experiment(processes, epochs=24)
    elsewhere = Settings(store=str(tmp_path / "elsewhere"))
    undisturbed = _train(elsewhere, "undisturbed", experiment)
    steps.prepare(open_run("killed", settings), experiment)
    store = open_store(settings.store)
    training = Run(store, "killed").training
    process = _start(settings, training, processes)
    _wait(lambda: store.exists(layout.epoch_metrics(training, 2)))
    _kill(process)
    assert not store.exists(layout.weights(training))
    reached = json.loads(store.read(layout.latest_checkpoint(training)))[0]["step"]
    assert 7 <= reached < 96  # the checkpoint of step 8 follows the metrics of epoch 2
    assert _equal(undisturbed, _train(settings, "killed", experiment))
    numbers = [
        [
            (e["epoch"], e["train_loss"], e["test_loss"], e["gradient_norm"])
            for e in load_epochs(place, training)
        ]
        for place in (open_store(elsewhere.store), store)
    ]
    assert numbers[0] == numbers[1]
    counted = json.loads(store.read(layout.training_result(training)))["test"]["count"]
    assert counted == 21


@pytest.fixture(scope="module")
def by_torchrun(tmp_path_factory):
    """An experiment of two processes with two threads each, and its weights by torchrun itself."""
    experiment = _experiment(2, threads=2)
    elsewhere = Settings(store=str(tmp_path_factory.mktemp("torchrun")))
    steps.prepare(open_run("torchrun", elsewhere), experiment)
    process = _start(elsewhere, Run(open_store(elsewhere.store), "torchrun").training, 2)
    process.communicate(timeout=90)
    return experiment, _weights(elsewhere, "torchrun")


@pytest.mark.parametrize("forks", [True, False], ids=["forked", "spawned"])
def test_a_training_here_has_the_bits_of_torchrun_with_more_than_one_thread(
    settings, by_torchrun, monkeypatch, forks
):
    monkeypatch.setattr("lossmap.components.core.processes.FORKS", forks)
    monkeypatch.setattr("lossmap.components.training.launch.FORKS", forks)
    experiment, expected = by_torchrun
    assert _equal(_train(settings, "here", experiment), expected)


def test_what_is_trained_already_is_not_trained_again(settings):
    steps.prepare(open_run("first", settings), _experiment(2))
    steps.train(open_run("first", settings), settings, launch=in_process(settings))
    first = _weights(settings, "first")
    heard = []
    steps.prepare(
        open_run("again", settings), _experiment(2).model_copy(update={"landscape": Landscape(samples=7)})
    )

    steps.train(open_run("again", settings), settings, lambda *said: heard.append(said))
    assert heard == [(1, 1, "found in the store")]
    assert open_run("again", settings).training == open_run("first", settings).training
    assert _equal(first, _weights(settings, "again"))


def test_sigterm_saves_and_ends_every_process(settings):
    steps.prepare(open_run("run", settings), _experiment(2, epochs=400, checkpoint_seconds=1000.0))
    store = open_store(settings.store)
    training = Run(store, "run").training
    process = _start(settings, training, 2)
    _wait(lambda: store.exists(layout.epoch_metrics(training, 3)))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    saved = json.loads(store.read(layout.latest_checkpoint(training)))[0]["step"]
    assert f'"message": "training was asked to stop and saved step {saved} of 1600"' in output
    assert saved >= 12


def test_a_training_that_nobody_waits_for_any_longer_saves_and_ends_in_peace(settings):
    steps.prepare(open_run("run", settings), _experiment(2, epochs=40_000, checkpoint_seconds=1000.0))
    store = open_store(settings.store)
    training = Run(store, "run").training
    with beating(store, training, 0.5):
        process = _start(settings, training, 2, LOSSMAP_LAUNCHER="store:4")
        _wait(lambda: store.exists(layout.epoch_metrics(training, 1)))
        time.sleep(6)  # longer than the silence that it bears
        assert process.poll() is None
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    saved = json.loads(store.read(layout.latest_checkpoint(training)))[0]["step"]
    assert (
        output.count(f'"message": "nobody waits for this training any longer; it saved step {saved} of ') == 2
    )
    assert not store.exists(layout.training_result(training))


def test_a_killed_process_ends_the_others_and_is_one_clear_line(settings):
    steps.prepare(open_run("run", settings), _experiment(2, epochs=4000))

    def kill_one(*_):
        workers = [
            rank
            for server in psutil.Process().children()
            for agent in server.children()
            for rank in agent.children()
        ]
        killed.extend(workers)
        max(workers, key=lambda process: process.pid).kill()

    killed = []
    with pytest.raises(TrainingError) as failed:
        steps.train(
            open_run("run", settings),
            settings,
            lambda done, *_: kill_one() if done > 3 and not killed else None,
        )
    expected = "a training process was killed, perhaps out of memory"
    assert str(failed.value) == f"{expected}; see {settings.logs}/run/train.log"
    assert len(killed) == 2
    assert psutil.wait_procs(killed, timeout=10)[1] == []


def test_a_loss_that_is_not_finite_is_one_clear_line(settings):
    experiment = _experiment(2, optimizer=Optimizer(learning_rate=1e30))
    with pytest.raises(TrainingError) as failed:
        _train(settings, "run", experiment)
    expected = (
        "the training loss is nan in epoch 1; lower training.optimizer.learning_rate or set"
        " training.gradient_clip"
    )
    assert str(failed.value) == f"training failed: {expected}; see {settings.logs}/run/train.log"


def _start(settings, training, processes, **environment):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, "-m", "lossmap.components.training.main", training],
        env={**os.environ, **settings.environment(), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _kill(process):
    everybody = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in everybody:
        one.kill()
    psutil.wait_procs(everybody)
    process.communicate()


def _wait(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
