from lossmap.components.config.definitions import DEFINITIONS, definition
from lossmap.components.config.scalars import measure_of
from lossmap.components.figures import themes
from lossmap.components.figures.numbers import LABELS

MANY = {name: 1.0 for measure in DEFINITIONS for name in (measure, f"line_{measure}", f"{measure}_low")}


def test_at_most_25_numbers_are_sorted_by_and_none_is_a_bound():
    chosen = themes.sortable(MANY | {"floor": None})
    assert len(chosen) == 24
    assert "floor" not in chosen
    assert not [name for name in chosen if themes.is_bound(name)]
    assert list(chosen)[:2] == ["test_error", "train_loss"]


def test_every_number_is_among_the_ten_or_in_one_theme():
    listed = [*themes.ten(MANY), *(name for names in themes.by_theme(MANY).values() for name in names)]
    assert sorted(listed) == sorted(name for name in MANY if not themes.is_bound(name))


def test_numbers_of_one_thing_are_together():
    found = {
        "train_error.digits": "Training",
        "worst_case_sharpness_0.1": "Curvature",
        "hessian_largest.fc": "Curvature",
        "load_cv": "Experts",
        "evaluated_points": "How it was surveyed",
        "line_rise": "The line",
        "basin_fraction_below_0.5": "The plane",
    }
    assert {name: themes.theme(name) for name in found} == found


def test_every_number_with_a_label_has_a_definition():
    assert not [name for name in LABELS if not definition(name)]
    assert definition("basin_fraction_below_0.5") == DEFINITIONS[measure_of("basin_fraction")]
    assert definition("of somebody else") == ""
