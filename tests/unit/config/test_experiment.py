import json

import pytest

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Convexity, Landscape
from lossmap.components.config.parse import override, parse, parse_yaml
from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.recipes import registry

# What the user types, and the whole line that answers.
REFUSED = [
    ("training.epoch=3", "the experiment has no field training.epoch; did you mean training.epochs?"),
    ("epochs=3", "the experiment has no field epochs; did you mean training.epochs?"),
    (
        "training.optimizer.lr=1",
        "the experiment has no field training.optimizer.lr; did you mean training.optimizer.learning_rate?",
    ),
    ("zzzz=1", "the experiment has no field zzzz; `lossmap show RECIPE` lists every field"),
    ("training.epochs", "--set 'training.epochs' has no =, expected path.to.field=value"),
    ("training.epochs=[1", "--set 'training.epochs=[1': '[1' is not a YAML value; put it in quotes"),
    ("training.epochs=0", "training.epochs is 0, expected greater than 0"),
    (
        "training.epochs=three",
        "training.epochs is 'three', expected a valid integer, unable to parse string as an integer",
    ),
    ("training.batch_size=65", "training: batch_size is 65, expected a multiple of processes (2)"),
    ("model.depth=21", "model: depth is 21, expected 6n + 2 with n >= 1, for example 20, 32, 44, 56 or 110"),
    (
        "model.architecture=vit",
        (
            "model.architecture is 'vit', expected one of linear, mlp, vgg, resnet, preactivation-resnet,"
            " wide-resnet, densenet, mixture-of-experts, multimodel, imported"
        ),
    ),
    (
        "landscape.normalization=neurons",
        (
            "landscape.normalization is 'neurons', expected 'filter', 'layer', 'model', 'element', 'neuron'"
            " or 'none'"
        ),
    ),
    ("landscape.plane.x.low=2", "landscape.plane.x: low is 2.0 and high is 1.0, expected low < high"),
    (
        "training.optimizer.learning_rate=.inf",
        "training.optimizer.learning_rate is inf, expected a finite number",
    ),
    (
        "training.schedule.shape=step",
        (
            "training.schedule: shape is step and milestones are [], expected milestones with shape step and"
            " with no other"
        ),
    ),
    ("name=My Run", "name is 'My Run', expected text that should match pattern '^[a-z0-9][a-z0-9-]{0,62}$'"),
]


@pytest.mark.parametrize(("assignment", "line"), REFUSED, ids=[assignment for assignment, _ in REFUSED])
def test_what_does_not_fit_is_refused_in_one_line_that_says_what_would(assignment, line):
    with pytest.raises(ExperimentError) as refused:
        override(registry.load("digits-resnet20"), [assignment])
    assert str(refused.value) == line


def test_set_changes_one_field_and_no_other():
    base = registry.load("digits-resnet20")
    changed = override(base, ["training.epochs=3", "data.limit=100", "landscape.line=null"])
    assert (changed.training.epochs, changed.data.limit, changed.landscape.line) == (3, 100, None)
    assert (
        override(changed, ["training.epochs=12", "data.limit=null", "landscape.line={points: 101}"]) == base
    )


def test_another_architecture_starts_from_its_own_defaults():
    assert override(
        registry.load("digits-resnet20"), ["model.architecture=mlp", "model.hidden=[8]"]
    ).model.model_dump() == {
        "architecture": "mlp",
        "hidden": (8,),
        "seed": 0,
    }


@pytest.mark.parametrize("name", registry.names())
def test_a_recipe_survives_yaml_and_canonical_json(name):
    experiment = registry.load(name)
    assert experiment.name == name
    assert parse_yaml(experiment.to_yaml(), "file") == experiment
    assert parse(json.loads(experiment.canonical_json())).digest() == experiment.digest()


def test_the_digest_tells_experiments_apart_and_not_the_order_of_their_fields():
    first, second = registry.load("digits-resnet20"), registry.load("digits-resnet20-noshort")
    assert first.digest() != second.digest()
    values = first.model_dump(mode="json")
    assert parse(dict(reversed(values.items()))).digest() == first.digest()


def test_an_unknown_field_in_a_file_is_refused():
    with pytest.raises(
        ExperimentError, match=r"^the experiment has no field training.epoch; did you mean training.epochs\?$"
    ):
        parse_yaml("training: {epoch: 3}", "my.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "- a",
            (
                "my.yaml holds list, expected the fields of an experiment; `lossmap show digits-linear`"
                " prints an example"
            ),
        ),
        (
            "",
            (
                "my.yaml holds NoneType, expected the fields of an experiment; `lossmap show digits-linear`"
                " prints an example"
            ),
        ),
        (
            "a: [",
            (
                "my.yaml is not YAML: while parsing a flow node expected the node content, but found '<stream"
                ' end>\' in "<unicode string>", line 1, column 5: a: [ ^'
            ),
        ),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(text, line):
    with pytest.raises(ExperimentError) as refused:
        parse_yaml(text, "my.yaml")
    assert str(refused.value) == line


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(
        ExperimentError,
        match=(
            r"^there is no recipe digits-resnet; did you mean digits-resnet56\?$|did you mean"
            r" digits-resnet20\?$"
        ),
    ):
        registry.load("digits-resnet")


def test_an_experiment_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Experiment().name = "other"


def test_a_field_of_a_section_that_is_not_there_asks_for_it():
    changed = override(Experiment(), ["landscape.convexity.samples=64", "landscape.adaptive.tolerance=0.02"])
    assert changed.landscape.convexity == Convexity(samples=64)
    assert changed.landscape.adaptive == Adaptive(tolerance=0.02)
    assert changed.landscape.curvature is None


def test_other_directions_are_scaled_as_they_need_and_have_one_pair():
    changed = override(Experiment(landscape=Landscape(pairs=3)), ["landscape.directions=trajectory"])
    assert (
        changed.landscape.normalization,
        changed.landscape.ignore_bias_and_norm,
        changed.landscape.pairs,
    ) == ("none", False, 1)
    assert override(changed, ["landscape.directions=random"]).landscape == Landscape()
    assert Landscape(directions="hessian").normalization == "model"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"directions": "networks"},
            (
                "directions is networks and networks are [], expected one or two runs with networks and none"
                " otherwise"
            ),
        ),
        (
            {"directions": "trajectory", "normalization": "filter"},
            (
                "directions is trajectory and normalization is filter, expected normalization none and"
                " ignore_bias_and_norm false"
            ),
        ),
        (
            {"batch_norm": "coordinates"},
            (
                "batch_norm is coordinates and directions is random, expected networks or trajectory: only"
                " there have points statistics"
            ),
        ),
        (
            {"directions": "gradient", "pairs": 2},
            "pairs is 2 and directions is gradient, expected random directions, or one pair",
        ),
    ],
)
def test_directions_that_cannot_be_are_refused(fields, line):
    with pytest.raises(ExperimentError) as refused:
        parse({"landscape": fields})
    assert str(refused.value) == f"landscape: {line}"
