"""Triage is fail-closed, and the figures about it are right."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.metrics import Judged, Waiting, evidence, what_if, wilson
from inference.triage import (
    CLASSES,
    Context,
    Reason,
    Route,
    ThresholdPolicy,
    predicted_class,
    triage,
    with_ears,
)

SURE = {"pass": 0.97, "face": 0.01, "brain": 0.01, "both": 0.01}
FACE = {"pass": 0.02, "face": 0.9, "brain": 0.04, "both": 0.04}
POLICY = ThresholdPolicy(verify_min=0.9, fail_min=0.95, class_min=0.9)
TRUSTED = Context(
    in_distribution=True,
    class_order=CLASSES,
    model_render_version="1",
    attempt_render_version="1",
    problems=(),
)


def doubted(**changes) -> Context:
    """A context without a doubt but for these."""
    return replace(TRUSTED, **changes)


shares = st.lists(st.floats(0.001, 1), min_size=4, max_size=4).map(
    lambda parts: dict(zip(CLASSES, (part / sum(parts) for part in parts), strict=True))
)


def test_the_three_routes():
    assert triage(SURE, POLICY, TRUSTED).route is Route.VERIFY
    assert triage(FACE, POLICY, TRUSTED).route is Route.FAIL
    assert triage({"pass": 0.5, "face": 0.5, "brain": 0, "both": 0}, POLICY, TRUSTED).route is Route.REFER


def test_a_sure_failure_of_unsure_kind_is_referred():
    assert (
        triage({"pass": 0.01, "face": 0.5, "brain": 0.4, "both": 0.09}, POLICY, TRUSTED).route is Route.REFER
    )


@pytest.mark.parametrize(
    ("probabilities", "reason"),
    [
        (None, Reason.NO_PREDICTION),
        ({}, Reason.BAD_PROBABILITIES),
        ({"pass": 1.0}, Reason.BAD_PROBABILITIES),
        ({**SURE, "other": 0.0}, Reason.BAD_PROBABILITIES),
        ({**SURE, "pass": math.nan}, Reason.BAD_PROBABILITIES),
        ({**SURE, "pass": math.inf}, Reason.BAD_PROBABILITIES),
        ({**SURE, "pass": 0.99}, Reason.BAD_PROBABILITIES),
        ({"pass": 1.2, "face": -0.2, "brain": 0.0, "both": 0.0}, Reason.BAD_PROBABILITIES),
        ({**SURE, "pass": None}, Reason.BAD_PROBABILITIES),
    ],
)
def test_what_cannot_be_trusted_is_referred(probabilities, reason):
    decision = triage(probabilities, POLICY, TRUSTED)
    assert (decision.route, decision.reason) == (Route.REFER, reason)


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (doubted(in_distribution=False), Reason.OUT_OF_DISTRIBUTION),
        (doubted(class_order=("face", "pass", "brain", "both")), Reason.CLASS_ORDER_MISMATCH),
        (doubted(class_order=()), Reason.CLASS_ORDER_MISMATCH),
        (doubted(model_render_version="2", attempt_render_version="1"), Reason.RENDER_VERSION_MISMATCH),
        (doubted(problems=("brain",)), Reason.PHYSICAL_CHECK),
    ],
)
def test_each_doubt_refers_a_confident_pass(context, reason):
    decision = triage(SURE, POLICY, context)
    assert (decision.route, decision.reason) == (Route.REFER, reason)


@given(shares, st.floats(0.51, 1), st.floats(0.51, 1))
def test_stricter_cutoffs_never_decide_more(probabilities, one, two):
    loose, strict = sorted((one, two))
    if triage(probabilities, ThresholdPolicy(strict, strict), TRUSTED).route is not Route.REFER:
        assert triage(probabilities, ThresholdPolicy(loose, loose), TRUSTED).route is not Route.REFER


@given(shares, st.floats(0, 1))
def test_ears_only_ever_make_a_pass_less_likely(probabilities, ears):
    mixed = with_ears(probabilities, ears)
    assert mixed["pass"] <= probabilities["pass"] + 1e-12
    assert sum(mixed.values()) == pytest.approx(1)
    assert mixed["brain"] + mixed["both"] == pytest.approx(probabilities["brain"] + probabilities["both"])


@pytest.mark.parametrize("value", [0.5, 1.01, math.nan, "0.9", None, True])
def test_a_senseless_cutoff_is_refused(value):
    with pytest.raises(ValueError, match="verify_min"):
        ThresholdPolicy(verify_min=value)


def test_an_unknown_cutoff_is_refused():
    with pytest.raises(ValueError, match="unknown"):
        ThresholdPolicy.from_dict({"pass_min": 0.9})
    assert ThresholdPolicy.from_dict(POLICY.to_dict()) == POLICY


def test_a_tie_is_a_failure():
    assert predicted_class({"pass": 0.5, "face": 0.5, "brain": 0.0, "both": 0.0}) == "face"


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_wilson_intervals_as_published(count, total, low, high):
    interval = wilson(count, total)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_of_nothing_nothing_is_known():
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).share) == (0.0, 1.0, None)
    with pytest.raises(ValueError, match="not a share"):
        wilson(3, 2)


def test_evidence_counts_by_hand():
    unclear = {"pass": 0.5, "face": 0.5, "brain": 0.0, "both": 0.0}
    cases = (
        [Judged(SURE, "pass", TRUSTED)] * 6
        + [Judged(SURE, "face", TRUSTED)] * 2
        + [Judged(FACE, "face", TRUSTED), Judged(unclear, "pass", TRUSTED)]
    )
    found = evidence(cases, POLICY)
    assert (found.coverage.count, found.coverage.total) == (9, 10)
    assert (found.selective_accuracy.count, found.selective_accuracy.total) == (7, 9)
    assert (found.false_pass.count, found.false_pass.total) == (2, 8)


def test_the_whole_route_is_judged_not_the_cutoffs_alone():
    """What a measurement or a doubt keeps from verification is no false pass of the route."""
    held = doubted(problems=("nose still there",))
    strange = doubted(in_distribution=False)
    cases = [Judged(SURE, "pass", TRUSTED)] * 5 + [Judged(SURE, "face", held), Judged(SURE, "brain", strange)]
    found = evidence(cases, POLICY)
    assert (found.false_pass.count, found.false_pass.total) == (0, 5)
    assert (found.coverage.count, found.coverage.total) == (5, 7)


def test_triage_is_told_all_it_must_know():
    with pytest.raises(TypeError):
        triage(SURE, POLICY)
    for name in TRUSTED.__dataclass_fields__:
        rest = {other: getattr(TRUSTED, other) for other in TRUSTED.__dataclass_fields__ if other != name}
        with pytest.raises(TypeError):
            Context(**rest)


odd = st.sampled_from([math.nan, math.inf, -0.2, 0.0, 0.5, 1.0, 1.0005, 1.2])
anything = st.one_of(
    shares,
    st.none(),
    st.fixed_dictionaries(dict.fromkeys(CLASSES, odd)),
    st.sampled_from([SURE, FACE, {**SURE, "pass": 0.9, "face": 0.08}, {**FACE, "pass": 0.05, "face": 0.9}]),
)
cutoffs = st.floats(0.5, 1, exclude_min=True)
policies = st.builds(ThresholdPolicy, cutoffs, cutoffs, cutoffs)


def in_arrays(cases) -> Waiting:
    rows = [[math.nan] * 4 if said is None else [said[name] for name in CLASSES] for said, _, _ in cases]
    flags = np.array([[trusted, problem] for _, trusted, problem in cases], dtype=bool).reshape(-1, 2)
    return Waiting(np.array(rows, dtype=float).reshape(-1, 4), flags[:, 0], flags[:, 1])


@given(st.lists(st.tuples(anything, st.booleans(), st.booleans()), max_size=12), policies)
def test_many_at_once_are_routed_as_one_by_one(cases, policy):
    counts = {"verify": 0, "refer": 0, "fail": 0}
    for said, trusted, problem in cases:
        context = doubted(in_distribution=trusted, problems=["found"] if problem else [])
        counts[triage(said, policy, context).route.value] += 1
    assert what_if(in_arrays(cases), policy).routes == counts


def test_what_the_model_itself_expects_of_those_to_verify():
    less = {"pass": 0.95, "face": 0.05, "brain": 0.0, "both": 0.0}
    cases = [
        (SURE, True, False),
        (less, True, False),
        (FACE, True, False),
        (SURE, True, True),
        (SURE, False, False),
    ]
    found = what_if(in_arrays(cases), POLICY)
    assert found.routes["verify"] == 2
    assert found.expected_false == pytest.approx(0.03 + 0.05), "not of what is referred or fails"
    assert what_if(in_arrays([]), POLICY).expected_false == 0
