"""Figures are as uncertain as the people are few, however many attempts there are."""

import numpy as np
import pytest
from scipy.stats import norm

from inference.training.evaluation_cases import Case
from inference.training.over_people import Spread, first_of_each, over_people
from inference.training.shards import Shard
from inference.triage import ThresholdPolicy

SURE = {"pass": 0.995, "face": 0.005, "brain": 0.0, "both": 0.0}
FACE = {"pass": 0.005, "face": 0.995, "brain": 0.0, "both": 0.0}
POLICY = ThresholdPolicy()
RAW = "raw accuracy, four classes"


def attempts(person, right, of):
    """Half pass, half face; `right` of them called by their name."""
    cases = []
    for n in range(of):
        truth = ("pass", "face")[n % 2]
        told = (SURE, FACE)[(n % 2) ^ (n >= right)]
        cases.append(Case(told, truth, person))
    return cases


def test_a_hundred_times_the_attempts_of_the_same_people_say_no_more():
    few = [c for n, right in enumerate((10, 9, 6)) for c in attempts(f"p{n}", right, 10)]
    once, often = over_people(few, POLICY), over_people(few * 100, POLICY)
    for name in once:
        assert often[name].low == pytest.approx(once[name].low)
        assert often[name].high == pytest.approx(once[name].high)


def test_the_bounds_are_those_of_the_people_drawn_anew():
    """Of two people, one always right, one never: a quarter of the draws has one of them alone."""
    found = over_people([*attempts("a", 20, 20), *attempts("b", 0, 20)], POLICY)[RAW]
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_equal_people_leave_nothing_to_chance():
    found = over_people([c for n in range(6) for c in attempts(f"p{n}", 9, 10)], POLICY)
    assert found[RAW] == Spread(*[pytest.approx(0.9)] * 3)


def test_more_people_narrow_the_interval_as_theory_says():
    rng = np.random.default_rng(1)
    rights = rng.binomial(100, rng.uniform(0.7, 1.0, 60))
    found = over_people([c for n, r in enumerate(rights) for c in attempts(f"p{n:02}", int(r), 100)], POLICY)[
        RAW
    ]
    expected = 2 * norm.ppf(0.975) * (rights / 100).std() / np.sqrt(60)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


def test_figures_are_pooled_over_attempts_not_averaged_over_people():
    found = over_people([*attempts("a", 30, 30), *attempts("b", 0, 10)], POLICY)
    assert found[RAW].value == 0.75
    assert found["coverage"].value == 1.0
    assert found["false passes among confident passes"].value == pytest.approx(5 / 20)


def test_what_was_never_decided_is_no_figure():
    unsure = dict.fromkeys(SURE, 0.25)
    found = over_people([Case(unsure, "pass", "a"), Case(unsure, "face", "b")], POLICY)
    assert found["coverage"].value == 0.0
    assert np.isnan(found["selective accuracy"].value)


def test_the_first_shards_of_each_person_are_chosen_by_name(tmp_path):
    made = [Shard(tmp_path / f"{p}_{n:03}.npz", p) for n in (2, 0, 1) for p in ("b", "a")]
    assert [s.path.stem for s in first_of_each(made, 2)] == ["a_000", "a_001", "b_000", "b_001"]
