"""The limits that turn measurements into classes, on cases made by hand."""

import pytest

from inference import classes

GONE = {"eyes": 0.0, "nose": 0.1, "mouth": 0.2, "left_ear": 1.0, "right_ear": 1.0}


@pytest.mark.parametrize(
    ("ml", "changed", "expected"),
    [
        (0.0, {}, "pass"),
        (0.0, {"nose": 0.9}, "face"),
        (30.0, {}, "brain"),
        (30.0, {"mouth": 0.65}, "both"),
        (1.0, {}, None),
        (0.0, {"eyes": 0.5}, None),
        (0.0, {"eyes": 0.5, "nose": 1.0}, "face"),
        (0.0, {"eyes": None, "nose": None, "mouth": None}, "pass"),
        (0.0, {"eyes": 1.0, "nose": None, "mouth": None}, None),  # the field of view ends above the nose
        (9.0, {"eyes": 0.2, "nose": None, "mouth": None}, "brain"),
        (0.0, {"eyes": 1.0, "nose": 0.0, "mouth": None}, "face"),
        (classes.BRAIN_CLEAR_ML, {"eyes": classes.KEPT_CLEAR}, "pass"),
        (classes.BRAIN_SURE_ML, {}, "brain"),
    ],
)
def test_class_follows_the_limits_and_is_open_between_them(ml, changed, expected):
    assert classes.class_of(ml, {**GONE, **changed}) == expected


def test_ears_count_only_where_the_standard_asks_for_them():
    assert classes.class_of(0.0, GONE) == "pass"
    assert classes.class_of(0.0, GONE, ears=True) == "face"
    assert classes.class_of(0.0, {**GONE, "left_ear": 0.1, "right_ear": None}, ears=True) == "pass"


def test_ears_that_remain_decide_also_beside_eyes_alone():
    alone = {"eyes": 1.0, "nose": None, "mouth": None, "left_ear": 1.0}
    assert classes.class_of(0.0, alone, ears=True) == "face"
    assert classes.class_of(0.0, alone | {"left_ear": 0.0}, ears=True) is None


def test_every_pair_of_answers_has_its_own_class():
    assert [classes.class_name(f, b) for b in (False, True) for f in (False, True)] == list(classes.CLASSES)


def test_one_check_says_whether_a_mask_can_be_a_brain():
    sizes = (0, 599, 600, 2250, 2300, 2301)
    assert [classes.plausible_brain(ml) for ml in sizes] == [False, False, True, True, True, False]
