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

from lossmap.components import steps
from lossmap.components.config.errors import TrainingError
from lossmap.components.config.experiment import Blobs, Data, Experiment, Optimizer, ResNet, Schedule, Training
from lossmap.components.config.settings import Settings
from lossmap.components.data.batches import load_images
from lossmap.components.models import build
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import load_epochs, load_run_manifest


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
    return Experiment(name="test", data=data, model=ResNet(depth=8), training=training.model_copy(update=changes))


@pytest.fixture
def settings(tmp_path):
    return Settings(store=str(tmp_path))


def _train(settings, run, experiment):
    steps.prepare(run, experiment, settings)
    steps.train(run, settings)
    return _weights(settings, run)


def _weights(settings, run):
    return load(open_store(settings.store).read(layout.weights(run)))


def _equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_two_processes_equal_one_that_does_both_shares_in_float64(settings):
    experiment = _experiment(processes=2)
    weights = _train(settings, "run", experiment)
    store = open_store(settings.store)
    manifest = load_run_manifest(store, "run")
    images = load_images(store, manifest, "train")
    expected = reference.train(experiment.training, manifest, build(experiment.model, manifest), images, world=2).state_dict()
    for name, tensor in weights.items():
        # eight steps in float32, as in tests/unit/test_training.py
        torch.testing.assert_close(tensor.double(), expected[name].double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("processes", [2, 3])
def test_killed_and_resumed_training_has_the_bits_of_an_undisturbed_one(settings, processes):
    experiment = _experiment(processes, epochs=40)
    undisturbed = _train(settings, "undisturbed", experiment)
    steps.prepare("killed", experiment, settings)
    process = _start(settings, "killed", processes)
    store = open_store(settings.store)
    _wait(lambda: store.exists(layout.epoch_metrics("killed", 2)))
    _kill(process)
    assert not store.exists(layout.weights("killed"))
    reached = json.loads(store.read(layout.latest_checkpoint("killed")))[0]["step"]
    assert 7 <= reached < 160  # the checkpoint of step 8 follows the metrics of epoch 2
    steps.train("killed", settings)
    assert _equal(undisturbed, _weights(settings, "killed"))
    numbers = [[(e["epoch"], e["train_loss"], e["test_loss"], e["gradient_norm"]) for e in load_epochs(store, run)] for run in ("undisturbed", "killed")]
    assert numbers[0] == numbers[1]
    counted = json.loads(store.read(layout.training_result("killed")))["test"]["count"]
    assert counted == 21


def test_sigterm_saves_and_ends_every_process(settings):
    steps.prepare("run", _experiment(2, epochs=400, checkpoint_seconds=1000.0), settings)
    process = _start(settings, "run", 2)
    store = open_store(settings.store)
    _wait(lambda: store.exists(layout.epoch_metrics("run", 3)))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    saved = json.loads(store.read(layout.latest_checkpoint("run")))[0]["step"]
    assert f'"message": "training was asked to stop and saved step {saved} of 1600"' in output
    assert saved >= 12


def test_a_killed_process_ends_the_others_and_is_one_clear_line(settings):
    steps.prepare("run", _experiment(2, epochs=4000), settings)

    def kill_one(*_):
        workers = [process for process in psutil.Process().children(recursive=True) if "lossmap.components.training.main" in process.cmdline()]
        killed.extend(workers)
        max(workers, key=lambda process: process.pid).kill()

    killed = []
    with pytest.raises(TrainingError) as failed:
        steps.train("run", settings, lambda done, *_: kill_one() if done > 3 and not killed else None)
    expected = "a process training run was killed, perhaps for want of memory; go on with: lossmap run --resume run"
    assert str(failed.value) == f"{expected}; see {settings.logs}/run/train.log"
    assert psutil.wait_procs(killed, timeout=10)[1] == []


def test_a_loss_that_is_not_finite_is_one_clear_line(settings):
    experiment = _experiment(2, optimizer=Optimizer(learning_rate=1e30))
    with pytest.raises(TrainingError) as failed:
        _train(settings, "run", experiment)
    expected = "the training loss is nan in epoch 1; lower training.optimizer.learning_rate or set training.gradient_clip"
    assert str(failed.value) == f"training of run failed: {expected}; see {settings.logs}/run/train.log"


def _start(settings, run, processes):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, "-m", "lossmap.components.training.main", run],
        env={**os.environ, **settings.environment(), "OMP_NUM_THREADS": "1"},
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
