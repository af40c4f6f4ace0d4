"""The cells of studies, what of them runs, and the files that describe studies."""

import copy
import json
from contextlib import contextmanager

import pytest
from fakes.pipelines_api import Pipelines, serving
from support.stack import on_a_short_stack

from lossmap.components.config.settings import Settings
from lossmap.components.config.study_file import parse_study, parse_study_yaml
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.progress import silent
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import list_runs
from lossmap.pipelines.screens import study as study_screen
from lossmap.pipelines.studies import cells as study
from lossmap.pipelines.studies import cluster as study_cluster
from lossmap.pipelines.studies import local as study_local
from lossmap.pipelines.studies import named as studies

PLAIN = {
    "name": "tiny",
    "title": "?",
    "networks": {"wide": "blobs-mlp", "narrow": "blobs-mlp"},
    "measures": ["floor"],
    "seeds": 2,
}
FACTORS = {
    "rate": {
        "low": ["training.optimizer.learning_rate=0.01"],
        "high": ["training.optimizer.learning_rate=0.1"],
    },
    "length": {"short": ["training.epochs=2"], "long": ["training.epochs=9"]},
}


def _study(**changes):
    return parse_study({**PLAIN, **changes})


def _cells(**changes):
    return study.study_cells(_study(**changes))


def test_cells_are_every_combination_seed_by_seed():
    found = [(cell.seed, *cell.levels.values(), cell.network) for cell in _cells(factors=FACTORS)]
    slowly = []
    for seed in (0, 1):
        for rate in ("low", "high"):
            for length in ("short", "long"):
                for network in ("wide", "narrow"):
                    slowly.append((seed, rate, length, network))
    assert found == slowly


def test_a_cell_is_its_recipe_with_what_study_network_levels_and_seed_set_in_this_order():
    [cell] = [
        cell
        for cell in _cells(
            factors=FACTORS,
            assignments=["training.epochs=5", "training.batch_size=32", "model.hidden=[8]"],
            network_assignments={"narrow": ["model.hidden=[4]"]},
        )
        if (cell.network, cell.seed, *cell.levels.values()) == ("narrow", 1, "high", "short")
    ]
    experiment = cell.experiment
    assert (experiment.name, experiment.study) == ("tiny-narrow-high-short-s1", "tiny")
    training, model = experiment.training_settings, experiment.model
    assert (training.epochs, training.batch_size, model.hidden) == (2, 32, (4,))
    assert (model.seed, training.seed, experiment.landscape.seed, experiment.data.seed) == (1, 1, 1, 0)
    assert cell.run == f"tiny-narrow-high-short-s1-{experiment.digest()[:8]}"


def test_more_seeds_keep_the_cells_that_are_there():
    few, many = ([cell.run for cell in _cells(seeds=seeds)] for seeds in (3, 5))
    assert many[: len(few)] == few
    assert len(set(many)) == 10


def test_other_seeds_are_other_cells():
    first, others = _cells(seeds=2), _cells(seeds=3, first_seed=1)
    assert [cell.seed for cell in others] == [1, 1, 2, 2, 3, 3]
    assert [cell.run for cell in others[:2]] == [cell.run for cell in first[2:]]


def test_what_is_set_otherwise_is_another_run():
    assert {cell.run for cell in _cells()}.isdisjoint(
        cell.run for cell in _cells(assignments=["training.epochs=7"])
    )


def test_a_long_name_is_cut_before_its_seed_and_stays_unique():
    name = "a-very-long-name-of-a-study-that-nobody-can-remember-at-all"
    found = _cells(name=name, factors=FACTORS, seeds=11, network_assignments={"narrow": ["model.hidden=[4]"]})
    assert all(len(cell.experiment.name) <= 63 for cell in found)
    assert found[-1].experiment.name.endswith("-s10")
    assert len({cell.run for cell in found}) == len(found) == 88


def test_runs_of_studies_are_listed_before_those_whose_names_have_a_time(tmp_path):
    store = open_store(str(tmp_path))
    names = [
        "b-20261125-04739be22",
        "a-20261125-0476e587f",
        "tiny-wide-s1-0384853b",
        "tiny-wide-s0-ffffffff",
        "x",
    ]
    for name in names:
        store.write(layout.experiment(name), b"{}")
    assert list_runs(store) == [
        "tiny-wide-s0-ffffffff",
        "tiny-wide-s1-0384853b",
        "x",
        "b-20261125-04739be22",
        "a-20261125-0476e587f",
    ]


