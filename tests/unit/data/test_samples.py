import pytest
import torch
from reference.data import load_samples

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Convexity, Curvature, Landscape
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import DataError
from lossmap.components.data.batches import load_packed, sample_indices
from lossmap.components.data.samples import keep_samples, load_survey_samples
from lossmap.pipelines.local import open_run

SAMPLES, COUNT = 30, 80
BLOBS = Data(source="blobs", blobs=Blobs(train_per_class=20, test_per_class=5))


@pytest.fixture
def settings(tmp_path):
    return Settings(store=str(tmp_path / "store"))


def prepared(settings, name="run", **landscape):
    """A run with its data packed."""
    run = open_run(name, settings)
    landscape = Landscape.model_validate({"samples": SAMPLES, **landscape})
    steps.prepare(run, Experiment(data=BLOBS, landscape=landscape))
    return run


def samples_keys(run):
    return [key for key in run.store.keys("surfaces/") if key.endswith("/samples.safetensors")]


def drawn(run, count):
    """The obvious way: out of the whole split."""
    landscape = run.experiment.landscape
    total = run.manifest.count(landscape.split)
    return load_samples(
        run.store, run.manifest, landscape.split, sample_indices(total, count, landscape.seed)
    )


def equal(found, expected):
    return all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("count", [1, 7, SAMPLES])
@pytest.mark.parametrize("seed", [0, 3])
def test_samples_are_those_that_are_drawn_from_the_whole_split(settings, count, seed):
    run = prepared(settings, seed=seed)
    keep_samples(run)
    assert equal(load_survey_samples(run).part(count), drawn(run, count))


@pytest.mark.parametrize(
    "part", [{"curvature": Curvature(samples=60)}, {"convexity": Convexity(samples=60)}, {"samples": 60}]
)
def test_as_many_are_kept_as_any_part_of_the_survey_asks_for(settings, part):
    run = prepared(settings, **part)
    for count in (SAMPLES, 60):
        assert equal(load_survey_samples(run).part(count), drawn(run, count))
    assert len(samples_keys(run)) == 1


def test_a_split_with_fewer_samples_gives_all_of_them(settings):
    run = prepared(settings, samples=1000)
    assert len(load_survey_samples(run).part(1000)[1]) == COUNT
    assert equal(load_survey_samples(run).part(12), drawn(run, 12))


def test_a_split_in_memory_is_not_read_again(settings):
    run = prepared(settings)
    split = load_packed(run.store, run.manifest, "train")
    expected = drawn(run, SAMPLES)
    for shard in run.manifest.train:
        run.store.delete(shard.key)
    keep_samples(run, split)
    assert equal(load_survey_samples(run).part(SAMPLES), expected)


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "empty"])
def test_samples_that_are_missing_or_damaged_are_drawn_again(settings, damage):
    run = prepared(settings)
    keep_samples(run)
    [key] = samples_keys(run)
    content = run.store.read(key)
    flipped = bytearray(content)
    flipped[-100] ^= 1
    damaged = {"cut": content[:-10], "flipped": bytes(flipped), "empty": b""}
    if damage == "missing":
        run.store.delete(key)
    else:
        run.store.write(key, damaged[damage])
    assert equal(load_survey_samples(run).part(SAMPLES), drawn(run, SAMPLES))
    assert run.store.read(key) == content


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "test"}, {"samples": 29}])
def test_what_decides_the_samples_decides_their_address(settings, other):
    for name, changes in (("run", {}), ("same", {"device": "cuda", "batch_size": 3}), ("other", other)):
        run = prepared(settings, name, **changes)
        keep_samples(run)
    assert len(samples_keys(run)) == 2


def test_a_split_without_samples_is_refused_in_one_line(settings):
    run = prepared(settings, split="test")
    run.manifest = run.manifest.model_copy(update={"test": ()})
    with pytest.raises(DataError, match=r"^blobs has no test samples; set landscape.split=train$"):
        keep_samples(run)
