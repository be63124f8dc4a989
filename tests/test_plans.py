"""Which plan follows which failure."""

import pytest

from inference.deface import PLANS
from inference.triage import FAILURES
from reviews.escalation import LADDERS, STANDARD, plan_after


def test_the_engines_know_every_plan():
    assert {STANDARD, *(plan for ladder in LADDERS.values() for plan in ladder)} <= set(PLANS)
    assert set(LADDERS) == set(FAILURES)
    assert all(len(set(ladder)) == 3 for ladder in LADDERS.values())


@pytest.mark.parametrize(
    ("klass", "tried", "plan"),
    [
        ("face", ["standard"], "larger"),
        ("face", ["standard", "larger"], "largest"),
        ("brain", ["standard", "larger"], "smaller"),
        ("both", ["standard", "register_anew"], "every_orientation"),
        ("face", ["standard", "larger", "largest", "register_anew"], None),
    ],
)
def test_no_plan_is_tried_twice(klass, tried, plan):
    assert plan_after(klass, tried) == plan


@pytest.mark.parametrize("klass", FAILURES)
def test_the_ladder_ends_with_a_person(klass):
    assert plan_after(klass, [STANDARD, *LADDERS[klass]]) is None
