"""Undo: back to where it was while nothing irreversible followed, with both rows kept."""

import pytest

from reviews import actions
from reviews.models import AuditEvent, Verdict
from reviews.states import Status
from tests.conftest import bring, deface, judge, now

pytestmark = pytest.mark.django_db


def undo(user, verdict, nonce="undo"):
    return actions.undo_verdict(actor=user, verdict_id=verdict.pk, nonce=nonce)


def test_a_pass_is_taken_back_and_can_be_judged_again(make, cast):
    attempt = make()
    verdict = judge(cast.reviewer, attempt)
    row = undo(cast.reviewer, verdict)
    assert now(attempt).status == Status.VERIFY
    assert (row.kind, row.retracts) == ("retraction", verdict)
    assert Verdict.objects.count() == 2
    assert AuditEvent.objects.latest("seq").action == "undone_to_verify"
    judge(cast.reviewer, attempt, "face", lease=False, nonce="second")
    assert now(attempt).status == Status.FAILED


def test_a_failure_withdraws_the_attempt_that_has_not_begun(make, cast):
    attempt = make(Status.REFER)
    verdict = judge(cast.reviewer, attempt, "face", mode="visual")
    undo(cast.reviewer, verdict)
    assert now(attempt).status == Status.REFER
    assert attempt.scan.attempts.get(number=2).status == Status.WITHDRAWN
    judge(cast.reviewer, attempt, "brain", mode="visual", lease=False, nonce="second")
    assert [a.plan for a in attempt.scan.attempts.order_by("number")] == ["standard", "larger", "smaller"]


def test_what_the_next_attempt_has_begun_stays(make, cast):
    attempt = make()
    verdict = judge(cast.reviewer, attempt, "face")
    following = attempt.scan.attempts.get(number=2)
    actions.claim(following.pk, Status.TO_DEFACE, worker="w")
    with pytest.raises(actions.Refused, match="already been started"):
        undo(cast.reviewer, verdict)
    following.refresh_from_db()
    deface(following)
    with pytest.raises(actions.Refused, match="already been started"):
        undo(cast.reviewer, verdict, "again")
    assert now(attempt).status == Status.FAILED
    assert Verdict.objects.count() == 1


def test_needs_a_person_comes_back_too(make, cast):
    attempt = make(original=False)
    verdict = judge(cast.reviewer, attempt, "face")
    undo(cast.reviewer, verdict)
    assert now(attempt).status == Status.VERIFY


def test_a_doubt_is_taken_back(make, cast, dataset):
    attempt = make()
    actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode="verify")
    doubt = actions.refer(actor=cast.reviewer, attempt_id=attempt.pk, nonce="u")
    undo(cast.reviewer, doubt)
    assert now(attempt).status == Status.VERIFY
    assert actions.lease_batch(actor=cast.reviewer, dataset=dataset, mode="verify", count=1) == [attempt]


def test_only_once_and_a_replay_counts_once(make, cast):
    verdict = judge(cast.reviewer, make())
    first = undo(cast.reviewer, verdict)
    assert undo(cast.reviewer, verdict) == first
    with pytest.raises(actions.Refused, match="already taken back"):
        undo(cast.reviewer, verdict, "other")


def test_nobody_takes_back_what_another_said(make, cast):
    attempt = make()
    verdict = judge(cast.reviewer, attempt)
    for person in (cast.colleague, cast.stranger, cast.owner):
        with pytest.raises(actions.Refused, match="not a verdict of yours"):
            undo(person, verdict, person.username)
    assert now(attempt).status == Status.PASSED


def test_what_somebody_judged_since_stays(make, cast):
    attempt = make()
    actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode="verify")
    doubt = actions.refer(actor=cast.reviewer, attempt_id=attempt.pk, nonce="u")
    judge(cast.colleague, attempt, mode="visual")
    with pytest.raises(actions.Refused, match="since"):
        undo(cast.reviewer, doubt)
    assert now(attempt).status == Status.PASSED


def test_what_another_person_holds_now_stays(make, cast, dataset):
    attempt = make()
    actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode="verify")
    doubt = actions.refer(actor=cast.reviewer, attempt_id=attempt.pk, nonce="u")
    actions.lease_one(actor=cast.colleague, attempt_id=attempt.pk)
    with pytest.raises(actions.Refused, match="Somebody else is judging"):
        undo(cast.reviewer, doubt)
    assert now(attempt).status == Status.REFER
    assert list(Verdict.objects.all()) == [doubt]
    assert attempt.referrals.filter(user=cast.reviewer).exists()
    actions.release_leases(actor=cast.colleague)
    undo(cast.reviewer, doubt)
    assert now(attempt).status == Status.VERIFY


def test_the_list_survives_a_reload(make, cast, dataset):
    one, two = judge(cast.reviewer, make()), judge(cast.reviewer, make(), "face")
    judge(cast.colleague, make())
    undo(cast.reviewer, one)
    assert actions.undoable(actor=cast.reviewer, dataset=dataset) == [two]


def test_the_scan_is_reserved_again(make, cast, dataset, model):
    attempt = bring(make(Status.TO_RENDER), Status.VERIFY, model)
    undo(cast.reviewer, judge(cast.reviewer, attempt))
    assert actions.lease_batch(actor=cast.colleague, dataset=dataset, mode="verify", count=5) == []
