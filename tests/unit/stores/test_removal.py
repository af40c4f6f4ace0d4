"""Runs are removed whole, with what nobody else needs, from a folder and from S3."""

import os
import time

import pytest
from reference.manifests import manifest

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.training import Training
from lossmap.components.core.errors import LossmapError, StoreError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.removal import removal_of_old, removal_of_runs
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part, Survey

DAY = 86400


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """One with two runs that share data, training and one surface, and a run of its own network."""
    opened = open_store(str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3"))
    shared, own = Part(kind="loss", address="5" * 64, plane="6" * 64), "7" * 64
    for name, epochs, pairs, parts in (
        ("first", 3, 2, (shared, Part(kind="convexity", address=own, plane="6" * 64))),
        ("second", 3, 1, (shared,)),
        ("third", 4, 1, (Part(kind="loss", address="8" * 64, plane="8" * 64),)),
    ):
        settings = {"training": Training(epochs=epochs), "landscape": Landscape(pairs=pairs)}
        add(opened, name, Experiment(name=name, **settings), parts)
    return opened


def add(store, name, experiment, parts):
    """A finished run, with an object of each kind."""
    run = Run(store, name)
    run.begin(experiment)
    run.keep_manifest(manifest())
    store.write(layout.dataset(run.manifest.digest), b"manifest")
    store.write(layout.dataset_shard(run.manifest.digest, "train", 0), b"shard")
    store.write(layout.weights(run.training), b"weights")
    store.write(layout.checkpoint(run.training, 3, "x"), b"checkpoint")
    store.write(layout.latest_checkpoint(run.training), b"3")
    store.write(layout.training_result(run.training), b"{}")
    store.write(layout.survey_plan(run.links.survey), Survey(parts=parts).model_dump_json().encode())
    store.write(run.samples, b"samples")
    for part in parts:
        store.write(layout.directions(part.plane), b"directions")
        store.write(layout.tile(part.address, "1" * 64), b"tile")
    store.write(layout.report(name, "page.html"), b"page")
    store.write(layout.scalars(name), b"{}")


def keys(store):
    return set(store.keys(""))


def of(removal):
    return {entry.key for entry in removal.removed}


def test_what_other_runs_need_is_kept(store):
    before, first = keys(store), Run(store, "first")
    needed = {layout.dataset(first.manifest.digest), layout.weights(first.training), first.samples}
    needed.add(layout.tile("5" * 64, "1" * 64))
    removal = removal_of_runs(store, ["first"])
    removal.carry_out(store)
    gone = before - keys(store)
    assert gone == of(removal)
    assert {key.split("/")[0] for key in gone} == {"runs", "surveys", "surfaces"}
    assert layout.tile("7" * 64, "1" * 64) in gone
    assert needed <= keys(store) & {entry.key for entry in removal.kept}


def test_the_last_run_takes_everything_with_it(store):
    removal_of_runs(store, ["first", "second", "third"]).carry_out(store)
    assert keys(store) == set()


def test_what_says_that_a_run_is_whole_goes_first_and_what_it_needed_last(store):
    order = [entry.key for entry in removal_of_runs(store, ["first", "third"]).removed]
    assert order[:2] == [layout.scalars(name) for name in ("first", "third")]
    documents = (layout.experiment, layout.links, layout.run_dataset)
    assert order[-6:] == [document(name) for document in documents for name in ("first", "third")]
    training = Run(store, "third").training
    assert order.index(layout.training_result(training)) < order.index(layout.weights(training))


def test_after_an_interruption_the_same_command_removes_the_rest(store):
    everything = of(removal_of_runs(store, ["third"]))
    begun = removal_of_runs(store, ["third"]).removed[: len(everything) // 2]
    for entry in begun:
        store.delete(entry.key)
    with pytest.raises(StoreError, match="run third is not finished"):
        Run(store, "third").check_finished()
    removal_of_runs(store, ["third"]).carry_out(store)
    assert not everything & keys(store)


def test_an_unknown_run_is_refused(store):
    with pytest.raises(StoreError, match=r"has no run other; the newest are "):
        removal_of_runs(store, ["first", "other"])


def test_a_run_whose_network_an_unfinished_one_goes_through_is_kept(store):
    through = Landscape(directions="networks", networks=("third",))
    Run(store, "between").begin(Experiment(name="between", landscape=through))
    with pytest.raises(LossmapError) as refused:
        removal_of_runs(store, ["third"])
    assert str(refused.value) == (
        "run between is not finished and goes through the network of third; finish it first (lossmap run"
        " --resume between), or remove both"
    )
    assert of(removal_of_runs(store, ["third", "between"])) > of(removal_of_runs(store, ["between"]))


def test_a_run_that_cannot_be_read_is_told_before_anything_is_removed(store):
    store.write(layout.links("second"), b"{")
    with pytest.raises(StoreError, match=r"has a run second whose documents cannot be read.*delete second$"):
        removal_of_runs(store, ["third"])
    removal_of_runs(store, ["second"]).carry_out(store)
    assert of(removal_of_runs(store, ["third"]))


def test_old_runs_go_and_what_is_as_old_and_belongs_to_none(tmp_path):
    store = open_store(str(tmp_path))
    parts = (Part(kind="loss", address="5" * 64, plane="5" * 64),)
    for name, epochs in (("old", 3), ("new", 4), ("going", 5)):
        add(store, name, Experiment(name=name, training=Training(epochs=epochs)), parts)
    store.delete(layout.scalars("going"))
    store.write("surfaces/orphan/tiles/1.npz", b"left")
    store.write("trainings/young/task.json", b"just begun")
    now = time.time()
    for key in store.keys(""):
        if not key.startswith(("runs/new/", "trainings/young/")):
            os.utime(tmp_path / key, (now - 40 * DAY, now - 40 * DAY))
    os.utime(tmp_path / layout.latest_checkpoint(Run(store, "going").training), (now, now))
    removal = removal_of_old(store, now - 30 * DAY)
    assert removal.runs == ("old",)
    assert "surfaces/orphan/tiles/1.npz" in of(removal)
    removal.carry_out(store)
    left = keys(store)
    assert layout.scalars("new") in left
    assert layout.weights(Run(store, "going").training) in left
    assert layout.tile("5" * 64, "1" * 64) in left
    assert "trainings/young/task.json" in left
    assert not any("old" in key for key in left)


def test_an_empty_store_has_nothing_to_remove(tmp_path):
    removal = removal_of_old(open_store(str(tmp_path)), time.time())
    assert (removal.runs, removal.removed, removal.kept) == ((), (), ())
