import csv
import io
import json
import math
from typing import Any

import pytest
import yaml
from reference import studies
from reference.summaries import summary as run_summary

from lossmap.components.config.models import DenseNet, Linear, Mlp, ResNet
from lossmap.components.config.study import Study
from lossmap.components.core.serialization import plain
from lossmap.components.figures.study import report as study_report
from lossmap.components.figures.study import tables
from lossmap.components.figures.study.figures import distribution_figure, dots_figure
from lossmap.components.figures.study.lesson_page import lesson_cells, lesson_page
from lossmap.components.figures.study.page import study_page
from lossmap.components.figures.study.plot import measure_dots
from lossmap.components.stores.objects import FileStore
from lossmap.components.studies.summary import StudySummary, mean_records, summarize_study

HOSTILE = "<script>alert(1)</script>"
VALUES = {"a": [1, 1.1, 1.2, 1.3, 1.4], "b": [2, 2.1, 2.2, 2.3]}


def summary(**changes: Any) -> StudySummary:
    statements = (
        {
            "text": HOSTILE,
            "source": HOSTILE,
            "rule": "always-at-least",
            "measure": "m",
            "network": "a",
            "bound": 1,
        },
    )
    study = studies.study(**({"statements": statements, "connections": 2, "title": HOSTILE} | changes))
    return summarize_study(
        study,
        studies.outcomes(VALUES),
        studies.pairs("a", [(0.01, 0, 0.02), (1, 0.9, 1.1)]),
        [studies.cell("b", 4)],
    )


def figures(page: str) -> dict[str, Any]:
    return json.loads(
        page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    )["figures"]


def text(page: str) -> str:
    return page.partition("<main>")[2].partition("</main>")[0]


def test_the_page_shows_every_run_and_escapes_what_people_wrote():
    page = study_page(summary())
    assert HOSTILE not in text(page)
    assert text(page).count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert set(figures(page)) == {"measure-0", "path-0"}
    assert "http" not in page.partition("<script>")[0].replace('http-equiv="Content-Security-Policy"', "")


def test_the_page_names_what_is_missing_and_what_so_few_seeds_can_show():
    page = text(study_page(summary()))
    assert "9 runs are finished, 1 is missing" in page
    assert "<code>made-b-s4-abcdef01</code>" in page
    assert "With 4 and 5 runs no p-value can be below 0.016, whatever the values are" in page


NO_ENDS = {f"n_{end}": None for end in ("low", "high", "range_of")}


def test_the_page_and_the_table_hold_the_mean_of_every_measure_and_how_many_runs_have_it():
    made = summary(factors={"rate": {"low": ("training.epochs=3",)}}, measures=("m", "n"))
    found = summarize_study(
        made.study,
        studies.outcomes({"a": [1, 3], "b": [2]}, levels={"rate": "low"}),
        [],
        [studies.cell("b", 4, {"rate": "low"})],
    )
    assert mean_records(found) == [
        {
            "network": "a",
            "rate": "low",
            "m": 2,
            "m_deviation": pytest.approx(math.sqrt(2)),
            "m_low": 1,
            "m_high": 3,
            "m_range_of": 2,
            "m_n": 2,
            "n": None,
            "n_deviation": None,
            **NO_ENDS,
            "n_n": 0,
        },
        {
            "network": "b",
            "rate": "low",
            "m": 2,
            "m_deviation": None,
            **{f"m_{end}": None for end in ("low", "high", "range_of")},
            "m_n": 1,
            "n": None,
            "n_deviation": None,
            **NO_ENDS,
            "n_n": 0,
        },
    ]
    table = text(study_page(found)).partition("Every network, all measures")[2].partition("</table>")[0]
    cell = '<td data-label="{}"><span>{}</span></td>'
    means = cell.format("M", "2.0 ± 1.4") + cell.format("N", "\N{EM DASH} <small>0 of 2</small>")
    assert f'<th scope="row">a low</th>{means}' in table
    assert f'<th scope="row">b low</th>{cell.format("M", "2 <small>1 of 2</small>")}' in table


def test_a_study_without_runs_has_a_page():
    page = study_page(summarize_study(studies.study(), [], [], [studies.cell("a", 0)]))
    assert "No finished run has this measure." in text(page)
    assert figures(page) == {}


def test_a_row_of_dots_holds_every_run_and_their_mean():
    first, second = dots_figure([studies.sample(1, 2, 3), studies.sample(4, 5, network="<b>b</b>")]).data[::3]
    assert list(first.x) == [1, 2, 3]
    assert list(second.x) == [4, 5]
    assert second.text[0].startswith("&lt;b&gt;b")


def test_the_steps_of_a_distribution_rise_to_one():
    figure = distribution_figure([studies.sample(3, 1, 2, 4)])
    assert list(figure.data[0].x) == [1, 2, 3, 4]
    assert list(figure.data[0].y) == [0.25, 0.5, 0.75, 1]


def test_shares_are_told_in_percent_and_their_differences_in_points():
    study = studies.study(measures=("test_error",))
    found = summarize_study(study, studies.outcomes({"a": [0.1, 0.2], "b": [0.4, 0.5]}, "test_error"))
    assert tables.mean(found.effects[0].first) == "45.0 ± 7.1\N{NARROW NO-BREAK SPACE}%"
    assert tables.difference(found.effects[0]).startswith("30 (")
    assert tables.difference(found.effects[0]).endswith(" points")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((0.0795, 0.0805), "0.08000 ± 0.00071"),
        ((1000, 13_000), "7\N{NARROW NO-BREAK SPACE}000 ± 8\N{NARROW NO-BREAK SPACE}500"),
        ((90, 104.2), "97 ± 10"),
        ((1, 1), "1 ± 0"),
        ((1e-9, 3e-9), "2e-09 ± 1.4e-09"),
        ((3,), "3"),
        ((), "\N{EM DASH}"),
    ],
)
def test_a_mean_has_the_digits_that_its_deviation_lets_count(values, told):
    assert tables.mean(studies.sample(*values)) == told


