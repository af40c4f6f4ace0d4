"""Several tasks as one data set: packed, trained on, and surveyed."""

import math

import numpy as np
import pytest
import torch
from reference.landscape import naive_point
from sklearn.datasets import load_breast_cancer, load_digits
from support.training import in_process

from lossmap.components import steps
from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import Experts, MultiModel
from lossmap.components.config.parse import parse
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Optimizer, Training
from lossmap.components.core.errors import ExperimentError
from lossmap.components.data import pack
from lossmap.components.data.batches import load_images, load_packed
from lossmap.components.data.sources import load_source
from lossmap.components.models import build
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys import plan as survey
from lossmap.components.surveys.problems import Problems, load_directions
from lossmap.components.training.checkpoint import load_checkpoint, save_checkpoint
from lossmap.components.training.loop import Trainer
from lossmap.pipelines.local import open_run

MODEL = MultiModel(width=8, blocks=1, heads=2, experts=Experts(count=4, active=2, hidden=6))
TRAINING = Training(
    epochs=1, batch_size=20, processes=1, optimizer=Optimizer(algorithm="adam", learning_rate=0.01)
)
SMALL = Data(source="tasks", limit=20, test_limit=8)


def _packed(store, manifest, task):
    """Features and classes of a task in both splits, train first, read back from the rows."""
    number, features, labels = [one.name for one in manifest.tasks].index(task), [], []
    for split in ("train", "test"):
        rows, classes = load_packed(store, manifest, split)
        own = rows[:, 0] == number
        assert torch.equal(torch.nonzero(own).flatten(), torch.tensor(list(manifest.rows(split, task))))
        features.append(rows[own][:, 1 : 1 + manifest.tasks[number].features].double().numpy())
        labels.append(classes[own].numpy())
        assert not rows[own][:, 1 + manifest.tasks[number].features :].any()
    return features, labels


def test_rows_hold_the_samples_of_every_task(tmp_path):
    store = open_store(str(tmp_path))
    manifest = pack.prepare(Data(source="tasks"), store)
    images, of_images = _packed(store, manifest, "digits-images")
    tokens, of_tokens = _packed(store, manifest, "digits-tokens")
    table, _ = _packed(store, manifest, "breast-cancer")
    mean, deviation = tokens[0].mean(), tokens[0].std()
    for split in range(2):  # the same scans, in the same order
        # rounded to float32
        np.testing.assert_allclose(images[split], (tokens[split] - mean) / deviation, atol=1e-5)
        assert np.array_equal(of_images[split], of_tokens[split])
    digits = load_digits()
    assert sorted(map(tuple, np.concatenate(tokens))) == sorted(map(tuple, digits.data))
    np.testing.assert_allclose(table[0].mean(axis=0), 0, atol=1e-6)  # likewise
    np.testing.assert_allclose(table[0].std(axis=0), 1, atol=1e-6)
    assert sum(map(len, table)) == len(load_breast_cancer().data)
    assert [(len(task.classes), task.train_count, task.test_count) for task in manifest.tasks] == [
        (10, 1438, 359),
        (10, 1438, 359),
        (2, 456, 113),
    ]


def test_any_images_are_a_task_beside_the_others(tmp_path):
    store = open_store(str(tmp_path))
    manifest = pack.prepare(Data(source="tasks", tasks=("wine", "images"), images="blobs", limit=100), store)
    blobs = load_source(Data(source="blobs", limit=100), lambda _done, _total: None)
    features, labels = _packed(store, manifest, "images")
    train = blobs.splits["train"].pixels.astype(np.float64)
    for number, split in enumerate(("train", "test")):
        expected = (blobs.splits[split].pixels - train.mean()) / train.std()
        # rounded to float32
        np.testing.assert_allclose(features[number].reshape(expected.shape), expected, atol=1e-5)
        assert np.array_equal(labels[number], blobs.splits[split].labels)
    assert [(task.name, task.modality, task.shape, len(task.classes)) for task in manifest.tasks] == [
        ("wine", "table", (13,), 3),
        ("images", "image", (1, 8, 8), 4),
    ]


def test_the_loss_of_guessing_is_the_mean_over_samples(tmp_path):
    manifest = pack.prepare(Data(source="tasks"), open_store(str(tmp_path)))
    by_hand = (1438 * math.log(10) + 1438 * math.log(10) + 456 * math.log(2)) / (1438 + 1438 + 456)
    assert manifest.guessing_loss("train") == pytest.approx(by_hand, rel=1e-12)
    assert manifest.guessing_loss("train", "breast-cancer") == pytest.approx(math.log(2), rel=1e-12)


