import pickle

import pytest
from reference.manifests import manifest
from support.counting_store import CountingStore

from lossmap.components.config.experiment import Experiment
from lossmap.components.core.errors import ExperimentError, StoreError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Links, Run
from lossmap.components.stores.survey_plan import Part, Survey

PART = Part(kind="loss", address="5" * 64, plane="5" * 64)


@pytest.fixture
def store(tmp_path):
    """One with a run that is planned."""
    counting = CountingStore(tmp_path)
    run = Run(counting, "run")
    run.begin(Experiment())
    run.keep_manifest(manifest())
    run.keep_survey(Survey(parts=(PART,)))
    assert not counting.keys_read
    return counting


def documents(run):
    return run.experiment, run.manifest, run.links, run.survey


def test_a_document_is_read_once_and_not_at_all_where_it_was_written(store):
    run = Run(store, "run")
    assert documents(run) == documents(run) == (Experiment(), manifest(), run.links, Survey(parts=(PART,)))
    assert len(store.keys_read) == len(set(store.keys_read)) == 4


def test_a_run_goes_to_another_process_with_what_it_has_read(store):
    run = Run(store, "run")
    expected = documents(run)
    run.tile_results["key"] = {(0.0, 0.0): "stays here"}
    packed = pickle.dumps(run)
    for key in list(store.keys("")):
        store.delete(key)
    there = pickle.loads(packed)
    assert documents(there) == expected
    assert (there.name, there.store.uri, there.tile_results) == ("run", store.uri, {})
    assert there.store is not store


def test_the_store_is_opened_there_in_the_environment_of_its_first_use(s3, monkeypatch):
    store = open_store(s3)
    Run(store, "run").begin(Experiment(name="kept"))
    packed = pickle.dumps(Run(store, "run"))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        there = pickle.loads(packed)
    assert there.experiment.name == "kept"


def test_what_may_change_is_looked_up_each_time(store):
    run = Run(store, "run")
    assert (run.has_network(), run.is_finished()) == (False, False)
    store.write(layout.training_result(run.training), b"{}")
    store.write(layout.scalars("run"), b'{"floor": 1.0}')
    assert (run.has_network(), run.is_finished()) == (True, True)
    assert run.scalars() == {"floor": 1.0}
    store.write(layout.scalars("run"), b'{"floor": 2.0}')
    assert run.scalars() == {"floor": 2.0}


def test_a_runs_experiment_is_kept_once(store):
    Run(store, "run").begin(Experiment())
    with pytest.raises(ExperimentError, match=r"^run run exists with another experiment; start a new run$"):
        Run(store, "run").begin(Experiment(name="other"))
    assert Run(store, "run").experiment == Experiment()


def test_equal_runs_share_training_and_survey(store):
    other = Run(store, "other")
    other.begin(Experiment(name="other", study="other"))
    other.keep_manifest(manifest())
    assert other.links == Run(store, "run").links


def test_a_run_keeps_the_links_that_it_began_with(store):
    begun = Links(training="a" * 64, survey="b" * 64)
    store.write(layout.links("run"), begun.model_dump_json().encode())
    assert Run(store, "run").links == begun


@pytest.mark.parametrize("ask", [lambda run: run.experiment, Run.scalars, Run.check_finished])
def test_an_unknown_run_is_told_which_runs_there_are(store, ask):
    with pytest.raises(StoreError) as refused:
        ask(Run(store, "other"))
    assert str(refused.value) == f"{store.uri} has no run other; the newest are run"


def test_a_run_that_is_not_finished_is_told_how_it_goes_on(store):
    with pytest.raises(StoreError) as refused:
        Run(store, "run").scalars()
    assert str(refused.value) == "run run is not finished; go on with it: lossmap run --resume run"
