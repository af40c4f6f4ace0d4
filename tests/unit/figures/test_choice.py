import numpy as np
import pytest

from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.choice import curve_scale, scale_of
from lossmap.components.figures.scale import USUAL, label

X, Y = np.meshgrid(np.linspace(-1, 1, 15), np.linspace(-1, 1, 15))
BOWL = (X**2 + 1.3 * Y**2).ravel()
CORNER = (X > 0.99).ravel() & (Y > 0.99).ravel()


@pytest.mark.parametrize(
    "losses",
    [
        0.012 + 2.2 * BOWL,
        0.0001 + 2.2 * BOWL,  # the centre alone is below
        np.exp(5 * BOWL) - 0.9,  # a third is above
        np.full(9, 2.0),
    ],
    ids=["bowl", "deep centre", "walls", "constant"],
)
def test_losses_of_classifiers_have_the_scale_that_they_have_always_had(losses):
    assert scale_of([losses]) is USUAL


@pytest.mark.parametrize(
    ("losses", "kind", "low", "high"),
    [
        (1e-7 + 4e-5 * BOWL, "log", 1e-7, 1e-4),
        (1e3 + 1e8 * BOWL, "log", 1e3, 5e8),
        (2.3 + 0.01 * BOWL, "linear", 2.3, 2.324),
        (-3.8 + 2 * BOWL, "linear", -3.8, 0.8),
        (-3.8 + np.exp(6 * BOWL), "symlog", -5.0, 1e6),
        (np.where(CORNER, 1e10, 1e-7 + 4e-5 * BOWL), "log", 1e-7, 1e-4),
        (np.where(CORNER, -1e30, -3.8 + 2 * BOWL), "linear", -3.8, 0.8),
        (0 * BOWL, "linear", -1.0, 1.0),
        (0 * BOWL - 3.8, "linear", -4.2, -3.4),
    ],
    ids=["tiny", "sums", "narrow", "negative", "signed", "above", "below", "zero", "equal"],
)
def test_other_losses_have_the_scale_that_they_need(losses, kind, low, high):
    found = scale_of([losses])
    assert found.kind == kind
    assert found.low == pytest.approx(low, rel=0.06)
    assert found.high == pytest.approx(high, rel=0.06)
    assert found.origin == "by the losses shown"


PLATEAU = np.where(np.arange(200) == 7, 3.0, 2.0)


@pytest.mark.parametrize(
    ("losses", "low", "high"),
    [
        (PLATEAU, 2.0, 3.0),
        (1e6 + 1e-5 * BOWL / BOWL.max(), 1e6, 1e6 + 1e-5),
        (-1e6 - 1e-9 * BOWL, -1.12e6, -0.88e6),  # equal but for rounding
    ],
    ids=["plateau", "large", "rounding"],
)
def test_what_hardly_differs_is_told_apart_unless_it_is_rounding(losses, low, high):
    found = scale_of([losses])
    assert [found.low, found.high] == pytest.approx([low, high], rel=1e-12)
    assert np.isfinite(found.position(losses)).all()
    assert len(set(map(label, found.ticks()))) == len(found.ticks())


def test_what_lies_beyond_is_known():
    assert scale_of([np.where(CORNER, 1e10, 1e-7 + 4e-5 * BOWL)]).beyond == (False, True)
    assert scale_of([1e-7 + 4e-5 * BOWL]).beyond == (False, False)


@pytest.mark.parametrize(
    "losses", [[np.array([1.7e308] * 5)], [np.array([-1.7e308, 1.7e308, 0.0, 1.0, 2.0])]]
)
def test_the_largest_numbers_have_a_scale(losses):
    found = scale_of(losses)
    assert np.isfinite([*found.ends, *found.ticks()]).all()
    assert found.ends[0] < found.ends[1]


def test_one_point_and_none_have_a_scale():
    assert scale_of([]) is USUAL
    found = scale_of([np.array([3e-6])])
    assert found.low < 3e-6 < found.high


def test_surfaces_beside_each_other_have_one_scale():
    together = scale_of([1e-7 + 4e-5 * BOWL, 0.012 + 2.2 * BOWL])
    assert (together.kind, together.low, together.high) == ("log", 1e-7, 100.0)
    signed = scale_of([-3.8 + 2 * BOWL, 0.012 + 2.2 * BOWL])
    assert signed.kind == "linear"
    assert signed.low <= -3.8 < 5 <= signed.high


def test_a_scale_can_be_set():
    tiny = 1e-7 + 4e-5 * BOWL
    assert scale_of([tiny], Pictures(scale="linear")).kind == "linear"
    found = scale_of([tiny], Pictures(limits=(1e-6, 1e-2)))
    assert (found.kind, found.low, found.high) == ("log", 1e-6, 1e-2)
    assert found.text == "Logarithmic scale from 1e-6 to 0.01, as set."
    assert scale_of([tiny], Pictures(scale="symlog", limits=(-1.0, 1.0))).kind == "symlog"


def test_a_logarithm_that_does_not_exist_is_said():
    found = scale_of([-3.8 - 2 * BOWL], Pictures(scale="log"))
    assert found.kind == "linear"
    assert "none is positive, so that it is not logarithmic as set" in found.text


@pytest.mark.parametrize(
    "settings",
    [{"limits": (2.0, 1.0)}, {"limits": (0.0, float("inf"))}, {"scale": "log", "limits": (0.0, 1.0)}],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="limits"):
        Pictures(**settings)


def test_curves_are_logarithmic_where_asked_and_linear_where_that_shows_them():
    positive, signed = np.array([0.01, 1.0, 3.0, 5.0]), np.array([-3.0, -1.0, 2.0])
    assert curve_scale([positive]).kind == "log"
    assert curve_scale([positive], wide=False).kind == "linear"
    assert curve_scale([np.array([1e-6, 1e-6, 1e-6, 1e-6, 1e3, 1e6])], wide=False).kind == "log"
    assert curve_scale([signed]).kind == "linear"
    assert curve_scale([1 + 1e-3 * positive]).kind == "linear"  # no decade, nor a part of one
    assert curve_scale([signed], Pictures(scale="symlog")).kind == "symlog"
    assert curve_scale([np.array([np.nan, np.inf])]) is USUAL