def test_evaluation_by_task_equals_sums_over_single_samples(tmp_path, group):
    store = open_store(str(tmp_path))
    manifest = pack.prepare(SMALL, store)
    test = load_images(store, manifest, "test")
    trainer = Trainer(
        TRAINING, manifest, build(MODEL, manifest), load_images(store, manifest, "train"), group
    )
    found = trainer.evaluate(test)
    network = trainer.network.double().eval()
    for task in manifest.tasks:
        losses, missed = [], 0
        for index in manifest.rows("test", task.name):
            logits = network(test.pixels[index : index + 1].double())[0, : len(task.classes)].tolist()
            label = int(test.labels[index])
            losses.append(math.log(sum(map(math.exp, logits))) - logits[label])
            missed += logits.index(max(logits)) != label
        assert found.tasks[task.name].error == missed / len(losses)
        assert found.tasks[task.name].loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)  # float32
    joint = sum(part.count * part.loss for part in found.tasks.values()) / found.count
    assert found.loss == pytest.approx(joint, rel=1e-12)
    assert found.count == sum(part.count for part in found.tasks.values()) == 24


def test_a_resumed_training_has_the_bits_of_an_undisturbed_one(tmp_path, group):
    store = open_store(str(tmp_path))
    manifest = pack.prepare(SMALL, store)
    undisturbed, stopped, resumed = (
        Trainer(TRAINING, manifest, build(MODEL, manifest), load_images(store, manifest, "train"), group)
        for _ in range(3)
    )
    for _ in range(3):
        undisturbed.train_step()
    stopped.train_step()
    save_checkpoint(store, "run", stopped, stopped.sums, seconds=0.0)
    load_checkpoint(store, "run", resumed)
    for _ in range(2):
        resumed.train_step()
    expected = undisturbed.network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.network.state_dict().items())
    assert torch.equal(resumed.sums, undisturbed.sums)


def test_a_survey_by_task_is_the_mean_over_that_tasks_samples_on_the_plane_of_all(tmp_path, tracking):
    settings = Settings(store=str(tmp_path), tracking=tracking(tmp_path))
    store, planes = open_store(settings.store), {}
    for run, task in {"all": None, "cancer": "breast-cancer"}.items():
        landscape = Landscape(
            plane=Plane(x=Axis(points=2), y=Axis(points=2)), line=None, samples=100, task=task
        )
        steps.prepare(
            open_run(run, settings),
            Experiment(data=SMALL, model=MODEL, training=TRAINING, landscape=landscape),
        )
        steps.train(open_run(run, settings), settings, launch=in_process(settings))
        survey.plan(Run(store, run))
        part = Run(store, run).survey.parts[0]
        planes[run] = (
            load_directions(store, part.plane),
            Problems(Run(store, run)).evaluator(part)(0.25, -0.5),
        )
    for one, other in zip(planes["all"][0], planes["cancer"][0], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    manifest, network = Run(store, "all").manifest, Problems(Run(store, "all")).network()
    rows, labels = load_packed(store, manifest, "train")
    for run, task in {"all": None, "cancer": "breast-cancer"}.items():
        lies = list(manifest.rows("train", task))
        mean, error, _ = naive_point(network, *planes[run][0], 0.25, -0.5, rows[lies], labels[lies])
        assert planes[run][1].loss == pytest.approx(mean, rel=1e-4)  # float32
        assert planes[run][1].error == pytest.approx(error)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"data": {"source": "tasks"}, "model": {"architecture": "mlp"}},
            (
                "data.source is 'tasks' and model.architecture is mlp, expected data.source tasks with"
                " model.architecture multimodel, and neither without the other"
            ),
        ),
        (
            {
                "data": {"source": "tasks"},
                "model": {"architecture": "multimodel"},
                "landscape": {"task": "wine"},
            },
            (
                "landscape.task is 'wine', expected one of data.tasks (digits-images, digits-tokens,"
                " breast-cancer)"
            ),
        ),
        (
            {
                "data": {"source": "tasks"},
                "model": {"architecture": "multimodel"},
                "training": {"augmentation": {"flip": True}},
            },
            (
                "data.source is tasks and training has augmentation or label_smoothing, expected neither: not"
                " all tasks are images, nor have the same classes"
            ),
        ),
    ],
)
def test_what_does_not_go_together_is_refused(values, line):
    with pytest.raises(ExperimentError) as refused:
        parse(values)
    assert line in str(refused.value)