def test_connected_pairs_are_counted_by_their_intervals():
    (row,) = tables.connected_shares(summary().measurements)
    assert (row.sample.label, row.path, row.count, len(row.sample.values)) == ("a", "curve", 1, 2)


def test_each_figure_is_redone_by_one_command():
    study = studies.study(
        assignments=("landscape.pairs=2",), factors={"rate": {"low": ("training.epochs=3",)}}
    )
    found = summarize_study(study, studies.outcomes({"a": [1], "b": [2]}, levels={"rate": "low"}))
    assert (
        "the surfaces of seed 0 side by side at rate low",
        "lossmap compare made-a-s0-abcdef01 made-b-s0-abcdef01",
    ) in tables.commands(found)
    assert (
        tables.run_command(study, "b", {"rate": "low"}, 1)
        == "lossmap run digits-mlp --set landscape.pairs=2 --set training.epochs=3 --set model.seed=1 --set"
        " training.seed=1 --set landscape.seed=1"
    )


def test_the_surfaces_that_are_redone_are_those_of_the_first_seed_that_the_study_has():
    later = studies.study(first_seed=1)
    found = summarize_study(
        later, [outcome for outcome in studies.outcomes({"a": [1, 2], "b": [3, 4]}) if outcome.cell.seed == 1]
    )
    assert (
        "the surfaces of seed 1 side by side",
        "lossmap compare made-a-s1-abcdef01 made-b-s1-abcdef01",
    ) in tables.commands(found)


def test_the_picture_is_a_png_and_the_same_every_time():
    shown = [studies.sample(1, 2, 3), studies.sample(100, 1000, network="$b$")]
    assert measure_dots(shown, "title")[:8] == b"\x89PNG\r\n\x1a\n"
    assert measure_dots(shown, "title") == measure_dots(shown, "title")


def test_a_report_is_written_whole(tmp_path):
    store, made = FileStore(tmp_path / "store"), summary(measures=("m", "../m"))
    found = made.measurements
    key = study_report.write(
        store,
        made.study,
        found.outcomes,
        found.pairs,
        found.missing,
        f"sqlite:///{tmp_path}/mlflow.db",
        "made",
    )
    assert key == "studies/made/page.html"
    assert sorted(store.keys("studies/")) == [
        f"studies/made/{name}"
        for name in (
            "effects.csv",
            "m.png",
            "means.csv",
            "page.html",
            "results.csv",
            "results.json",
            "study.yaml",
        )
    ]
    assert Study.model_validate(yaml.safe_load(store.read("studies/made/study.yaml"))) == made.study
    rows = list(csv.DictReader(io.StringIO(store.read("studies/made/results.csv").decode())))
    assert [(row["network"], row["seed"], row["m"]) for row in rows][:2] == [("a", "0", "1"), ("b", "0", "2")]
    results = json.loads(store.read("studies/made/results.json"))
    assert results["verdicts"][0]["verdict"] == "supported"
    assert results["connections"][1]["connected"] is False


def test_numbers_that_are_none_are_words_in_strict_json():
    assert plain({"a": [math.nan, (math.inf, -math.inf)], "b": None}) == {
        "a": ["NaN", ["Infinity", "-Infinity"]],
        "b": None,
    }


def test_what_mlflow_charts_of_a_study_lies_beside_the_metrics_of_its_runs():
    found = study_report.metrics(summary())
    assert (
        found["statements_supported"]
        == sum(verdict.answer == "supported" for verdict in summary().verdicts)
        > 0
    )
    assert found["statements_not_decidable_here"] == 0
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz_") for name in found), (
        "MLflow refuses other signs, and begins a section of charts at a slash"
    )


def lesson(**models: Any) -> tuple[StudySummary, dict[str, Any]]:
    study = studies.study(
        name="lesson", networks=dict.fromkeys(models, "recipe"), contrasts=(), measures=("train_loss",)
    )
    runs = {network: run_summary(run=f"run-of-{network}", model=model) for network, model in models.items()}
    return summarize_study(
        study, studies.outcomes({network: [0.1, 0.2] for network in models}, "train_loss")
    ), runs


def test_the_lesson_shows_the_networks_that_there_are_and_names_what_is_not():
    page = lesson_page(
        *lesson(linear=Linear(), short=ResNet(depth=20), plain=ResNet(depth=20, shortcuts=False), mlp=Mlp())
    )
    assert set(figures(page)) == {"surface-linear", "surface-mlp", "surface-short", "surface-plain", "losses"}
    assert (
        "Not in this study, or not finished: 4. More complex interconnection: DenseNet, mixture of experts,"
        " MultiModel." in text(page)
    )
    assert (
        text(page).index("1. A linear model")
        < text(page).index("run-of-linear")
        < text(page).index("3. Deep residual")
        < text(page).index("run-of-short")
    )
    assert "lossmap compare run-of-short run-of-plain" in page


def test_a_lesson_without_runs_is_a_page():
    assert figures(lesson_page(lesson(dense=DenseNet(depth=40))[0], {})).keys() == {"losses"}


def test_the_lesson_shows_the_first_seed():
    found, _ = lesson(linear=Linear(), mlp=Mlp())
    assert [(cell.network, cell.seed) for cell in lesson_cells(found)] == [("linear", 0), ("mlp", 0)]


@pytest.mark.parametrize(("measure", "name"), [("m", "m.png"), ("../x y", ".._x_y.png")])
def test_a_picture_stays_in_its_folder(measure, name):
    assert study_report.picture_name(measure) == name