def test_a_cell_that_cannot_be_run_is_refused_with_its_network():
    with pytest.raises(ExperimentError) as refused:
        _cells(network_assignments={"narrow": ["training.lr=1"]})
    assert (
        str(refused.value)
        == "network narrow of study tiny: the experiment has no field training.lr; did you mean"
        " training.optimizer.learning_rate?"
    )


def test_a_network_that_is_not_trained_has_no_repetitions():
    with pytest.raises(ExperimentError) as refused:
        _cells(
            networks={"theirs": "blobs-mlp"},
            assignments=["model.architecture=imported", "model.factory=a:b", "training=null"],
        )
    message = "model.architecture is imported, expected a network that lossmap trains, once for each seed"
    assert str(refused.value) == f"network theirs of study tiny: {message}"


def test_connected_are_the_first_pairs_of_seeds_of_each_network_at_each_level():
    found = study.study_cells(_study(seeds=4, factors={"rate": FACTORS["rate"]}, connections=4))
    chosen = study.seed_pairs(
        _study(seeds=4, connections=4), [cell for cell in found if cell.run != found[0].run]
    )
    labels = dict.fromkeys((cell.network, cell.levels["rate"]) for cell in found)
    for label in labels:
        own = [
            (first.seed, second.seed)
            for first, second in chosen
            if (first.network, first.levels["rate"]) == label
        ]
        assert own == (
            [(1, 2), (1, 3), (2, 3)] if label == ("wide", "low") else [(0, 1), (0, 2), (1, 2), (0, 3)]
        )
    assert all((first.network, first.levels) == (second.network, second.levels) for first, second in chosen)


def _finish(store, cells):
    for cell in cells:
        store.write(layout.scalars(cell.run), json.dumps({"floor": 0.1 * cell.seed}).encode())


def test_the_store_tells_which_cells_are_missing(tmp_path):
    store, found = open_store(str(tmp_path)), _cells()
    _finish(store, found[1:3])
    assert study.split_finished(store, found) == (found[1:3], [found[0], found[3]])
    assert [outcome.scalars for outcome in study.outcomes(store, found[1:3])] == [
        {"floor": 0.0},
        {"floor": 0.1},
    ]


@contextmanager
def _unseen(_):
    yield silent


def test_a_cell_that_fails_is_told_and_the_others_go_on(tmp_path):
    found, said = _cells(assignments=["data.source=/nowhere/images.zip"], seeds=1), []
    failed = study_local.run_in_sequence(found, Settings(store=str(tmp_path)), _unseen, said.append)
    assert list(failed) == [cell.run for cell in found]
    assert all("/nowhere/images.zip" in reason for reason in failed.values())
    assert said[0] == f"cell 1/2 {found[0].run}"
    assert said[1] == f"  failed: {failed[found[0].run]}"
    assert said[2].startswith(f"cell 2/2 {found[1].run}, about ")


def test_a_cell_that_fails_beside_others_is_told(tmp_path):
    found, said = _cells(assignments=["data.source=/nowhere/images.zip"], seeds=1), []
    failed = study_local.run_in_parallel(found, Settings(store=str(tmp_path)), 2, _unseen, said.append)
    assert list(failed) == [cell.run for cell in found]
    assert said == [f"{run} failed: {reason}" for run, reason in failed.items()]
    assert all("/nowhere/images.zip" in reason for reason in failed.values())


def test_cells_of_one_training_do_not_run_beside_each_other():
    found = study.study_cells(studies.load("batch", "digits", [], 1))
    started = study_local.next_cells(found, [], 8)
    assert [(cell.network, cell.levels["decay"]) for cell in started] == [
        (size, decay) for decay in ("none", "decay") for size in ("small", "large")
    ]
    assert study_local.next_cells(found, started[1:], 8) == started[:1]
    assert study_local.next_cells(found, started, 8) == []
    assert len(study_local.next_cells(found, [], 3)) == 3


def test_as_many_cells_run_as_the_cores_hold(monkeypatch):
    monkeypatch.setattr(study_local, "cpu_count", lambda: 5)
    small = ["training.processes=1", "landscape.workers=1"]
    assert study_local.parallel_capacity(_cells(assignments=small)) == 5
    assert study_local.parallel_capacity(_cells(assignments=[*small, "training.processes=2"])) == 2
    assert study_local.parallel_capacity(_cells(assignments=[*small, "training.threads=4"])) == 1
    assert study_local.parallel_capacity(_cells()) == 1  # a survey takes every core


