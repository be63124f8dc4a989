"""Every status-event pair: where it leads, or that it cannot happen."""

import itertools

import pytest

from reviews.states import TRANSITIONS, UNDECIDED, WORKING, Event, IllegalTransition, Status, after

S, E = Status, Event
EXPECTED = {
    S.TO_DEFACE: {E.DEFACED: S.TO_RENDER, E.BROKE: S.ERROR, E.WITHDRAWN: S.WITHDRAWN},
    S.TO_RENDER: {E.RENDERED: S.TO_CLASSIFY, E.BROKE: S.ERROR},
    S.TO_CLASSIFY: {
        E.TRIAGED_VERIFY: S.VERIFY,
        E.TRIAGED_REFER: S.REFER,
        E.TRIAGED_FAIL: S.FAILED,
        E.BROKE: S.ERROR,
    },
    S.VERIFY: {
        E.TRIAGED_VERIFY: S.VERIFY,
        E.TRIAGED_REFER: S.REFER,
        E.TRIAGED_FAIL: S.FAILED,
        E.JUDGED_PASS: S.PASSED,
        E.JUDGED_FAIL: S.FAILED,
        E.DOUBTED: S.REFER,
        E.RECLASSIFIED: S.TO_CLASSIFY,
    },
    S.REFER: {
        E.TRIAGED_VERIFY: S.VERIFY,
        E.TRIAGED_REFER: S.REFER,
        E.TRIAGED_FAIL: S.FAILED,
        E.JUDGED_PASS: S.PASSED,
        E.JUDGED_FAIL: S.FAILED,
        E.DOUBTED: S.REFER,
        E.RECLASSIFIED: S.TO_CLASSIFY,
        E.UNDONE_TO_VERIFY: S.VERIFY,
        E.UNDONE_TO_REFER: S.REFER,
        E.UNDONE_TO_NEEDS_PERSON: S.NEEDS_PERSON,
    },
    S.FAILED: {
        E.EXHAUSTED: S.NEEDS_PERSON,
        E.UNDONE_TO_VERIFY: S.VERIFY,
        E.UNDONE_TO_REFER: S.REFER,
        E.UNDONE_TO_NEEDS_PERSON: S.NEEDS_PERSON,
    },
    S.PASSED: {
        E.UNDONE_TO_VERIFY: S.VERIFY,
        E.UNDONE_TO_REFER: S.REFER,
        E.UNDONE_TO_NEEDS_PERSON: S.NEEDS_PERSON,
    },
    S.ERROR: {
        E.RETRIED_DEFACE: S.TO_DEFACE,
        E.RETRIED_RENDER: S.TO_RENDER,
        E.RETRIED_CLASSIFY: S.TO_CLASSIFY,
        E.WITHDRAWN: S.WITHDRAWN,
    },
    S.NEEDS_PERSON: {
        E.JUDGED_PASS: S.PASSED,
        E.JUDGED_FAIL: S.FAILED,
        E.REDEFACE_ORDERED: S.FAILED,
        E.WITHDRAWN: S.WITHDRAWN,
        E.UNDONE_TO_VERIFY: S.VERIFY,
        E.UNDONE_TO_REFER: S.REFER,
        E.UNDONE_TO_NEEDS_PERSON: S.NEEDS_PERSON,
    },
    S.WITHDRAWN: {},
}


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, Event)))
def test_every_pair(status, event):
    expected = EXPECTED[status].get(event)
    if expected is None:
        with pytest.raises(IllegalTransition, match=event.value):
            after(status, event)
    else:
        assert after(status, event) is expected


def test_only_a_persons_pass_leads_to_passed():
    assert {event for (_, event), target in TRANSITIONS.items() if target is S.PASSED} == {E.JUDGED_PASS}


def test_no_station_is_a_dead_end_but_the_final_ones():
    stuck = set(Status) - {status for status, _ in TRANSITIONS}
    assert stuck == {S.WITHDRAWN}


def test_every_station_has_words_and_one_place():
    assert all(status.label for status in Status)
    assert not WORKING & UNDECIDED
