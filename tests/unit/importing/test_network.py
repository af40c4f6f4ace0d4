import importlib
import math
import sys

import numpy as np
import pytest
import torch
from reference.data import load_samples
from reference.networks import Language, images, table
from safetensors.torch import load, save_file

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import Imported
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.importing import network as importing
from lossmap.components.importing.digests import with_digests, with_weights_digest
from lossmap.components.importing.given import Given
from lossmap.components.importing.in_process import in_process_model
from lossmap.components.importing.network import import_network
from lossmap.components.landscape.objective import (
    cross_entropy,
    like_parameters,
    mean_squared_error,
    named_loss,
)
from lossmap.components.models import build
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.cluster.submit import check_for_cluster, demand
from lossmap.pipelines.local import open_run

GREY = Data(source="blobs", blobs=Blobs(train_per_class=70, test_per_class=5))
RANDOM = np.random.default_rng(3)
EVEN = np.arange(300) % 2
ROWS = {"inputs": RANDOM.normal(size=(300, 4)), "targets": RANDOM.integers(0, 3, 300)}


@pytest.fixture
def settings(tmp_path):
    return Settings(store=str(tmp_path / "store"))


def _ignoring(targets):
    return np.where(np.arange(len(targets)) % 3 == 0, -100, targets)


LABELS = (RANDOM.random((300, 3)) < 0.4).astype("uint8")
SURVEYED = {
    "weights of classes": ("reference.networks:WEIGHTED", 3, ROWS["targets"]),
    "ignored": ("torch.nn:CrossEntropyLoss", 3, _ignoring(ROWS["targets"])),
    "labels": ("torch.nn:BCEWithLogitsLoss", 3, LABELS),
    "one number": ("torch.nn:SmoothL1Loss", 1, ROWS["inputs"][:, 0].astype("float32")),
    "of the whole batch": ("reference.networks:mean_of_all", 1, ROWS["inputs"][:, :1]),
    "counts": ("reference.networks:rate", 2, RANDOM.poisson(3, 300)),
}


@pytest.mark.parametrize("kind", SURVEYED)
def test_the_centre_of_a_survey_of_all_samples_is_the_training_loss(kind, settings, tmp_path):
    loss, outputs, targets = SURVEYED[kind]
    np.savez(tmp_path / "data.npz", inputs=ROWS["inputs"], targets=targets)
    model = Imported(factory="reference.networks:table", arguments={"outputs": outputs}, loss=loss)
    axis = Axis(points=3)
    landscape = Landscape(plane=Plane(x=axis, y=axis), line=None, samples=300, batch_size=64, workers=1)
    experiment = Experiment(data=Data(source=str(tmp_path / "data.npz")), model=model, landscape=landscape)
    run = open_run("run", settings)
    steps.prepare(run, with_digests(experiment))
    import_network(run)
    steps.plan(run)
    steps.merge(run)
    plane, found = load_result(run).planes[0], run.training_result["train"]
    assert plane.loss[1, 1] == pytest.approx(found["loss"], rel=1e-6)
    assert plane.error[1, 1] == pytest.approx(
        math.nan if found["error"] is None else found["error"], rel=1e-9, nan_ok=True
    )
    assert (found["error"] is None) == (kind in ("one number", "of the whole batch", "counts"))
    assert len(plane.group_weights) == (100 if kind in ("weights of classes", "ignored") else 0)


@pytest.fixture
def taken_in(settings, tmp_path):
    """Imports a network, as the step train does, and returns the store and the training's address."""

    def take(factory, data=GREY, **fields):
        if isinstance(data, dict):
            np.savez(tmp_path / "data.npz", **data)
            data = Data(source=str(tmp_path / "data.npz"))
        experiment = with_digests(
            Experiment(data=data, model=Imported(factory=f"reference.networks:{factory}", **fields))
        )
        steps.prepare(open_run("run", settings), experiment)
        run = open_run("run", settings)
        import_network(run)
        return run.store, run.training, run.training_result

    return take


