"""Experiments, studies and `--set`, damaged and made up, are taken or refused in one line."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.campaigns import bounded_memory, campaign, damaged, survived

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Convexity, Curvature, Landscape
from lossmap.components.config.models import Imported, MixtureOfExperts
from lossmap.components.config.parse import override, parse, parse_yaml
from lossmap.components.config.study_file import parse_study, parse_study_yaml
from lossmap.pipelines.recipes.resolve import resolve
from lossmap.pipelines.studies.named import load as load_study
from lossmap.pipelines.survey import factory_arguments

_LANDSCAPE = Landscape(adaptive=Adaptive(), convexity=Convexity(), curvature=Curvature())
_EXPERIMENTS = [
    Experiment(),
    Experiment(landscape=_LANDSCAPE, model=MixtureOfExperts()),
    Experiment(model=Imported(factory="package.module:Net", arguments={"width": 3})),
]
_TEXTS = [experiment.to_yaml().encode() for experiment in _EXPERIMENTS]
_STUDIES = [
    load_study(name, "digits", (), None).model_dump(mode="json") for name in ("lesson", "depth", "minima")
]
_STUDY_TEXTS = [yaml.safe_dump(study).encode() for study in _STUDIES]


def _paths(value, prefix=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*prefix, key)
            yield from _paths(inner, (*prefix, key))


_PATHS = sorted({path for experiment in _EXPERIMENTS for path in _paths(experiment.model_dump(mode="json"))})
_STUDY_PATHS = sorted({path for study in _STUDIES for path in _paths(study)})
_NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 10**4000, 1e308, -1e308, 5e-324, 0.1]),
    st.integers(),
    st.floats(),
)
_LEAVES = st.one_of(st.none(), st.booleans(), _NUMBERS, st.text(max_size=20))
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_HOSTILE = (
    "&a [*a]",
    "*a",
    "!!python/object:os.system {}",
    "2001-99-99",
    "2001-01-01",
    "0x" + "f" * 5000,
    "9" * 5000,
    "1_000",
    "0o9",
    "1e999",
    ".nan",
    "-.inf",
    "!!binary =",
    "!!set {a, b}",
    "<<: 3",
    "[" * 2000,
    "{a: " * 2000,
    "- " * 2000 + "a",
    "? [a]",
    "{[a]: b}",
    "!!int x",
    "!!float x",
    "!!timestamp x",
    "!!omap [a]",
    "!!bool x",
    "\x1b[2J",
    "\u202e",
    '"\\ud800"',
    "1:" * 3000,
)
_SCALARS = st.text(max_size=30) | st.sampled_from(_HOSTILE)


@pytest.fixture(autouse=True, scope="module")
def memory():
    with bounded_memory():
        yield


@campaign(60)
@given(damaged(_TEXTS))
def test_damaged_experiments(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "damaged.yaml"
    file.write_bytes(content)
    survived("damaged experiments", resolve, str(file), ())


@campaign(60)
@given(st.sampled_from(_PATHS), _VALUES, st.integers(0, len(_EXPERIMENTS) - 1))
def test_experiments_with_any_value_in_any_field(path, value, index):
    values = _EXPERIMENTS[index].model_dump(mode="json")
    _put(values, path, value)
    survived("experiments with any value", parse, values)


@campaign(60)
@given(st.sampled_from(_PATHS), _SCALARS | _VALUES.map(repr), st.integers(0, len(_EXPERIMENTS) - 1))
def test_set(path, text, index):
    survived("--set", override, _EXPERIMENTS[index], [f"{'.'.join(path)}={text}"])


@campaign(20)
@given(st.text(max_size=40))
def test_any_set(text):
    survived("--set", override, _EXPERIMENTS[0], [text])


@campaign(40)
@given(_SCALARS)
def test_any_yaml(text):
    survived("any YAML", parse_yaml, text, "file.yaml")
    survived("any YAML", parse_study_yaml, text, "file.yaml")
    survived("any YAML", parse_yaml, f"name: {text}", "file.yaml")


@campaign(25)
@given(damaged(_STUDY_TEXTS))
def test_damaged_studies(content):
    survived("damaged studies", parse_study_yaml, content.decode(errors="replace"), "study.yaml")


@campaign(25)
@given(st.sampled_from(_STUDY_PATHS), _VALUES, st.integers(0, len(_STUDIES) - 1))
def test_studies_with_any_value_in_any_field(path, value, index):
    values = json.loads(json.dumps(_STUDIES[index]))
    _put(values, path, value)
    survived("studies with any value", parse_study, values)


@campaign(20)
@given(_VALUES.map(json.dumps) | st.text(max_size=30) | st.sampled_from(["[" * 100_000, "9" * 5000]))
def test_arguments_of_factories(text):
    survived("--factory-arguments", factory_arguments, text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
            for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        )
        + "name: *i\n",
        "name: &a [*a]",
        "name: &a {b: *a}",
        "model: &a\n  arguments: *a",
        "name: " + "[" * 10_000,
        "- " * 10_000,
        "x" * 10_000_000,
        "name: " + "9" * 100_000,
        "name: 0x" + "f" * 100_000,
        "a: 1\n" * 300_000,
    ],
    ids=["laughs", "in-itself", "in-itself-too", "arguments", "deep", "deeper", "long", "int", "hex", "many"],
)
def test_yaml_that_unfolds_without_end(text):
    assert not survived("bombs", parse_yaml, text, "file.yaml")
    assert not survived("bombs", parse_study_yaml, text, "file.yaml")
    survived("bombs", override, _EXPERIMENTS[0], [f"model={text}"])


def _put(values, path, value):
    *parents, field = path
    for parent in parents:
        values = values.get(parent)
        if not isinstance(values, dict):
            return
    values[field] = value
