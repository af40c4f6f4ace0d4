"""Every number of a report is explained, from what computes it."""

import json

import pytest
from typer.testing import CliRunner

from lossmap.components.config.definitions import DEFINITIONS
from lossmap.components.config.explanations import EXPLANATIONS, docstring, matching
from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.hessian.sharpness import keskar_box
from lossmap.components.landscape.measures.surface import fraction_below
from lossmap.pipelines.cli import app


def test_every_measure_that_is_defined_is_explained_and_no_other():
    assert set(EXPLANATIONS) == set(DEFINITIONS)


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_what_computes_a_measure_says_how(name):
    for place in EXPLANATIONS[name].computed:
        text = docstring(place)
        assert len(text) > 20, place
        assert "Args:" not in text and "Returns:" not in text


def test_docstrings_are_those_of_the_objects_without_their_arguments():
    assert docstring("landscape/measures/surface.py:fraction_below").split() == fraction_below.__doc__.split()
    assert docstring("landscape/hessian/sharpness.py:keskar_box").split() == keskar_box.__doc__.split()
    assert docstring("landscape/hessian/curvature.py:Eigenvalue.estimate").startswith("v' A v; the 95 %")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("floor", ["floor"]),
        ("line_minima", ["line_minima"]),
        ("basin_fraction_below_0.1", ["basin_fraction_below_0.1"]),
        ("basin", ["basin_fraction", "centre_basin_fraction"]),
        ("nothing", []),
    ],
)
def test_a_name_is_that_of_a_report_or_part_of_one(name, names):
    assert matching(name) == names


def test_the_command_explains_one_lists_all_and_refuses_what_is_none():
    said = CliRunner().invoke(app, ["explain", "basin"], catch_exceptions=False).output
    assert said.startswith("basin_fraction\n")
    for part in (
        "Unit: share of 1.",
        "What it cannot say:",
        "surface.py:fraction_below",
        "Also: centre_basin",
    ):
        assert part in said
    listed = CliRunner().invoke(app, ["explain"], catch_exceptions=False).output
    assert all(name in listed for name in DEFINITIONS)
    found = json.loads(CliRunner().invoke(app, ["explain", "floor", "--json"], catch_exceptions=False).output)
    assert found[0]["definition"] == DEFINITIONS["floor"]
    refused = CliRunner().invoke(app, ["explain", "nothing"]).exception
    assert isinstance(refused, ExperimentError)
    assert str(refused) == "there is no measure nothing; `lossmap explain` lists them"