def _refused(call, *arguments, **fields):
    with pytest.raises(LossmapError) as refused:
        call(*arguments, **fields)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def _by_hand(network, loss, store, split):
    """Mean loss and share of wrong answers, one sample at a time in float64."""
    manifest = Run(store, "run").manifest
    inputs, targets = load_samples(store, manifest, split, torch.arange(manifest.count(split)))
    network = network.double().eval().requires_grad_(False)
    outputs = [network(one[None].double() if one.is_floating_point() else one[None])[0] for one in inputs]
    losses = [
        float(loss(output[None], target[None])) for output, target in zip(outputs, targets, strict=True)
    ]
    misses = [
        float((output.argmax(-1) != target).double().mean())
        for output, target in zip(outputs, targets, strict=True)
    ]
    return np.mean(losses), np.mean(misses)


def test_an_imported_network_is_kept_as_if_it_had_been_trained(taken_in, tmp_path):
    torch.manual_seed(1)
    trained = images()
    trained[1].running_mean += 0.3
    save_file(trained.state_dict(), str(tmp_path / "w.safetensors"))
    store, training, result = taken_in("images", weights=str(tmp_path / "w.safetensors"))
    kept = load(store.read(layout.weights(training)))
    assert all(torch.equal(value, kept[name]) for name, value in trained.state_dict().items())
    for split, count in (("train", 280), ("test", 20)):
        loss, error = _by_hand(trained, cross_entropy, store, split)
        # float32 outputs of size 1: 1e-7 each, averaged
        assert result[split] == {
            "loss": pytest.approx(loss, abs=1e-6),
            "error": pytest.approx(error, abs=1e-12),
            "count": count,
        }
    assert (result["parameters"], result["processes"]) == (54 + 12 + 28, 1)
    assert result["seconds"] > 0


def test_random_weights_are_the_factorys_under_the_models_seed(taken_in):
    store, training, _ = taken_in("images", seed=4)
    expected = build(
        Imported(factory="reference.networks:images", seed=4), Run(store, "run").manifest
    ).state_dict()
    assert all(
        torch.equal(value, expected[name])
        for name, value in load(store.read(layout.weights(training))).items()
    )


def test_a_language_model_is_imported_with_its_tied_weights(taken_in):
    tokens = RANDOM.integers(0, 11, (40, 5))
    store, training, result = taken_in(
        "Language", {"inputs": tokens, "targets": tokens[:, ::-1]}, arguments={"tied": True}
    )
    kept = load(store.read(layout.weights(training)))
    assert torch.equal(kept["embedding.weight"], kept["head.weight"])
    network = Language(tied=True)
    network.load_state_dict(kept)
    loss, error = _by_hand(network, cross_entropy, store, "train")
    assert result["train"] == {
        "loss": pytest.approx(loss, abs=1e-6),
        "error": pytest.approx(error, abs=1e-12),
        "count": 40,
    }
    assert (result["test"], result["parameters"]) == ({"loss": None, "error": None, "count": 0}, 66)


@pytest.mark.parametrize(
    "loss", ["mse", "reference.networks:absolute", "torch.nn:L1Loss", "torch.nn.functional:l1_loss"]
)
def test_a_regression_has_a_loss_and_no_error(loss, taken_in):
    targets = ROWS["inputs"].sum(axis=1, keepdims=True)
    store, training, result = taken_in(
        "table", {"inputs": ROWS["inputs"], "targets": targets}, arguments={"outputs": 1}, loss=loss
    )
    network = table(outputs=1)
    network.load_state_dict(load(store.read(layout.weights(training))))
    outputs = network.double()(torch.from_numpy(ROWS["inputs"])).detach().numpy()
    expected = np.mean((outputs - targets) ** 2) if loss == "mse" else np.abs(outputs - targets).mean()
    # float32 outputs and inputs against float64: 1e-7 relative, losses of a few units
    assert result["train"] == {"loss": pytest.approx(expected, abs=1e-5), "error": None, "count": 300}


