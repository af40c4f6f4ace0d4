"""Training inside this process, as a group of one."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import training as reference

from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.models import Experts, MixtureOfExperts, Mlp, ResNet
from lossmap.components.config.training import Augmentation, Optimizer, Schedule, Training
from lossmap.components.core.bfloat16 import Bfloat16, of_device
from lossmap.components.core.errors import TrainingError
from lossmap.components.core.randomness import seed
from lossmap.components.data import pack
from lossmap.components.data.batches import epoch_order, load_images, normalize
from lossmap.components.models import build
from lossmap.components.models.balance import take_balance
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.training.checkpoint import load_checkpoint, save_checkpoint
from lossmap.components.training.loop import Trainer
from lossmap.components.training.schedule import factor

DATA = Data(source="blobs", blobs=Blobs(classes=3, train_per_class=24, test_per_class=7))
SGD = Optimizer(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
AUGMENTED = Training(
    epochs=2,
    batch_size=24,
    processes=1,
    optimizer=SGD,
    schedule=Schedule(warmup_epochs=0.5),
    augmentation=Augmentation(crop_padding=1, flip=True),
    label_smoothing=0.1,
    gradient_clip=1.0,
)
LACKING = of_device(torch.device("cpu")).lacking
in_bfloat16 = pytest.mark.skipif(bool(LACKING), reason=LACKING)


@pytest.fixture
def packed(tmp_path):
    store = open_store(str(tmp_path))
    return store, pack.prepare(DATA, store)


def _trainer(packed, group, training, model=ResNet(depth=8)):  # noqa: B008 - frozen
    store, manifest = packed
    return Trainer(training, manifest, build(model, manifest), load_images(store, manifest, "train"), group)


def _train(trainer):
    while trainer.step < trainer.steps:
        trainer.train_step()
    return trainer.network.state_dict()


@pytest.mark.parametrize("model", [Mlp(hidden=(16,)), ResNet(depth=8)], ids=lambda model: model.architecture)
def test_training_equals_a_loop_written_in_float64(packed, group, model):
    store, manifest = packed
    trainer = _trainer(packed, group, AUGMENTED, model)
    expected = reference.train(
        AUGMENTED, manifest, build(model, manifest), load_images(store, manifest, "train"), world=1
    ).state_dict()
    for name, tensor in _train(trainer).items():
        # six steps in float32: roundings of 6e-8 grow by the steps' own sensitivity, seen up to 3e-6
        torch.testing.assert_close(tensor.double(), expected[name].double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", ["constant", "step", "cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 1.5])
def test_the_schedule_equals_its_table_of_cases(shape, warmup):
    schedule = Schedule(shape=shape, warmup_epochs=warmup, milestones=(3, 6) if shape == "step" else ())
    training = Training(epochs=10, schedule=schedule, optimizer=Optimizer(learning_rate=1.0))
    for step in range(70):
        assert factor(schedule, step / 7, 10) == pytest.approx(
            reference.learning_rate(training, step, 7), rel=1e-12, abs=1e-15
        )


@pytest.mark.parametrize(
    "training",
    [
        AUGMENTED,
        Training(
            epochs=2, batch_size=24, processes=1, optimizer=Optimizer(algorithm="adam", learning_rate=0.01)
        ),
        Training(
            epochs=2,
            batch_size=24,
            processes=1,
            optimizer=Optimizer(algorithm="adamw", learning_rate=0.01, weight_decay=0.1),
        ),
        pytest.param(
            Training(epochs=2, batch_size=24, processes=1, precision="bfloat16", channels_last=True),
            marks=in_bfloat16,
        ),
        AUGMENTED.model_copy(
            update={
                "optimizer": SGD.model_copy(update={"decay_norms_and_biases": False}),
                "precision": "auto",
            }
        ),
        Training(
            epochs=2, batch_size=24, processes=1, precision="float16", optimizer=Optimizer(learning_rate=0.01)
        ),
    ],
    ids=["sgd", "adam", "adamw", "bfloat16", "weights-decay", "float16"],
)
@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one(packed, group, training, stop):
    store, _ = packed
    undisturbed = _trainer(packed, group, training)
    expected = _train(undisturbed)
    stopped = _trainer(packed, group, training)
    while stopped.step < stop:
        stopped.train_step()
    save_checkpoint(store, "run", stopped, stopped.sums, seconds=1.5)
    resumed = _trainer(packed, group, training)
    assert load_checkpoint(store, "run", resumed) == (1.5, [])
    weights = _train(resumed)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert torch.equal(resumed.sums, undisturbed.sums)


def test_weight_decay_leaves_out_biases_and_the_parameters_of_normalisation_where_it_is_asked_to(
    packed, group
):
    plain, decayed, exempt = (
        _trainer(
            packed,
            group,
            AUGMENTED.model_copy(update={"optimizer": SGD.model_copy(update=changes), "gradient_clip": None}),
        )
        for changes in ({"weight_decay": 0.0}, {}, {"decay_norms_and_biases": False})
    )
    for trainer in (plain, decayed, exempt):
        for parameter in trainer.network.parameters():
            torch.nn.init.constant_(parameter, 0.5)
        trainer.train_step()  # at a rate of zero
        trainer.train_step()
    for free, all_of_them, weights in zip(
        *(trainer.network.parameters() for trainer in (plain, decayed, exempt)), strict=True
    ):
        assert not torch.equal(free, all_of_them)
        assert torch.equal(weights, free if free.dim() == 1 else all_of_them)


def _on(monkeypatch, support):
    monkeypatch.setattr("lossmap.components.training.precision.of_device", lambda _device: support)


@pytest.mark.parametrize(("is_faster", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_the_faster_precision_and_a_training_ends_in_the_one_that_it_began_in(
    packed, group, monkeypatch, is_faster, expected
):
    automatic = AUGMENTED.model_copy(update={"precision": "auto"})
    _on(monkeypatch, Bfloat16("", is_faster))
    trainer = _trainer(packed, group, automatic)
    assert trainer.precision == expected
    save_checkpoint(packed[0], "run", trainer, trainer.sums, seconds=0.0)
    _on(monkeypatch, Bfloat16("", not is_faster))
    elsewhere = _trainer(packed, group, automatic)
    assert elsewhere.precision != expected
    load_checkpoint(packed[0], "run", elsewhere)
    assert elsewhere.precision == expected


def test_bfloat16_is_refused_where_the_hardware_has_none(packed, group, monkeypatch):
    asked = AUGMENTED.model_copy(update={"precision": "bfloat16"})
    _on(monkeypatch, Bfloat16("", True))
    trainer = _trainer(packed, group, asked)
    save_checkpoint(packed[0], "run", trainer, trainer.sums, seconds=0.0)
    _on(monkeypatch, Bfloat16("this processor has none", False))
    with pytest.raises(TrainingError) as refused:
        _trainer(packed, group, asked)
    assert str(refused.value) == (
        "training.precision is bfloat16, and this processor has none; set training.precision=auto, or float32"
    )
    elsewhere = _trainer(packed, group, asked.model_copy(update={"precision": "auto"}))
    with pytest.raises(TrainingError) as refused:
        load_checkpoint(packed[0], "run", elsewhere)
    assert str(refused.value) == (
        "this training began in bfloat16, and this processor has none; go on where there are, or begin"
        " another with training.precision=float32"
    )


@in_bfloat16
@pytest.mark.parametrize("body", ["perceptron", "convolutional"])
def test_experts_are_trained_in_bfloat16(packed, group, body):
    model = MixtureOfExperts(body=body, width=8, experts=Experts(count=3, active=2, hidden=4))
    trainer = _trainer(packed, group, AUGMENTED.model_copy(update={"precision": "bfloat16"}), model)
    _train(trainer)
    accuracy, others = trainer.finish_epoch()
    assert all(math.isfinite(value) for value in (accuracy.loss, *others.values()))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(packed, group):
    store, _ = packed
    trainer = _trainer(packed, group, AUGMENTED)
    for _ in range(3):
        trainer.train_step()
        save_checkpoint(store, "run", trainer, trainer.sums, seconds=0.0)
    kept = [
        key for key in store.keys(layout.training("run", "checkpoints/step")) if key.endswith("state.json")
    ]
    assert kept == [layout.checkpoint("run", step, "state.json") for step in (2, 3)]
    damaged = layout.checkpoint("run", 3, "weights.safetensors")
    store.write(damaged, store.read(damaged)[:-1] + b"x")
    resumed = _trainer(packed, group, AUGMENTED)
    assert load_checkpoint(store, "run", resumed) == (
        0.0,
        [f"{store.uri}/{damaged} is damaged: its SHA-256 differs from the one written"],
    )
    assert resumed.step == 2


def test_evaluation_equals_a_sum_over_single_images_in_float64(packed, group):
    store, manifest = packed
    trainer, test = _trainer(packed, group, AUGMENTED), load_images(store, manifest, "test")
    _train(trainer)
    found = trainer.evaluate(test)
    network = trainer.network.double().eval()
    mean, deviation = (
        np.array(manifest.mean).reshape(-1, 1, 1),
        np.array(manifest.deviation).reshape(-1, 1, 1),
    )
    losses, wrong = [], 0
    for pixels, label in zip(test.pixels.numpy(), test.labels.tolist(), strict=True):
        logits = network(torch.from_numpy((pixels / 255 - mean) / deviation)[None])[0].tolist()
        losses.append(
            math.log(sum(math.exp(value - max(logits)) for value in logits)) + max(logits) - logits[label]
        )
        wrong += logits.index(max(logits)) != label
    assert found.count == 21
    assert found.error == wrong / 21
    assert found.loss == pytest.approx(sum(losses) / 21, rel=1e-4)


def test_metrics_of_an_epoch_are_means_over_its_images(packed, group):
    training = AUGMENTED.model_copy(update={"label_smoothing": 0.0})
    trainer = _trainer(packed, group, training, Mlp(hidden=(8,)))
    for _ in range(trainer.steps_per_epoch):
        trainer.train_step()
    accuracy, others = trainer.finish_epoch()
    assert accuracy.count == 72
    assert 0 < accuracy.loss < 2 * math.log(3)
    assert (accuracy.error * 72) % 1 == pytest.approx(0, abs=1e-9)
    assert list(others) == ["gradient_norm"]
    assert others["gradient_norm"] > 0
    assert not trainer.sums.any()


@pytest.mark.parametrize("body", ["perceptron", "convolutional"])
def test_a_resumed_run_with_experts_has_the_bits_and_metrics_of_an_undisturbed_one(packed, group, body):
    store, _ = packed
    model = MixtureOfExperts(body=body, width=8, experts=Experts(count=3, active=2, hidden=4, capacity=1.0))
    undisturbed, stopped, resumed = (_trainer(packed, group, AUGMENTED, model) for _ in range(3))
    expected = _train(undisturbed)
    for _ in range(4):
        stopped.train_step()
    save_checkpoint(store, "run", stopped, stopped.sums, seconds=0.0)
    load_checkpoint(store, "run", resumed)
    weights = _train(resumed)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    metrics = resumed.finish_epoch()
    assert metrics == undisturbed.finish_epoch()
    assert list(metrics[1]) == [
        "gradient_norm",
        "balance_loss",
        "importance_cv",
        "load_cv",
        "load_max_over_mean",
        "dropped_share",
    ]
    assert all(value > 0 for value in metrics[1].values())


def test_a_step_descends_the_cross_entropy_plus_the_balance_loss_and_tells_them_apart(packed, group):
    store, manifest = packed
    training = Training(
        epochs=1,
        batch_size=72,
        processes=1,
        optimizer=Optimizer(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0),
    )
    model = MixtureOfExperts(
        width=8, experts=Experts(count=3, active=1, hidden=4, importance_weight=2.0, load_weight=3.0)
    )
    trainer = _trainer(packed, group, training, model)
    by_hand, images = build(model, manifest).train(), load_images(store, manifest, "train")
    chosen = epoch_order(72, training.seed, 0)
    torch.manual_seed(seed("step", training.seed, 0, 0))
    loss = F.cross_entropy(by_hand(normalize(images.pixels[chosen], manifest)), images.labels[chosen])
    used = take_balance(by_hand)
    (loss + used.loss).backward()
    trainer.train_step()
    for parameter, found in zip(by_hand.parameters(), trainer.network.parameters(), strict=True):
        expected = parameter if parameter.grad is None else parameter - 0.1 * parameter.grad
        # float32: one product and one difference, whose fused form rounds once
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    accuracy, others = trainer.finish_epoch()
    assert accuracy.loss == pytest.approx(loss.item(), rel=1e-6)
    assert others["balance_loss"] == pytest.approx(used.loss.item(), rel=1e-6)
    assert others["load_max_over_mean"] == pytest.approx(used.routing[2].item(), rel=1e-12)
