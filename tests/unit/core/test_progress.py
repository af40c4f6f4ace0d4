import pytest

from lossmap.components.core import progress
from lossmap.components.core.progress import AtMost, Printed, duration


def test_lines_are_rare_and_tell_the_time_left_since_the_work_began(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    tell = Printed("survey", every=10)
    # one a second, after 20 s of starting up
    for second, done in [
        (10, 0),
        (31, 1),
        (32, 2),
        (35, 5),
        (41, 11),
        (45, 15),
        (70, 40),
    ]:
        now[0] = second
        tell(done, 40, "points")
    assert capsys.readouterr().err.splitlines() == [
        "survey: 11/40 points (29 s left)",
        "survey: 40/40 points (60 s)",
    ]


def test_work_that_was_done_before_is_one_line(capsys):
    Printed("prepare")(5, 5)
    assert capsys.readouterr().err == "prepare: 5/5 (0 s)\n"


def test_a_total_that_may_be_less_is_told_as_such(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    tell = Printed("survey", every=10)
    for second, done, total, detail in [
        (0, 0, AtMost(5346), "points, round 1"),
        (10, 6, AtMost(5346), "points, round 1"),
        (200, 46, AtMost(5346), "points, round 2"),
        (400, 412, 412, "points in 5 rounds"),
    ]:
        now[0] = second
        tell(done, total, detail)
    assert capsys.readouterr().err.splitlines() == [
        "survey: 46 of at most 5,346 points, round 2 (at most 7.0 h left)",
        "survey: 412/412 points in 5 rounds (7 min)",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (3000, "50 min"), (9000, "2.5 h")]
)
def test_long_times_have_no_seconds(seconds, text):
    assert duration(seconds) == text
