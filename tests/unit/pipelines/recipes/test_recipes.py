import pytest
import torch
from reference.manifests import manifest
from typer.testing import CliRunner

from lossmap.components.config.parse import parse
from lossmap.components.data.pack import prepare
from lossmap.components.models import build
from lossmap.components.stores.objects import open_store
from lossmap.components.training.schedule import factor
from lossmap.pipelines.cli import app
from lossmap.pipelines.recipes import registry

WITH_AND_WITHOUT_SHORTCUTS = ["resnet20", "resnet56", "resnet110", "preactivation-resnet", "wide-resnet"]
CAST = [
    "linear",
    "mlp",
    "vgg9",
    "densenet",
    "moe",
    "moe-unbalanced",
    "moe-convolutional",
    "moe-convolutional-unbalanced",
]
CAST += [f"{name}{end}" for name in WITH_AND_WITHOUT_SHORTCUTS for end in ("", "-noshort")]
ON_CPUS = [f"cifar10-{name}-cpu" for name in CAST]


@pytest.mark.parametrize("scale", ["digits-{}", "cifar10-{}-cpu", "cifar10-{}"])
def test_every_network_has_a_recipe_at_every_scale(scale):
    assert {scale.format(name) for name in [*CAST, "multimodel"]} <= set(registry.names())


def test_every_recipe_is_listed_once_under_the_heading_of_its_scale():
    digits, on_cpus, on_gpus, others = registry.groups().values()
    assert [*digits, *on_cpus, *on_gpus, *others] == registry.names()
    assert {registry.load(name).data.source for name in digits} <= {"digits", "tasks"}
    assert all(
        name.startswith("cifar10-") and name.endswith("-cpu") and registry.load(name).cluster.profile == "cpu"
        for name in on_cpus
    )
    assert all(
        name.startswith("cifar10-")
        and not name.endswith("-cpu")
        and registry.load(name).cluster.profile == "gpu"
        for name in on_gpus
    )
    assert sorted(others) == ["blobs-mlp", "cifar100-resnet20", "fashion-mnist-resnet20"]


@pytest.mark.parametrize("name", registry.names())
def test_a_recipe_passes_the_checks_of_a_file_and_is_described_in_one_sentence(name):
    experiment = registry.load(name)
    assert parse(experiment.model_dump(mode="json")) == experiment
    described = registry.describe(name)
    assert described.endswith(".")
    assert len(described) <= 140


def test_a_recipe_without_shortcuts_differs_in_nothing_else():
    for name in WITH_AND_WITHOUT_SHORTCUTS:
        for scale in ("digits-{}", "cifar10-{}-cpu", "cifar10-{}"):
            with_shortcuts, without = (
                registry.load(scale.format(label)) for label in (name, f"{name}-noshort")
            )
            plain = with_shortcuts.model.model_copy(update={"shortcuts": False})
            assert with_shortcuts.model_copy(update={"name": without.name, "model": plain}) == without


def test_cpu_recipes_have_one_budget():
    experiments = [registry.load(name) for name in ON_CPUS]
    first = experiments[0]
    for experiment in experiments:
        rate = {
            "optimizer": experiment.training_settings.optimizer.model_copy(
                update={"learning_rate": first.training_settings.optimizer.learning_rate}
            )
        }
        same = {
            "name": first.name,
            "model": first.model,
            "training": experiment.training_settings.model_copy(update=rate),
        }
        assert experiment.model_copy(update=same) == first


# What the papers say: steps or epochs at which the rate changes, and the rates.
HE = (128, 64_000, [(32_000, 0.01), (48_000, 0.001)])
LI = (128, 300 * 390, [(150 * 390, 0.01), (225 * 390, 0.001), (275 * 390, 0.0001)])
ZAGORUYKO = (128, 200 * 390, [(60 * 390, 0.02), (120 * 390, 0.004), (160 * 390, 0.0008)])
HUANG = (64, 300 * 781, [(150 * 781, 0.01), (225 * 781, 0.001)])
SCHEDULES = [
    *(
        (name, *HE, 1e-4, False)
        for name in ("cifar10-resnet20", "cifar10-resnet110", "cifar10-preactivation-resnet164")
    ),
    *(
        (name, *LI, 5e-4, True)
        for name in ("cifar10-vgg9", "cifar10-resnet56-noshort-li", "cifar10-densenet121")
    ),
    ("cifar10-wide-resnet", *ZAGORUYKO, 5e-4, True),
    ("cifar10-densenet", *HUANG, 1e-4, True),
]


@pytest.mark.parametrize(
    ("name", "batch", "steps", "drops", "decay", "nesterov"), SCHEDULES, ids=[row[0] for row in SCHEDULES]
)
def test_the_papers_schedules(name, batch, steps, drops, decay, nesterov):
    training = registry.load(name).training_settings
    steps_of_an_epoch = 50_000 // batch
    assert (training.batch_size, training.optimizer.weight_decay, training.optimizer.nesterov) == (
        batch,
        decay,
        nesterov,
    )
    # 64,000 steps are no whole number of epochs
    assert training.epochs * steps_of_an_epoch == pytest.approx(steps, rel=0.01)
    rate = 0.1
    for step, lower in drops:
        for epoch, expected in (
            (0.99 * step / steps_of_an_epoch, rate),
            (1.01 * step / steps_of_an_epoch, lower),
        ):
            assert training.optimizer.learning_rate * factor(
                training.schedule, epoch, training.epochs
            ) == pytest.approx(expected)
        rate = lower


SHAPES = {
    "digits": (1, 8, 10),
    "cifar10": (3, 32, 10),
    "cifar100": (3, 32, 100),
    "fashion-mnist": (1, 28, 10),
    "blobs": (1, 8, 4),
}


def _distinct():
    known = {}
    for name in registry.names():
        experiment = registry.load(name)
        if experiment.data.source in SHAPES:
            known.setdefault((experiment.model.model_dump_json(), experiment.data.source), name)
    return list(known.values())


@pytest.mark.parametrize("name", _distinct())
def test_the_network_of_a_recipe_takes_the_images_of_its_data(name):
    experiment = registry.load(name)
    channels, size, classes = SHAPES[experiment.data.source]
    # which experts compute depends on the numbers, and meta tensors have none
    gates = experiment.model.architecture == "mixture-of-experts"
    with torch.device("cpu" if gates else "meta"), torch.no_grad():
        network = build(experiment.model, manifest(channels, size, classes)).eval()
        assert network(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_the_multimodel_takes_rows_of_its_tasks(tmp_path):
    experiment = registry.load("digits-multimodel")
    packed = prepare(experiment.data, open_store(tmp_path.as_uri()))
    network = build(experiment.model, packed).eval()
    row_length = 1 + max(task.features for task in packed.tasks)
    row_of_each = torch.nn.functional.pad(
        torch.arange(len(packed.tasks), dtype=torch.float32)[:, None], (0, row_length - 1)
    )
    with torch.no_grad():
        assert network(row_of_each).shape == (3, 10)


def test_what_is_listed_can_be_read_by_programs():
    found = CliRunner().invoke(app, ["recipes"])
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    headings = [line for line in lines if line.startswith("# ")]
    assert [heading.removeprefix("# ") for heading in headings] == list(registry.groups())
    assert [tuple(line.split(None, 1)) for line in lines if line not in headings] == [
        (name, registry.describe(name)) for name in registry.names()
    ]
