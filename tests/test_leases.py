"""Leases: nobody is served what another person holds, and nothing is lost when a lease ends."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from reviews import actions
from reviews.models import Attempt, Lease, Mode
from reviews.states import Status
from tests.conftest import judge, now

pytestmark = pytest.mark.django_db


def batch(user, dataset, count=12, mode=Mode.VERIFY, exclude=()):
    return actions.lease_batch(actor=user, dataset=dataset, mode=mode, count=count, exclude=exclude)


def expire(attempt):
    Lease.objects.filter(attempt=attempt).update(until=timezone.now() - timedelta(seconds=1))


def test_two_people_never_get_the_same(make, cast, dataset):
    made = {make().pk for _ in range(5)}
    mine = {attempt.pk for attempt in batch(cast.reviewer, dataset, 3)}
    theirs = {attempt.pk for attempt in batch(cast.colleague, dataset, 12)}
    assert len(mine) == 3
    assert mine | theirs == made
    assert not mine & theirs


def test_a_reload_shows_the_same_page_and_prefetch_the_next(make, cast, dataset):
    for _ in range(6):
        make()
    page = [attempt.pk for attempt in batch(cast.reviewer, dataset, 3)]
    assert [attempt.pk for attempt in batch(cast.reviewer, dataset, 3)] == page
    following = [attempt.pk for attempt in batch(cast.reviewer, dataset, 3, exclude=page)]
    assert len(following) == 3
    assert not set(page) & set(following)


def test_the_most_confident_come_first(make, cast, dataset):
    made = [make() for _ in range(3)]
    for attempt, confidence in zip(made, (0.96, 0.999, 0.97), strict=True):
        Attempt.objects.filter(pk=attempt.pk).update(confidence=confidence)
    assert [attempt.pk for attempt in batch(cast.reviewer, dataset)] == [made[1].pk, made[2].pk, made[0].pk]


def test_an_expired_lease_passes_on_and_its_old_holder_is_told(make, cast, dataset):
    attempt = make()
    batch(cast.reviewer, dataset)
    expire(attempt)
    assert batch(cast.colleague, dataset) == [attempt]
    with pytest.raises(actions.NotLeased):
        judge(cast.reviewer, attempt, lease=False)
    assert actions.renew_leases(actor=cast.reviewer, attempt_ids=[attempt.pk]) == set()
    judge(cast.colleague, attempt, lease=False)
    assert now(attempt).status == Status.PASSED


def test_an_expired_lease_that_nobody_took_still_counts(make, cast, dataset):
    attempt = make()
    batch(cast.reviewer, dataset)
    expire(attempt)
    judge(cast.reviewer, attempt, lease=False)
    assert now(attempt).status == Status.PASSED


def test_renew_and_release(make, cast, dataset):
    attempt = make()
    batch(cast.reviewer, dataset)
    before = Lease.objects.get().until
    assert actions.renew_leases(actor=cast.reviewer, attempt_ids=[attempt.pk, 999]) == {attempt.pk}
    assert Lease.objects.get().until > before
    assert actions.release_leases(actor=cast.colleague) == 0
    assert actions.release_leases(actor=cast.reviewer) == 1
    assert batch(cast.colleague, dataset) == [attempt]


def test_only_reviewers_are_served(make, cast, dataset):
    make()
    for person in (cast.stranger, cast.pipeline):
        with pytest.raises(actions.NotAllowed):
            batch(person, dataset)
    assert not Lease.objects.exists()


def test_one_chosen_scan_is_refused_while_another_holds_it(make, cast, dataset):
    attempt = make(Status.REFER)
    actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk)
    with pytest.raises(actions.NotLeased):
        actions.lease_one(actor=cast.colleague, attempt_id=attempt.pk)
    with pytest.raises(actions.NotAllowed):
        actions.lease_one(actor=cast.stranger, attempt_id=attempt.pk)


def test_an_assigned_queue_is_for_the_assigned_alone(make, cast, dataset):
    attempt = make()
    team = Group.objects.create(name="night shift")
    cast.colleague.groups.add(team)
    assignment = actions.assign(actor=cast.manager, dataset=dataset, mode=Mode.VERIFY, team=team)
    assert batch(cast.reviewer, dataset) == []
    assert batch(cast.colleague, dataset) == [attempt]
    actions.release_leases(actor=cast.colleague)
    with pytest.raises(actions.NotAllowed):
        actions.unassign(actor=cast.reviewer, assignment=assignment)
    actions.unassign(actor=cast.manager, assignment=assignment)
    assert batch(cast.reviewer, dataset) == [attempt]


def test_a_chosen_scan_of_an_assigned_queue_is_for_the_assigned_alone(make, cast, dataset):
    attempt = make(Status.REFER)
    actions.assign(actor=cast.manager, dataset=dataset, mode=Mode.VISUAL, user=cast.reviewer)
    with pytest.raises(actions.NotAllowed):
        actions.lease_one(actor=cast.colleague, attempt_id=attempt.pk)
    assert not Lease.objects.exists()
    for person in (cast.reviewer, cast.manager):
        assert actions.lease_one(actor=person, attempt_id=attempt.pk) == attempt
        actions.release_leases(actor=person)


def test_the_page_of_one_scan_gives_nothing_of_an_assigned_queue(client, make, cast, dataset):
    attempt = make(Status.REFER)
    judge(cast.colleague, attempt, "unsure", mode=Mode.VISUAL)  # may look it up from now on
    actions.assign(actor=cast.manager, dataset=dataset, mode=Mode.VISUAL, user=cast.reviewer)
    client.force_login(cast.colleague)
    answer = client.post(reverse("review-one", args=[attempt.pk]), "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_allowed")
    assert not Lease.objects.exists()


def test_a_scan_lent_for_verification_is_not_passed_as_visual_qc(make, cast, dataset):
    attempt = make()
    actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=2)
    batch(cast.reviewer, dataset)
    with pytest.raises(actions.NotLeased):
        judge(cast.reviewer, attempt, mode=Mode.VISUAL, lease=False)
    assert now(attempt).status == Status.VERIFY
    with pytest.raises(actions.NotAllowed):
        actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk)
    with pytest.raises(actions.NotLeased):
        judge(cast.reviewer, attempt, mode=Mode.VISUAL, lease=False)


def test_visual_qc_serves_its_own_queue(make, cast, dataset):
    verify, refer = make(), make(Status.REFER)
    assert batch(cast.reviewer, dataset, mode=Mode.VISUAL) == [refer]
    assert batch(cast.reviewer, dataset, mode=Mode.VERIFY) == [verify]