def test_the_dry_run_tells_what_is_finished_and_what_is_missing(capsys):
    small = [
        "landscape.plane.x.points=3",
        "landscape.plane.y.points=3",
        "landscape.line.points=5",
        "landscape.samples=50",
    ]
    asked = _study(factors={"rate": FACTORS["rate"]}, assignments=small)
    found = study.study_cells(asked)
    study_screen.show_plan(asked, found[:3], found[3:], as_json=False)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        " network  rate  seeds finished  missing",
        " wide     low   0               1",
        " narrow   low   0               1",
        " wide     high  0               1",
        " narrow   high  -               0, 1",
        "3 of 8 cells are finished, 5 are missing",
        "missing: 70 points at most, 3,500 images through the networks",
        "on a cluster: 10 pods that train and 5 that survey, over all runs",
    ]
    study_screen.show_plan(asked, found[:3], found[3:], as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["missing"] == {
        "runs": 5,
        "training_pods": 10,
        "survey_pods": 5,
        "points": 70,
        "images": 3500,
    }
    assert [(cell["run"], cell["finished"]) for cell in record["cells"]] == [
        (cell.run, cell in found[:3]) for cell in found
    ]


REFUSED = [
    (
        "name: tiny",
        "the study's title is missing, expected at least the fields name, title, networks, measures",
    ),
    ("[1]", "mine.yaml holds list, expected the fields of a study: name, title, networks, measures …"),
    ("{...PLAIN, network: 1}", "the study has no field network; did you mean networks?"),
    ("{...PLAIN, seeds: 0}", "the study's seeds is 0, expected greater than 0"),
    (
        "{...PLAIN, name: My Study}",
        "the study's name is 'My Study', expected text that should match pattern '^[a-z0-9][a-z0-9-]{0,62}$'",
    ),
    (
        "{...PLAIN, assignments: [epochs]}",
        "the study's assignments.0 is 'epochs', expected text that should match pattern '^[^=]+='",
    ),
    (
        "{...PLAIN, contrasts: [{network: wide, against: broad}]}",
        "contrasts, statements and network_assignments name broad, expected labels of networks: wide, narrow",
    ),
    (
        "{...PLAIN, statements: [{text: t, rule: less, measure: floor, network: wide}]}",
        "statements.0: rule is less, against is None and bound is None, expected against and no bound",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=lambda value: value[:40])
def test_a_file_that_is_no_study_is_refused_in_one_line(text, message):
    with pytest.raises(ExperimentError) as refused:
        parse_study_yaml(text.replace("...PLAIN", json.dumps(PLAIN)[1:-1]), "mine.yaml")
    assert str(refused.value) == message


def test_a_file_that_cannot_be_read_or_is_no_yaml_is_refused(tmp_path):
    with pytest.raises(ExperimentError, match=r"none\.yaml cannot be read: No such file or directory"):
        studies.load(str(tmp_path / "none.yaml"), None, [], None)
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ExperimentError, match=r"bad\.yaml is not YAML: "):
        studies.load(str(tmp_path / "bad.yaml"), None, [], None)
    with pytest.raises(
        ExperimentError,
        match=(
            "--scale is gpu, expected none for a file: it is for lesson, depth, shortcuts, equal-loss,"
            " minima, batch, experts, tasks, slides"
        ),
    ):
        studies.load(str(tmp_path / "bad.yaml"), "gpu", [], None)


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("leson", None, "there is no study leson; did you mean lesson?"),
        (
            "x",
            None,
            (
                "there is no study x; expected lesson, depth, shortcuts, equal-loss, minima, batch, experts,"
                " tasks, slides, or a .yaml file"
            ),
        ),
        ("lesson", "tpu", "--scale is tpu, expected one of digits, cifar10, gpu"),
    ],
)
def test_an_unknown_study_or_scale_is_refused(name, scale, message):
    with pytest.raises(ExperimentError) as refused:
        studies.load(name, scale, [], None)
    assert str(refused.value) == message


@pytest.mark.parametrize("scale", ["digits", "cifar10", "gpu"])
@pytest.mark.parametrize(
    "name", ["lesson", "depth", "shortcuts", "equal-loss", "minima", "batch", "experts", "tasks", "slides"]
)
def test_every_named_study_can_be_run_at_every_scale(name, scale):
    asked = studies.load(name, scale, ["data.test_limit=50"], 1)
    found = study.study_cells(asked)
    levels = 1
    for choice in asked.factors.values():
        levels *= len(choice)
    assert len({cell.run for cell in found}) == len(found) == levels * len(asked.networks)
    assert {cell.experiment.data.test_limit for cell in found} == {50}


