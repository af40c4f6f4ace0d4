import pytest

from lossmap.components.figures import numbers


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.0511, "0.0511"),
        (272.4, "272"),
        (72_810, "72\N{NARROW NO-BREAK SPACE}800"),
        (7.281e6, "7.28e+06"),
        (float("inf"), "infinite"),
    ],
)
def test_a_ratio_has_three_digits_and_thousands_as_they_are_read(ratio: float, said: str):
    assert numbers.factor(ratio) == said
