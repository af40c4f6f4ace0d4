from lossmap.components.core import progress
from lossmap.components.core.progress import Printed


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
