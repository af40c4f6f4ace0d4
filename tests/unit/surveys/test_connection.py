import numpy as np
import pytest
import torch
from reference.data import load_samples
from reference.manifests import manifest
from reference.paths import finished_run, permuted
from torch import nn

from lossmap.components.config.connection import Connecting, Curve, Evaluation
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.models import Linear, Mlp, ResNet
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.components.core.errors import ExperimentError, StoreError
from lossmap.components.landscape.connectivity.barriers import barrier
from lossmap.components.models import build
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.connection import Connection
from lossmap.components.surveys.ends import TrainingBatches, find_ends
from lossmap.pipelines.local import open_run

DATA = Data(source="blobs", blobs=Blobs(train_per_class=30, test_per_class=10, noise=1.0))
SMALL = Evaluation(points=5, samples=64)


@pytest.fixture
def settings(tmp_path):
    return Settings(store=str(tmp_path / "store"))


def _experiment(model, seed, data=DATA):
    return Experiment(data=data, model=model.model_copy(update={"seed": seed}), training=Training(seed=seed))


def _ends(settings):
    return find_ends((open_run("run-0", settings), open_run("run-1", settings)))


def _connection(settings, model, steps=40, connecting=None):
    for seed in (0, 1):
        finished_run(
            settings,
            f"run-{seed}",
            _experiment(model, seed),
            build(model.model_copy(update={"seed": seed}), manifest(classes=4)),
            steps,
        )
    return Connection(
        _ends(settings),
        connecting or Connecting(evaluation=SMALL, curve=None),
    )


def test_a_permuted_copy_has_a_barrier_and_after_alignment_exactly_the_loss_of_the_ends_everywhere(settings):
    model = Mlp(hidden=(16,))
    network = build(model, manifest(classes=4))
    finished_run(settings, "run-0", _experiment(model, 0), network, 60)
    finished_run(settings, "run-1", _experiment(model, 1), permuted(network, torch.arange(16).flip(0)))
    connection = Connection(_ends(settings), Connecting(evaluation=SMALL, curve=None))
    found = {name: connection.walk(name)["train"] for name in connection.names}
    assert connection.names == ("linear", "aligned", "repaired")
    assert barrier(found["linear"]).low > 0.05
    for name in ("aligned", "repaired"):
        assert (found[name].loss == found["linear"].loss[0]).all()
        assert barrier(found[name]).high < 1e-15  # rounding of means of equal numbers
    assert (connection.note.spaces, connection.note.permuted, connection.note.batch_norm) == (1, 1, False)


def test_softmax_regression_has_nothing_to_align(settings):
    connection = _connection(
        settings, Linear(), steps=0, connecting=Connecting(evaluation=SMALL, curve=Curve(epochs=1))
    )
    assert connection.names == ("linear", "curve")
    assert connection.note.spaces == 0


def test_a_path_is_found_again_to_the_last_bit(settings):
    connection, heard = _connection(settings, Mlp(hidden=(8,))), []
    first = connection.walk("linear")
    again = Connection(
        _ends(settings),
        Connecting(evaluation=SMALL),
    ).walk("linear", lambda *step: heard.append(step))
    assert heard == [(1, 1, "found in the store")]
    assert set(first) == {"train", "test"}
    for split, profile in first.items():
        for name, array in vars(profile).items():
            np.testing.assert_array_equal(array, getattr(again[split], name))


def test_an_interrupted_walk_leaves_nothing_of_itself_and_all_of_what_was_finished(settings):
    connection = _connection(
        settings, Mlp(hidden=(8,)), connecting=Connecting(evaluation=SMALL, curve=Curve(epochs=2))
    )
    store = open_store(settings.store)
    connection.walk("linear")
    before = set(store.keys("paths/"))

    def interrupt(done, total, detail):
        if done == 2:
            raise KeyboardInterrupt

    for step in (
        lambda: connection.train_curve(interrupt),
        lambda: Connection.walk(connection, "aligned", interrupt),
    ):
        assert connection.names == ("linear", "aligned", "repaired", "curve")
        aligned = set(store.keys("paths/"))
        with pytest.raises(KeyboardInterrupt):
            step()
        assert set(store.keys("paths/")) == aligned
    assert before < aligned


def test_other_settings_of_the_curve_or_another_threshold_keep_the_lines(settings):
    first = _connection(settings, Mlp(hidden=(8,)), steps=0, connecting=Connecting(curve=Curve(epochs=1)))
    other = Connection(
        _ends(settings),
        Connecting(curve=Curve(epochs=2), threshold=1),
    )
    assert first.address("linear") == other.address("linear")
    assert first.address("curve") != other.address("curve")


def test_more_points_on_a_curve_do_not_train_it_again(settings):
    coarse = _connection(
        settings, Mlp(hidden=(8,)), connecting=Connecting(evaluation=SMALL, curve=Curve(epochs=1))
    )
    coarse.train_curve()
    fine = Evaluation(points=9, samples=64)
    heard = []
    connection = Connection(
        _ends(settings),
        Connecting(evaluation=fine, curve=Curve(epochs=1)),
    )
    connection.train_curve(lambda *step: heard.append(step))
    assert heard == [(1, 1, "found in the store")]
    np.testing.assert_array_equal(
        connection.walk("curve")["train"].loss[::2], coarse.walk("curve")["train"].loss
    )