def test_a_network_in_float64_stays_so(taken_in):
    store, training, _ = taken_in("table", ROWS, arguments={"dtype": "float64"})
    assert {tensor.dtype for tensor in load(store.read(layout.weights(training))).values()} == {torch.float64}


@pytest.mark.parametrize(
    ("factory", "fields", "data", "line"),
    [
        (
            "table",
            {},
            GREY,
            "the network Sequential fails on inputs of the shape (1, 1, 8, 8), float32: RuntimeError: ",
        ),
        (
            "images",
            {"arguments": {"classes": 2}},
            GREY,
            (
                "the loss cross-entropy fails on outputs of the shape (64, 2), float32 and targets of the"
                " shape (64,), int64: IndexError: Target "
            ),
        ),
        (
            "table",
            {"loss": "reference.networks:apart"},
            ROWS,
            "the loss reference.networks:apart gives a sample -0 in a batch of 1 and 4.",
        ),
        (
            "table",
            {"loss": "mse"},
            ROWS,
            (
                "the loss mse has outputs of the shape (64, 3), float32 and targets of the shape (64,),"
                " int64, expected one shape: a target for each output"
            ),
        ),
        (
            "table",
            {"loss": "reference.networks:nothing"},
            ROWS,
            "there is no loss 'reference.networks:nothing' (reference.networks has no nothing, expected",
        ),
        (
            "table",
            {"loss": "hinge"},
            ROWS,
            (
                "there is no loss 'hinge' (it has no colon), expected cross-entropy, mse, or"
                " package.module:function"
            ),
        ),
        (
            "table",
            {"loss": "reference.networks:COUNT"},
            ROWS,
            "the loss reference.networks:COUNT cannot be used: TypeError: ",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_line(factory, fields, data, line, taken_in):
    assert _refused(taken_in, factory, data, **fields).startswith(line)


def test_weights_that_changed_since_the_run_was_made_are_refused(tmp_path, settings):
    path = tmp_path / "w.safetensors"
    save_file(images().state_dict(), str(path))
    experiment = with_digests(
        Experiment(data=GREY, model=Imported(factory="reference.networks:images", weights=str(path)))
    )
    steps.prepare(open_run("run", settings), experiment)
    save_file(images().state_dict(), str(path))
    line = _refused(import_network, open_run("run", settings))
    assert (
        line
        == f"{path} has changed since the run was made: its SHA-256 is not {experiment.model.weights_sha256};"
        " start a new run"
    )


def test_the_address_of_a_training_follows_the_content_of_the_weights(tmp_path, settings):
    path, addresses = tmp_path / "w.safetensors", []
    for run, seed in (("a", 0), ("b", 1), ("c", 0)):
        torch.manual_seed(seed)
        save_file(images().state_dict(), str(path))
        steps.prepare(
            open_run(run, settings),
            with_digests(
                Experiment(data=GREY, model=Imported(factory="reference.networks:images", weights=str(path)))
            ),
        )
        addresses.append(open_run(run, settings).training)
    assert addresses[0] == addresses[2] != addresses[1]


def test_paths_are_absolute_in_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(table().state_dict(), "w.safetensors")
    found = with_digests(
        Experiment(
            data=Data(source="rows.npz"),
            model=Imported(factory="reference.networks:table", weights="w.safetensors"),
        )
    )
    assert (found.model.weights, found.data.source) == (
        str(tmp_path / "w.safetensors"),
        str(tmp_path / "rows.npz"),
    )


def test_missing_weights_are_refused_when_the_run_is_made():
    experiment = Experiment(model=Imported(factory="reference.networks:table", weights="/nowhere/w.pt"))
    assert (
        _refused(with_digests, experiment)
        == "model.weights is '/nowhere/w.pt', which cannot be read: No such file or directory"
    )


def test_weights_in_s3_are_told_by_their_digest_and_loaded(s3, taken_in):
    network = images()
    open_store(s3).write("w.safetensors", importing.network_bytes(network))
    store, training, _ = taken_in("images", weights=f"{s3}/w.safetensors")
    assert torch.equal(load(store.read(layout.weights(training)))["0.weight"], network[0].weight)


def test_a_cluster_is_not_given_what_only_this_machine_has():
    experiment = Experiment(model=Imported(factory="a:b", weights="/home/me/w.pt"))
    assert (
        _refused(check_for_cluster, experiment)
        == "model.weights is '/home/me/w.pt', a path of this machine, expected one that pods can read: put it"
        " in S3 and give its s3:// URI"
    )
    assert (
        _refused(check_for_cluster, Experiment(model=Imported()))
        == "model.factory is 'in process', expected package.module:function of a package that the image has"
    )
    stated = Experiment(model=Imported(factory="a:b", weights="s3://bucket/w.pt", weights_sha256="ab"))
    check_for_cluster(stated)
    assert with_weights_digest(stated) == stated
    assert (demand(stated).training_pods, demand(stated).training_processes) == (0, 0)


def test_targets_that_are_no_classes_have_no_wrong_answers():
    assert mean_squared_error.errors(torch.zeros(5, 1), torch.arange(5)) is None
    assert cross_entropy.errors(torch.zeros(5, 3), torch.zeros(5, 3)) is None
    assert cross_entropy.errors(torch.eye(3), torch.tensor([0, 1, 0])).tolist() == [0, 0, 1]


def test_floating_inputs_take_the_type_of_the_network_and_integers_stay():
    assert like_parameters(torch.zeros(2, dtype=torch.float64), table()).dtype == torch.float32
    assert like_parameters(torch.zeros(2), table(dtype="float64")).dtype == torch.float64
    assert like_parameters(torch.zeros(2, dtype=torch.int32), table()).dtype == torch.int32


def test_a_users_own_module_of_a_loss_is_not_changed():
    module = torch.nn.CrossEntropyLoss()
    with in_process_model(Given(table(), module, *ROWS.values())) as taken:
        losses = named_loss(taken.model.loss)(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    assert losses.tolist() == pytest.approx([math.log(3)] * 4, rel=1e-6)  # in float32
    assert module.reduction == "mean"


def test_what_is_handed_over_is_addressed_by_what_it_computes():
    torch.manual_seed(0)
    network = table()

    def addressed(network=network, loss="cross-entropy"):
        with in_process_model(Given(network, loss, *ROWS.values())) as taken:
            return taken.model.weights_sha256, taken.model.source_sha256

    assert addressed() == addressed()
    assert addressed(table()) != addressed()
    assert (
        addressed(loss=lambda outputs, targets: outputs[:, 0])[1]
        != addressed(loss=lambda outputs, targets: outputs[:, 1])[1]
    )
    smooth = torch.nn.Sequential(network[0], torch.nn.Softplus(), network[2])
    assert addressed(smooth)[1] != addressed()[1]


def test_torch_is_left_as_it_was():
    with in_process_model(Given(table(), "cross-entropy", *ROWS.values())):
        torch.set_num_threads(2)
        torch.set_deterministic_debug_mode("error")
    assert (torch.get_num_threads(), torch.get_deterministic_debug_mode()) == (1, 0)


@pytest.mark.parametrize(
    ("network", "inputs", "line"),
    [
        ([1], torch.zeros(3, 4), "the network is list, expected a torch.nn.Module"),
        (table(), "abc", "inputs is str, expected a tensor or an array: "),
        (
            table(),
            torch.zeros(3, 5),
            "the network Sequential fails on inputs of the shape (3, 5): RuntimeError: ",
        ),
    ],
)
def test_what_cannot_be_handed_over_is_one_line(network, inputs, line):
    def hand_over():
        given = Given(network, "cross-entropy", inputs, torch.zeros(3, dtype=torch.int64))
        with in_process_model(given):
            pass

    assert _refused(hand_over).startswith(line)


def test_a_run_that_needs_the_network_in_memory_says_so(settings):
    steps.prepare(open_run("run", settings), Experiment(data=GREY, model=Imported()))
    assert _refused(import_network, open_run("run", settings)).startswith(
        "the network of this run was handed over in Python, "
    )


def test_an_experiment_of_lossmaps_own_has_no_digests():
    assert with_digests(Experiment()) == with_weights_digest(Experiment()) == Experiment()


def test_a_network_of_lossmaps_own_is_not_imported(settings):
    steps.prepare(open_run("run", settings), Experiment(data=GREY))
    with pytest.raises(ExperimentError, match=r"^model.architecture is resnet, expected imported$"):
        import_network(open_run("run", settings))


OBSERVING = """
import threading
from torch import nn

threads = []

def make():
    threads.extend(thread.name for thread in threading.enumerate())
    return nn.Linear(4, 3)
"""


def test_a_factory_is_called_while_no_thread_imports_mlflow(tmp_path, monkeypatch, tracking):
    """Two threads that import packages which import each other get halves of them."""
    (tmp_path / "observing.py").write_text(OBSERVING)
    np.savez(tmp_path / "data.npz", **ROWS)
    monkeypatch.chdir(tmp_path)
    settings = Settings(store=str(tmp_path / "store"), tracking=tracking(tmp_path))
    run = open_run("run", settings)
    model = Imported(factory="observing:make")
    steps.prepare(run, with_digests(Experiment(data=Data(source=str(tmp_path / "data.npz")), model=model)))
    steps.train(run, settings)
    threads = importlib.import_module("observing").threads
    assert "MainThread" in threads and "mlflow" not in threads
    assert run.has_network()


SLOPE = """
import json, os
import torch
from torch import nn

class Slope(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = float(os.environ["SLOPE"])

    def forward(self, x):
        return torch.where(x > 0, x, (self.slope + float(os.environ.get("MORE", 0))) * x)

def make():
    return nn.Sequential(nn.Linear(4, 6), Slope(), nn.Linear(6, 3))

def loss(outputs, targets):
    with open("rare.json") as file:
        factor = 1 + json.load(file) * (targets == 2)
    return SCALE * factor * nn.functional.cross_entropy(outputs, targets, reduction="none")

with open("scale.json") as file:
    SCALE = json.load(file)
"""


@pytest.fixture
def module_that_reads(tmp_path, monkeypatch):
    """A module of the user's whose factory reads the environment, and whose loss reads a file when it is
    imported and another in every call, for one sample of 300.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "reading.py").write_text(SLOPE)

    def experiment(slope="0.1", scale="1"):
        sys.modules.pop("reading", None)
        monkeypatch.setenv("SLOPE", slope)
        (tmp_path / "scale.json").write_text(scale)
        (tmp_path / "rare.json").write_text("0")
        np.savez("data.npz", inputs=ROWS["inputs"], targets=np.where(np.arange(300) == 250, 2, EVEN))
        model = Imported(factory="reading:make", loss="reading:loss")
        return with_digests(Experiment(data=Data(source="data.npz"), model=model))

    yield experiment
    sys.modules.pop("reading", None)


def test_what_factory_and_loss_read_of_files_and_of_the_environment_counts(module_that_reads):
    first, same = module_that_reads(), module_that_reads()
    assert first == same
    assert module_that_reads(slope="0.2").digest() != first.digest() != module_that_reads(scale="2").digest()


def test_a_network_that_computes_something_else_than_the_one_in_the_store_is_refused(
    module_that_reads, settings, monkeypatch, tmp_path
):
    run = open_run("run", settings)
    steps.prepare(run, module_that_reads())
    import_network(run)
    steps.train(run, settings)  # found in the store
    monkeypatch.setenv("MORE", "0.5")
    line = _refused(steps.train, run, settings)
    assert line.startswith("reading:make with the loss reading:loss gives train sample ")
    assert line.endswith(
        "read it where the module is imported, or let the factory take it as an argument (model.arguments),"
        " so that it counts"
    )
    monkeypatch.delenv("MORE")
    steps.train(run, settings)
    (tmp_path / "rare.json").write_text("0.01")
    assert " gives train sample 250 the loss " in _refused(steps.train, run, settings)
