"""The studies' README holds the tables that are made from what the studies found."""

import pytest
from readmes.study_tables import README, REGION, RESULTS, filled
from reference import studies

from lossmap.components.core.serialization import as_csv
from lossmap.components.studies.summary import mean_records, summarize_study
from lossmap.pipelines.studies.named import STUDIES

PAGE = """before
<!-- means of made -->
Typed by hand.
<!-- end of means -->
between
<!-- means of other -->
Typed, too.
<!-- end of means -->
"""


@pytest.fixture
def results(tmp_path):
    """What a study of three runs wrote, one of them without one of the measures."""
    study = studies.study(factors={"rate": {"low": ()}}, measures=("test_error", "roughness"))
    values = {"a": ({"test_error": 0.25, "roughness": 7.0}, {"test_error": 0.5}), "b": ({"test_error": 0.0},)}
    outcomes = [
        studies.Outcome(studies.cell(network, seed, {"rate": "low"}), scalars)
        for network, found in values.items()
        for seed, scalars in enumerate(found)
    ]
    (tmp_path / "made").mkdir()
    (tmp_path / "made/means.csv").write_text(as_csv(mean_records(summarize_study(study, outcomes))))
    return tmp_path


def test_the_readme_holds_the_tables_of_the_results():
    assert filled(README.read_text(), RESULTS) == README.read_text()


def test_every_study_has_its_place_and_says_so_where_its_numbers_were_typed():
    places = {found["study"]: found["table"] for found in REGION.finditer(README.read_text())}
    assert sorted(places) == sorted(STUDIES)
    for study, table in places.items():
        made = (RESULTS / study / "means.csv").exists()
        assert made != ("to be generated when the study " in table), study


def test_a_table_holds_means_deviations_and_how_many_runs_they_are_of(results):
    made = filled(PAGE, results)
    assert made == PAGE.replace(
        "Typed by hand.\n",
        "| network | rate | Test error | Roughness of log loss on the plane | runs |\n"
        "| --- | --- | ---: | ---: | ---: |\n"
        "| a | low | 38 ± 18\N{NARROW NO-BREAK SPACE}% | 7 (of 1) | 2 |\n"
        "| b | low | 0\N{NARROW NO-BREAK SPACE}% | — | 1 |\n",
    )
    assert filled(made, results) == made


def test_results_without_a_place_are_told(results):
    with pytest.raises(LookupError) as refused:
        filled("nothing", results)
    assert str(refused.value) == "no line <!-- means of made -->, expected one in README.md for its table"