def test_the_normalisations_of_the_batch_study_are_of_the_same_trainings():
    found = study.study_cells(studies.load("batch", "digits", [], 1))
    trainings = {(str(cell.experiment.model), str(cell.experiment.training)) for cell in found}
    assert (len(found), len(trainings)) == (8, 4)


class Cluster(Pipelines):
    """Runs that were submitted end after some looks at them: as succeeded, or as failed where their name
    is among `bad`.
    """

    def __init__(self, bad=(), looks=2):
        super().__init__()
        self.bad, self.looks, self.seen, self.peak = bad, looks, {}, 0
        self.away = self.lost = 0  # requests that are refused, and answers to submissions that are lost

    def put(self, name, state="RUNNING"):
        identity = self.runs[name]["run_id"] if name in self.runs else f"id-{len(self.runs)}"
        kind = {"RUNNING": "going on", "SUCCEEDED": "cached", "FAILED": "failed"}[state]
        run = copy.deepcopy(self.recorded[kind])
        self.runs[name] = run | {"display_name": name, "run_id": identity}
        if state == "RUNNING":
            self.runs[name] |= {"state": "RUNNING", "state_history": [{"state": "RUNNING"}]}

    @property
    def recorded(self):
        return Pipelines().runs

    def going(self):
        return [
            name for name, run in self.runs.items() if name.startswith("tiny") and run["state"] == "RUNNING"
        ]

    def answer(self, method, path, query, body, authorization=None):
        if self.away and method == "POST":
            self.away -= 1
            return 503, {"error": "away"}
        if path.endswith("/runs") and method == "POST":
            self.started.append(body["display_name"])
            self.put(body["display_name"])
            self.peak = max(self.peak, len(self.going()))
            if self.lost:
                self.lost -= 1
                return 503, {"error": "the answer is lost"}
            return 200, {
                "run_id": self.runs[body["display_name"]]["run_id"],
                "display_name": body["display_name"],
            }
        if method == "GET" and "/runs/" in path:
            for name in self.going():
                if path.endswith(self.runs[name]["run_id"]):
                    self.seen[name] = self.seen.get(name, 0) + 1
                    if self.seen[name] > self.looks:
                        self.put(name, "FAILED" if name in self.bad else "SUCCEEDED")
        return super().answer(method, path, query, body, authorization)


def _there(pipelines, missing, parallel=2):
    said = []
    with serving(pipelines) as address:
        settings = Settings(pipelines=address, image="lossmap:test")
        failed = on_a_short_stack(
            study_cluster.run_on_cluster, missing, settings, parallel, said.append, poll=0.01
        )
        return failed, said


@pytest.mark.filterwarnings("default")
def test_missing_cells_are_submitted_a_bounded_number_at_a_time_and_those_that_fail_are_told():
    found = _cells(seeds=2)
    pipelines = Cluster(bad=[found[1].run])
    failed, said = _there(pipelines, found)
    assert pipelines.started == [cell.run for cell in found]
    assert pipelines.peak == 2
    assert failed == {found[1].run: f"failed in the cluster; see: lossmap status {found[1].run}"}
    assert said[0] == f"{found[0].run} submitted, 3 to go"
    assert sum(" succeeded" in line for line in said) == 3


@pytest.mark.filterwarnings("default")
def test_a_cell_is_submitted_once_although_the_api_is_away_or_its_answer_is_lost():
    found, pipelines = _cells(seeds=1), Cluster()
    pipelines.away, pipelines.lost = 2, 1
    failed, said = _there(pipelines, found)
    assert pipelines.started == [cell.run for cell in found]
    assert failed == {} and sum(" succeeded" in line for line in said) == 2


@pytest.mark.filterwarnings("default")
def test_a_cell_that_goes_on_or_has_succeeded_in_the_cluster_is_not_submitted_again_and_one_that_failed_is():
    found = _cells(seeds=2)
    pipelines = Cluster()
    for cell, state in zip(found, ("RUNNING", "SUCCEEDED", "FAILED"), strict=False):
        pipelines.put(cell.run, state)
    failed, said = _there(pipelines, found[:3], parallel=1)
    assert pipelines.started == [found[2].run]
    assert pipelines.peak == 1  # the one that went on counts
    assert failed == {}
    assert said[0] == f"{found[0].run} goes on in the cluster"


def test_what_no_cluster_can_run_is_refused_before_anything_is_submitted():
    pipelines = Cluster()
    with pytest.raises(ExperimentError, match="a path of this machine, expected one that pods can read"):
        _there(pipelines, _cells(assignments=["data.source=./images.zip"]))
    assert pipelines.started == []
