import base64
import json
import math

import numpy as np
import pytest
from reference.paths import profile
from reference.summaries import manifest

from lossmap.components.config.connection import Connecting, Curve, Evaluation, Note
from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.models import Imported, Mlp
from lossmap.components.figures.connection.matrix import BarrierMatrix, connected_pairs
from lossmap.components.figures.connection.matrix_figures import matrix_page, matrix_picture
from lossmap.components.figures.connection.matrix_report import matrix_record
from lossmap.components.figures.connection.page import connection_page, profile_figure
from lossmap.components.figures.connection.plot import connection
from lossmap.components.figures.connection.record import record, scalars
from lossmap.components.figures.connection.sentences import alignment, verdict
from lossmap.components.figures.connection.summary import ConnectionPath, ConnectionSummary

T = np.linspace(0, 1, 9)
NOTE = Note(batch_norm=False, spaces=1, permuted=1, reason=None)


def hill(height, spread=0.05, bad=None):
    """A hill above ends of 0.1, whose groups differ by a share of its height."""
    groups = 0.1 + height * 4 * np.outer(T * (1 - T), 1 + spread * np.linspace(-1.7, 1.7, 100))
    if bad is not None:
        groups[4] = bad
    return profile(T, groups, np.clip(groups / 5, 0, 1))


def summary(note=NOTE, runs=("first", "second"), batch_norm="reestimated", **heights):
    paths = tuple(
        ConnectionPath.of(name, {"train": hill(*height), "test": hill(*height)})
        for name, height in heights.items()
    )
    connecting = Connecting(
        evaluation=Evaluation(batch_norm=batch_norm), curve=Curve() if "curve" in heights else None
    )
    experiment = Experiment(model=Mlp(hidden=(8,)), study="mine")
    return ConnectionSummary(
        runs, ("a" * 64, "b" * 64), experiment, manifest("digits"), connecting, note, paths
    )


def test_the_verdict_names_what_connects_and_what_does_not():
    assert (
        verdict(summary(linear=(1.0,), aligned=(0.2,), repaired=(0.01,), curve=(0.05, 5.0)))
        == "On these 512 training samples the networks are connected by the line after alignment and repair"
        " (connected: the 95 % interval of the barrier ends at or below 0.05 nats); not by the straight"
        " line and the line after alignment; it cannot be told of the Bezier curve."
    )


def test_the_verdict_does_not_claim_what_the_samples_do_not_tell():
    assert (
        verdict(summary(linear=(1.0,), aligned=(0.05, 5.0)))
        == "On these 512 training samples it cannot be told whether the networks are connected by the line"
        " after alignment (connected: the 95 % interval of the barrier ends at or below 0.05 nats); they"
        " are not by the straight line."
    )


def test_the_verdict_says_where_no_path_connects():
    assert (
        verdict(summary(linear=(1.0,), curve=(0.2,)))
        == "On these 512 training samples the networks are not connected by the straight line and the Bezier"
        " curve (connected: the 95 % interval of the barrier ends at or below 0.05 nats)."
    )


def test_scalars_hold_the_barrier_of_each_path_with_its_interval():
    logged = scalars(summary(linear=(1.0,), aligned=(0.2,)))
    assert logged["barrier_linear"] == pytest.approx(1.0)
    assert logged["barrier_linear_low"] < 1 < logged["barrier_linear_high"]
    assert logged["barrier_aligned_error"] == pytest.approx(0.04)
    assert logged["barrier_aligned_test"] == pytest.approx(0.2)
    assert logged["largest_rise_linear"] == pytest.approx(1.0)
    assert not any("repaired" in name for name in logged)


def test_with_batch_norm_re_estimated_everywhere_the_aligned_path_is_the_repaired_one():
    note = NOTE.model_copy(update={"batch_norm": True})
    connected = summary(note=note, linear=(1.0,), aligned=(0.2,))
    assert {path: barrier.value for path, barrier in connected.barriers.items()} == pytest.approx(
        {"linear": 1.0, "aligned": 0.2, "repaired": 0.2}
    )
    logged = scalars(connected)
    assert logged["barrier_repaired"] == logged["barrier_aligned"]
    assert logged["barrier_repaired_high"] == logged["barrier_aligned_high"]
    frozen = summary(note=note, batch_norm="frozen", linear=(1.0,), aligned=(0.2,))
    assert list(frozen.barriers) == ["linear", "aligned"]
    assert not any("repaired" in name for name in scalars(frozen))


def test_numbers_that_are_none_are_words_in_strict_json():
    text = json.dumps(
        record(summary(linear=(1.0, 0.05, math.nan), aligned=(1.0, 0.05, math.inf))), allow_nan=False
    )
    linear, aligned = json.loads(text)["paths"]
    assert linear["train"]["loss"][4] == "NaN"
    assert aligned["train"]["loss"][4] == "Infinity"
    assert linear["train"]["barrier"]["loss"] == {
        "value": "Infinity",
        "low": "Infinity",
        "high": "Infinity",
        "t": 0.5,
    }
    assert len(linear["test"]["loss_standard_error"]) == 9


def test_what_came_of_the_alignment_is_a_sentence():
    assert (
        alignment(summary(linear=(1.0,)))
        == "1 of 1 permutable channel spaces of the second network were reordered by weight matching."
    )
    assert (
        alignment(summary(note=NOTE.model_copy(update={"spaces": 0}), linear=(1.0,)))
        == "There is nothing to align: no hidden channel can be permuted."
    )
    assert (
        alignment(
            summary(note=Note(batch_norm=False, spaces=0, permuted=0, reason="it branches"), linear=(1.0,))
        )
        == "Nothing was aligned: it branches."
    )