def test_statistics_of_batch_norm_are_re_estimated_interpolated_or_frozen(settings):
    found, names = {}, {}
    for choice in ("reestimated", "interpolated", "frozen"):
        connecting = Connecting(
            evaluation=Evaluation(points=3, samples=64, batch_norm=choice), curve=Curve(epochs=1)
        )
        connection = _connection(settings, ResNet(depth=8), steps=5, connecting=connecting)
        connection.train_curve()
        found[choice] = {name: connection.walk(name)["train"].loss for name in connection.names}
        names[choice] = connection.names
    assert names == {
        "reestimated": ("linear", "aligned", "curve"),
        **dict.fromkeys(("interpolated", "frozen"), ("linear", "aligned", "repaired", "curve")),
    }
    # at the first network both are its own
    assert found["interpolated"]["linear"][0] == found["frozen"]["linear"][0]
    ends = {choice: losses["linear"][2] for choice, losses in found.items()}
    assert len(set(ends.values())) == 3
    # the repair of BatchNorm is to re-estimate its statistics
    np.testing.assert_array_equal(found["interpolated"]["repaired"], found["reestimated"]["aligned"])
    for losses in found.values():
        assert losses["curve"][0] == losses["linear"][0]
        assert losses["curve"][2] == losses["linear"][2]


def test_at_the_ends_interpolated_statistics_are_the_networks_own(settings):
    connecting = Connecting(
        evaluation=Evaluation(points=3, samples=64, batch_norm="interpolated"), curve=None
    )
    profile = _connection(settings, ResNet(depth=8), steps=5, connecting=connecting).walk("linear")["test"]
    store = open_store(settings.store)
    from safetensors.torch import load

    from lossmap.components.landscape.objective import cross_entropy
    from lossmap.components.stores import layout

    network = build(ResNet(depth=8), manifest(classes=4)).eval()
    network.load_state_dict(load(store.read(layout.weights(Run(store, "run-1").training))))
    inputs, targets = load_samples(store, Run(store, "run-1").manifest, "test", torch.arange(40))
    # float32 sums over 40 samples in batches of another size
    assert profile.loss[2] == pytest.approx(
        float(cross_entropy(network(inputs), targets).mean().detach()), rel=1e-5
    )


def test_every_training_sample_is_seen_once_an_epoch_in_another_order(settings):
    for seed in (0, 1):
        network = build(Linear(seed=seed), manifest(classes=4))
        finished_run(settings, f"run-{seed}", _experiment(Linear(), seed), network)
    batches = TrainingBatches(_ends(settings), nn.Linear(1, 1), 50, "cpu", seed=0)
    epochs = [[inputs for inputs, _ in batches.epoch(number)] for number in (0, 1)]
    assert len(batches) == 2  # of 120 samples, 20 wait for the next epoch
    assert [len(part) for part in epochs[0]] == [50, 50]
    assert len(torch.cat(epochs[0]).flatten(1).unique(dim=0)) == 100
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))


def _refused(settings, *runs):
    with pytest.raises((ExperimentError, StoreError)) as refused:
        find_ends(tuple(open_run(run, settings) for run in runs))
    return str(refused.value)


def test_what_cannot_be_connected_is_said_in_a_line(settings):
    small, large, other = (Experiment(data=DATA, model=Mlp(hidden=(width,))) for width in (8, 16, 16))
    other = other.model_copy(update={"data": DATA.model_copy(update={"seed": 5})})
    for name, experiment in {"small": small, "large": large, "other": other, "again": small}.items():
        finished_run(settings, name, experiment, build(experiment.model, manifest(classes=4)))
    store = open_store(settings.store)
    digests = [Run(store, name).manifest.digest[:12] for name in ("small", "other")]
    assert (
        _refused(settings, "small", "large")
        == "small and large differ in model.hidden ([8] and [16]); expected one architecture and one data set"
    )
    assert (
        _refused(settings, "small", "other")
        == f"small and other differ in model.hidden ([8] and [16]); their data (blobs, digest {digests[0]}"
        f" and blobs, digest {digests[1]}); expected one architecture and one data set"
    )
    assert (
        _refused(settings, "small", "again")
        == "small and again have the same trained network; train another one, as with --set model.seed=1"
        " --set training.seed=1"
    )
    assert _refused(settings, "small", "none").startswith(f"{store.uri} has no run none; the newest are ")


def test_a_run_without_a_trained_network_is_named_with_the_command_that_goes_on(settings):
    from lossmap.components.steps import prepare

    finished_run(settings, "run-0", _experiment(Linear(), 0), build(Linear(), manifest(classes=4)))
    prepare(open_run("run-1", settings), _experiment(Linear(), 1))
    assert (
        _refused(settings, "run-0", "run-1")
        == "run run-1 has no trained network yet; go on with it: lossmap run --resume run-1"
    )
