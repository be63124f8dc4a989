"""A person's verdict: what it changes, and what it must not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from reviews import actions
from reviews.models import AuditEvent, Lease, Mode, Verdict
from reviews.states import Status
from tests.conftest import bring, classify, judge, now

pytestmark = pytest.mark.django_db


def test_a_verified_pass_is_passed_and_names_its_versions(make, cast, model):
    attempt = make()
    lease_since(cast.reviewer, [attempt], 3)
    verdict = judge(cast.reviewer, attempt, active_ms=900, exposure_ms=1500)
    assert now(attempt).status == Status.PASSED
    assert verdict.model_version == model
    assert verdict.threshold_set.active
    assert (verdict.active_ms, verdict.exposure_ms, verdict.status_before) == (900, 1500, "verify")
    event = AuditEvent.objects.latest("seq")
    assert (event.action, event.actor) == ("judged_pass", f"user:{cast.reviewer.pk}")
    assert event.before == {"status": "verify"}
    assert not Lease.objects.filter(attempt=attempt).exists()


def test_the_model_alone_never_passes(make, model):
    attempt = make(Status.TO_CLASSIFY)
    classify(attempt, model, {"pass": 1.0, "face": 0.0, "brain": 0.0, "both": 0.0})
    assert now(attempt).status == Status.VERIFY


@pytest.mark.parametrize(
    ("klass", "plan"), [("face", "larger"), ("brain", "smaller"), ("both", "register_anew")]
)
def test_a_failure_gets_the_attempt_that_fits_it(
    make, cast, klass, plan, enqueued, django_capture_on_commit_callbacks
):
    attempt = make()
    with django_capture_on_commit_callbacks(execute=True):
        judge(cast.reviewer, attempt, klass, reasons=["eyes"])
    assert now(attempt).status == Status.FAILED
    following = attempt.scan.attempts.get(number=2)
    assert (following.status, following.plan, following.engine) == ("to_deface", plan, "niimath")
    assert enqueued == [("reviews.jobs.deface_attempt", following.pk)]


def test_the_same_plan_is_not_tried_twice_and_then_a_person_is_asked(make, cast, model):
    attempt, plans = make(), []
    for _ in range(4):
        judge(cast.reviewer, attempt, "face")
        following = attempt.scan.attempts.filter(number=attempt.number + 1).first()
        if following is None:
            break
        plans.append(following.plan)
        attempt = bring(following, Status.VERIFY, model)
    assert plans == ["larger", "largest", "register_anew"]
    assert now(attempt).status == Status.NEEDS_PERSON


def test_without_an_original_a_failure_needs_a_person(make, cast):
    attempt = make(original=False)
    judge(cast.reviewer, attempt, "face")
    assert now(attempt).status == Status.NEEDS_PERSON
    assert attempt.scan.attempts.count() == 1


def test_a_replay_counts_once(make, cast):
    attempt = make()
    first = judge(cast.reviewer, attempt, "face", nonce="n1")
    again = judge(cast.reviewer, attempt, "face", nonce="n1", lease=False)
    assert first == again
    assert Verdict.objects.count() == 1
    assert attempt.scan.attempts.count() == 2


def test_a_nonce_cannot_be_used_for_another_scan(make, cast):
    one, two = make(), make()
    judge(cast.reviewer, one, nonce="n1")
    with pytest.raises(actions.Refused, match="nonce"):
        judge(cast.reviewer, two, nonce="n1")
    assert now(two).status == Status.VERIFY


def test_without_a_lease_nothing_is_decided(make, cast):
    attempt = make()
    with pytest.raises(actions.NotLeased):
        judge(cast.reviewer, attempt, lease=False)
    assert now(attempt).status == Status.VERIFY
    assert not Verdict.objects.exists()


def test_a_stranger_decides_nothing(make, cast, dataset):
    attempt = make()
    Lease.objects.create(attempt=attempt, user=cast.stranger, mode="verify", until="2100-01-01T00:00Z")
    for person in (cast.stranger, cast.pipeline):
        with pytest.raises(actions.NotAllowed):
            judge(person, attempt, lease=False, nonce="n")
    assert now(attempt).status == Status.VERIFY


def test_the_loser_of_a_race_is_told(make, cast):
    attempt = make()
    judge(cast.reviewer, attempt)
    Lease.objects.create(attempt=attempt, user=cast.colleague, mode="verify", until="2100-01-01T00:00Z")
    with pytest.raises(actions.StaleState, match="passed") as caught:
        judge(cast.colleague, attempt, "face", lease=False)
    assert caught.value.status == Status.PASSED
    assert Verdict.objects.count() == 1


def test_too_early_is_refused_with_what_is_left(make, cast, dataset):
    attempt = make()
    actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=2)
    with pytest.raises(actions.TooEarly) as caught:
        judge(cast.reviewer, attempt, exposure_ms=500)
    assert 1400 <= caught.value.remaining_ms <= 2000
    assert now(attempt).status == Status.VERIFY


def test_the_browsers_word_on_exposure_is_bounded_by_the_lease(make, cast, dataset):
    attempt = make()
    actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=2)
    with pytest.raises(actions.TooEarly):
        judge(cast.reviewer, attempt, exposure_ms=60_000)


def lease_since(user, attempts, seconds):
    """The attempts lent to the person that long ago."""
    for attempt in attempts:
        actions.lease_one(actor=user, attempt_id=attempt.pk, mode=Mode.VERIFY)
    Lease.objects.update(granted_at=timezone.now() - timedelta(seconds=seconds))


def press_of(attempts, exposure_ms=2000):
    return [
        actions.Judgement(attempt_id=attempt.pk, klass="pass", nonce=f"press-{at}", exposure_ms=exposure_ms)
        for at, attempt in enumerate(attempts)
    ]


def test_scans_passed_by_one_press_share_the_time_they_were_held(make, cast, dataset):
    page = [make() for _ in range(4)]
    actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=2)
    lease_since(cast.reviewer, page, 5)
    outcomes = actions.accept_page(actor=cast.reviewer, items=press_of(page))
    assert [outcome.code for outcome in outcomes] == ["saved", "saved", "too_early", "too_early"]
    Lease.objects.update(granted_at=timezone.now() - timedelta(seconds=9))
    again = actions.accept_page(actor=cast.reviewer, items=press_of(page))
    assert [outcome.code for outcome in again] == ["saved"] * 4


def test_pages_that_arrive_together_share_the_time_they_were_held(make, cast, dataset):
    """Verdicts kept while the connection was away arrive together; each page has its own press."""
    first, second = [make(), make()], [make(), make()]
    actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=2)
    lease_since(cast.reviewer, first + second, 9)
    late = [replace(item, nonce=f"later-{at}") for at, item in enumerate(press_of(second))]
    outcomes = actions.accept_page(actor=cast.reviewer, items=press_of(first) + late)
    assert {outcome.code for outcome in outcomes} == {"saved"}


def test_a_failure_may_be_marked_at_once(make, cast, dataset):
    attempt = make()
    actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=2)
    judge(cast.reviewer, attempt, "face", exposure_ms=100)
    assert now(attempt).status == Status.FAILED


def test_a_referred_scan_is_not_passed_by_the_fast_way(make, cast):
    attempt = make(Status.REFER)
    with pytest.raises(actions.StaleState):
        judge(cast.reviewer, attempt, mode=Mode.VERIFY)
    judge(cast.reviewer, attempt, mode=Mode.VISUAL)
    assert now(attempt).status == Status.PASSED


@pytest.mark.parametrize(
    "status", [s for s in Status if s not in (Status.VERIFY, Status.REFER, Status.NEEDS_PERSON)]
)
def test_nothing_else_can_be_judged(make, cast, status):
    if status is Status.PASSED:
        attempt = make()
        judge(cast.colleague, attempt)
    elif status is Status.WITHDRAWN:
        attempt = make(Status.ERROR)
        actions.withdraw(actor=cast.manager, attempt_id=attempt.pk)
    else:
        attempt = make(status)
    Lease.objects.create(attempt=attempt, user=cast.reviewer, mode="verify", until="2100-01-01T00:00Z")
    with pytest.raises(actions.StaleState):
        judge(cast.reviewer, attempt, lease=False)
    assert now(attempt).status == status


def test_a_page_saves_each_item_by_itself(make, cast, dataset):
    good, bad, gone, other = make(), make(), make(), make()
    actions.lease_batch(actor=cast.reviewer, dataset=dataset, mode="verify", count=3)
    actions.lease_one(actor=cast.colleague, attempt_id=other.pk, mode="verify")
    actions.save_thresholds(actor=None, policy=type(actions.active_thresholds().cutoffs)(0.999, 0.95, 0.8))
    items = [
        actions.Judgement(good.pk, "pass", "a"),
        actions.Judgement(bad.pk, "face", "b"),
        actions.Judgement(other.pk, "pass", "c"),
        actions.Judgement(gone.pk, "unsure", "d"),
        actions.Judgement(good.pk, "nonsense", "e"),
    ]
    outcomes = actions.accept_page(actor=cast.reviewer, items=items)
    assert [outcome.code for outcome in outcomes] == ["saved", "saved", "not_leased", "saved", "refused"]
    assert [now(a).status for a in (good, bad, other, gone)] == ["passed", "failed", "verify", "refer"]
    again = actions.accept_page(actor=cast.reviewer, items=items[:2])
    assert [outcome.verdict_id for outcome in again] == [outcome.verdict_id for outcome in outcomes[:2]]


def test_unsure_goes_to_somebody_else(make, cast, dataset):
    attempt = make()
    actions.lease_batch(actor=cast.reviewer, dataset=dataset, mode="verify", count=1)
    actions.refer(actor=cast.reviewer, attempt_id=attempt.pk, nonce="u")
    assert now(attempt).status == Status.REFER
    assert actions.lease_batch(actor=cast.reviewer, dataset=dataset, mode="visual", count=5) == []
    assert actions.lease_batch(actor=cast.colleague, dataset=dataset, mode="visual", count=5) == [attempt]


def test_the_trail_holds_no_note(make, cast):
    judge(cast.reviewer, make(), "face", note="looks like Mr Example")
    assert not any("Example" in str([event.before, event.after]) for event in AuditEvent.objects.all())
