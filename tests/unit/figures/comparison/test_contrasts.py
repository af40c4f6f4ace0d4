import json
from dataclasses import replace

import numpy as np
import pytest
from reference.summaries import bowl, evaluate, summary

from lossmap.components.config.models import ResNet
from lossmap.components.core.errors import LossmapError
from lossmap.components.figures.comparison import sentences
from lossmap.components.figures.comparison.chart import chart_axes, chart_rows
from lossmap.components.figures.comparison.contrasts import compare_runs
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.surveys.result import SurveyResult

SIDE = np.linspace(-1, 1, 11)


def bowls(run: str, recipe: str, heights: tuple[float, ...], **scalars: float) -> RunSummary:
    """A run whose planes and lines are bowls of these heights, one for each pair of directions."""
    made = summary(run=run, model=ResNet(depth=20))
    planes, lines = (
        tuple(evaluate(lambda x, y, height=height: height * bowl(x, y), SIDE, across) for height in heights)
        for across in (SIDE, np.array([0.0]))
    )
    known = {"test_error": 0.08, "basin_fraction": 0.5, "floor": 0.01, "line_convex_fraction": 1.0} | scalars
    return replace(
        made,
        experiment=made.experiment.model_copy(update={"name": recipe}),
        scalars=known,
        result=SurveyResult(planes=planes, lines=lines),
    )


def wide_and_narrow() -> list[RunSummary]:
    return [
        bowls("wide-1", "wide", (1.0, 1.02, 0.98, 1.01)),
        bowls("narrow-1", "narrow", (3.0, 3.1, 2.9, 3.05), test_error=0.2),
    ]


def test_the_answer_tells_the_surest_differences_with_both_numbers_and_the_interval():
    comparison = compare_runs(wide_and_narrow())
    found = {contrast.quantity.name: contrast for contrast in comparison.contrasts}
    assert set(found) == {"basin", "floor", "convexity", "test error"}
    shares = np.array(
        [[(plane.loss < np.log(10)).mean() for plane in run.result.planes] for run in comparison.runs]
    )
    basin = found["basin"].difference
    assert basin.effect == pytest.approx((shares[0] - shares[1]).mean(), rel=1e-12)
    assert found["basin"].verdict == found["test error"].verdict == "decided"
    assert found["floor"].difference.effect == pytest.approx(1 / 3, rel=0.05)
    sureties = [contrast.difference.surety for contrast in comparison.contrasts]
    assert sureties == sorted(sureties, reverse=True)
    answer = sentences.answer(comparison)
    assert "wide has a wider basin than narrow (" in answer
    assert "wide makes fewer errors on the test set than narrow (8 % against 20 %" in answer.replace(
        "\N{NARROW NO-BREAK SPACE}", " "
    )
    assert sentences.caveats(comparison) == [
        "Not decided: convexity.",
        "Not compared: curvature: not measured in both runs.",
        "One training seed each: this compares two trained networks, not two architectures; `lossmap study`"
        " compares these, over several seeds.",
    ]


def test_turning_the_runs_round_turns_the_numbers_and_not_what_is_said():
    runs = wide_and_narrow()
    first, second = compare_runs(runs), compare_runs(runs[::-1])
    assert sentences.answer(first) == sentences.answer(second)
    assert [each.difference.middle for each in first.contrasts] == pytest.approx(
        [-each.difference.middle for each in second.contrasts], rel=1e-12
    )


def test_equal_runs_differ_in_nothing():
    comparison = compare_runs([replace(wide_and_narrow()[0], run=name) for name in ("a", "b")])
    assert sentences.answer(comparison).startswith("Nothing that is compared here is decided")
    assert comparison.names == {"a": "a", "b": "b"}


def test_what_was_surveyed_otherwise_is_not_compared_and_that_is_said():
    first, second = wide_and_narrow()
    landscape = second.experiment.landscape.model_copy(update={"normalization": "none"})
    second = replace(second, experiment=second.experiment.model_copy(update={"landscape": landscape}))
    comparison = compare_runs([first, second])
    assert [contrast.quantity.name for contrast in comparison.contrasts] == ["test error"]
    assert "basin: landscape.normalization differs" in comparison.absent


def test_more_intervals_are_wider_together_and_every_run_is_compared():
    runs = [*wide_and_narrow(), bowls("third-1", "third", (1.0, 1.1, 0.9, 1.2))]
    three, two = compare_runs(runs), compare_runs(runs[:2])
    assert len(three.contrasts) == 3 * len(two.contrasts)
    assert three.contrasts[0].level == pytest.approx(1 - 0.05 / 12)
    four = compare_runs([*runs, bowls("fourth-1", "fourth", (2.0, 2.1, 2.2, 2.3))])
    assert {(each.first, each.second) for each in four.contrasts} == {
        ("wide-1", other) for other in ("narrow-1", "third-1", "fourth-1")
    }


def test_one_pair_of_directions_says_nothing_of_others():
    comparison = compare_runs([bowls("a-1", "a", (1.0,)), bowls("b-1", "b", (2.0,))])
    assert any(line.startswith("One pair of directions: ") for line in sentences.caveats(comparison))


def test_a_record_is_json_and_has_what_the_sentence_has():
    contrast = next(
        each for each in compare_runs(wide_and_narrow()).contrasts if each.quantity.name == "floor"
    )
    record = json.loads(json.dumps(contrast.record(), allow_nan=False))
    low, high = record["interval"]
    assert record["kind"] == "ratio"
    assert low < record["effect"] < high < 1
    assert record["interval_together"][0] < low
    assert record["verdict"] == "decided"


def test_rows_of_a_chart_lie_on_their_axis_around_the_middle():
    comparison = compare_runs(wide_and_narrow())
    rows = {row.quantity: row for row in chart_rows(comparison)}
    assert rows["basin"].place > 50 > rows["floor"].place
    for row in rows.values():
        if row.interval:
            assert 0 <= row.interval.low <= row.place <= row.interval.high <= 100
    assert {axis.unit: axis.middle for axis in chart_axes(comparison)} == {
        "percentage points": "0",
        "factor": "1",
    }
    assert rows["basin"].is_sure
    assert not rows["convexity"].is_sure


def test_no_run_is_refused():
    with pytest.raises(LossmapError, match=r"^no run to compare, expected at least one; name the runs$"):
        compare_runs([])