def test_the_page_holds_every_profile_and_escapes_names():
    page = connection_page(
        summary(runs=("<script>alert(1)</script>", "second"), linear=(1.0, 0.05, math.nan), curve=(0.01,))
    )
    data = json.loads(
        page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    )
    assert set(data["figures"]) == {"train-loss", "train-error", "test-loss", "test-error"}
    values = data["figures"]["train-loss"]["data"][1]["y"]
    assert (
        np.isnan(np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])).tolist()
        == [False] * 4 + [True] + [False] * 4
    )
    assert "<script>alert" not in page
    assert "http" not in page.partition("<script>")[0].replace('http-equiv="Content-Security-Policy"', "")


def test_the_picture_is_a_png_and_the_same_every_time():
    shown = summary(linear=(1.0, 0.05, math.nan), aligned=(0.5,), repaired=(0.1,), curve=(0.01,))
    first = connection(shown)
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert connection(shown) == first


def shifted(height, low):
    groups = low + height * 4 * np.outer(T * (1 - T), 1 + 0.05 * np.linspace(-1.7, 1.7, 100))
    return profile(T, groups, np.full_like(groups, np.nan))


def own_loss(height, low):
    path = ConnectionPath.of("linear", {"train": shifted(height, low), "test": shifted(height, low)})
    experiment = Experiment(
        model=Imported(factory="net:make", loss="net:likelihood"), data=Data(source="data.npz")
    )
    connecting = Connecting(curve=None, threshold=None)
    return ConnectionSummary(
        ("a", "b"), ("a" * 64, "b" * 64), experiment, manifest("data.npz"), connecting, NOTE, (path,)
    )


@pytest.mark.parametrize(
    ("height", "low", "kind"), [(1e-5, 1e-6, "linear"), (2.0, -3.8, "linear"), (0.4, 1000.0, "linear")]
)
def test_a_connection_of_any_loss_shows_its_hill_and_its_band(height, low, kind):
    summary = own_loss(height, low)
    axis = summary.axis("train")
    assert axis.scale.kind == kind
    assert height > 0.5 * (axis.high - axis.low)
    band, curve = profile_figure(summary, "train", "loss").data[:2]
    assert (band.y[:9] >= curve.y).all()
    assert (band.y[9:][::-1] <= curve.y).all()
    assert (band.y[9:][::-1] < curve.y)[1:-1].all()
    assert connection(summary)[:4] == b"\x89PNG"


def test_without_a_threshold_barriers_are_told_and_not_judged():
    said = verdict(own_loss(2.0, -3.8))
    assert said.startswith(
        "On these 512 training samples the lowest barrier is that of the straight line, 2 ["
    )
    assert "units of the loss" in said
    assert "nats" not in connection_page(own_loss(2.0, -3.8))


def _matrix(**changes):
    """Three networks, between the first and the last of which the loss is infinite."""
    pairs = {
        (0, 1): summary(linear=(1.0,), aligned=(0.01,), **changes),
        (0, 2): summary(linear=(1.0, 0.05, np.inf), aligned=(0.04, 5.0), **changes),
        (1, 2): summary(linear=(2.0,), aligned=(0.2,), **changes),
    }
    return BarrierMatrix(("a.pt", "b<c>.pt", "d.pt"), pairs, {pair: f"{pair[1]:064}" for pair in pairs})


def test_a_matrix_has_every_barrier_twice_and_infinity_where_a_path_has_no_loss():
    matrix = _matrix()
    np.testing.assert_allclose(
        matrix.values("linear", "train"), [[0, 1, np.inf], [1, 0, 2], [np.inf, 2, 0]], rtol=0.05
    )
    low, high = np.moveaxis(matrix.intervals("aligned", "train"), -1, 0)
    assert (low <= matrix.values("aligned", "train")).all()
    assert (high >= matrix.values("aligned", "train")).all()
    found = json.loads(json.dumps(matrix_record(matrix), allow_nan=False))
    assert found["barriers"]["linear"]["train"][0][2] == "Infinity"
    assert found["losses"]["train"] == pytest.approx([0.1, 0.1, 0.1])


def test_a_matrix_counts_the_pairs_that_each_path_connects():
    linear, aligned = connected_pairs(_matrix())
    assert (
        linear
        == "The straight line: barriers of up to inf [inf, inf] nats; 0 of 3 pairs are connected, 3 are not."
    )
    assert aligned.endswith("1 of 3 pairs are connected, 1 are not, of 1 it cannot be told.")
    told = _matrix()
    for pair in told.pairs.values():
        object.__setattr__(pair, "connecting", pair.connecting.model_copy(update={"threshold": None}))
    assert connected_pairs(told)[1].endswith(" nats.")


def test_frozen_statistics_leave_no_networks_own_loss_in_a_matrix():
    note = NOTE.model_copy(update={"batch_norm": True})
    assert _matrix(note=note, batch_norm="frozen").own_loss(2, "train") is None
    assert _matrix(note=note).own_loss(2, "train") == pytest.approx(0.1)


def test_a_matrix_is_drawn_and_its_names_are_escaped():
    matrix = _matrix()
    page = matrix_page(matrix)
    assert "b&lt;c&gt;.pt" in page
    assert "b<c>.pt" not in page
    assert page.count(f'<a href="../{2:064}/page.html">') == 16  # two pairs, twice, two paths, two splits
    assert matrix_picture(matrix)[:4] == b"\x89PNG"
