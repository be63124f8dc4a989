"""Who may do and see what; each list is the whole of it."""

import pytest

from reviews import actions
from reviews.models import Attempt, AuditEvent, Dataset, Membership, Mode, Role, Scan
from reviews.states import Status
from tests.conftest import bring, judge, now

pytestmark = pytest.mark.django_db
EVERYBODY = ("owner", "manager", "reviewer", "pipeline", "auditor", "stranger", "root")


def who(cast, work):
    """Names of those who are not refused."""
    allowed = set()
    for name in EVERYBODY:
        try:
            work(getattr(cast, name))
        except actions.NotAllowed:
            continue
        except actions.Refused:
            pass
        allowed.add(name)
    return allowed


def test_seeing(make, cast, dataset):
    make()
    for name in EVERYBODY:
        person = getattr(cast, name)
        seen = [
            manager.visible_to(person).count() for manager in (Attempt.objects, Scan.objects, Dataset.objects)
        ]
        only_judges = [0, 0, 1] if name in ("reviewer", "colleague") else [1, 1, 1]
        assert seen == ([0, 0, 0] if name == "stranger" else only_judges)


def test_queues(make, cast, dataset):
    open_to = {n for n in EVERYBODY if dataset in Dataset.objects.open_to(getattr(cast, n), Mode.VERIFY)}
    assert open_to == {"owner", "manager", "reviewer", "root"}
    managed = {n for n in EVERYBODY if dataset in Dataset.objects.managed_by(getattr(cast, n))}
    assert managed == {"owner", "manager", "root"}


def test_managing(make, cast):
    broken, stuck = make(Status.ERROR), make(Status.NEEDS_PERSON)
    managers = {"owner", "manager", "root"}
    assert (
        who(cast, lambda p: actions.order_redeface(actor=p, attempt_id=stuck.pk, plan="largest")) == managers
    )
    assert who(cast, lambda p: actions.retry(actor=p, attempt_id=broken.pk)) == managers
    assert who(cast, lambda p: actions.withdraw(actor=p, attempt_id=stuck.pk)) == managers
    assert (
        who(cast, lambda p: actions.declare_known_case(actor=p, attempt_id=stuck.pk, truth="face"))
        == managers
    )


def test_administering(cast, dataset, make):
    admins = {"owner", "root"}
    assert (
        who(cast, lambda p: actions.configure_dataset(actor=p, dataset=dataset, lease_seconds=60)) == admins
    )
    assert (
        who(cast, lambda p: actions.grant(actor=p, dataset=dataset, user=cast.colleague, role="reviewer"))
        == admins
    )
    assert who(cast, lambda p: actions.revoke(actor=p, dataset=dataset, user=cast.colleague)) == admins
    assert not Membership.objects.filter(user=cast.colleague).exists()


def test_who_loses_the_role_loses_the_leases(make, cast, dataset):
    attempt = make()
    actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode=Mode.VERIFY)
    actions.revoke(actor=cast.owner, dataset=dataset, user=cast.reviewer)
    assert actions.lease_batch(actor=cast.colleague, dataset=dataset, mode=Mode.VERIFY, count=1) == [attempt]
    with pytest.raises(actions.NotAllowed):
        judge(cast.reviewer, attempt, lease=False)
    assert now(attempt).status == Status.VERIFY


def test_a_redefacing_can_be_ordered_by_hand(make, cast):
    stuck = make(Status.NEEDS_PERSON)
    new = actions.order_redeface(actor=cast.manager, attempt_id=stuck.pk, plan="largest")
    assert (new.number, new.plan, new.status) == (2, "largest", Status.TO_DEFACE)
    assert now(stuck).status == Status.FAILED
    alone = make(original=False)
    judge(cast.reviewer, alone, "face")
    with pytest.raises(actions.Refused, match="No original"):
        actions.order_redeface(actor=cast.manager, attempt_id=alone.pk)


@pytest.mark.parametrize("broken", [True, False])
def test_a_failure_whose_next_attempt_is_withdrawn_needs_a_person(make, cast, broken):
    first = make()
    judge(cast.reviewer, first, "face")
    second = first.scan.attempts.get(number=2)
    if broken:
        actions.report_error(actor=None, attempt=second, code="broken", text="it broke")
    actions.withdraw(actor=cast.manager, attempt_id=second.pk)
    assert [now(first).status, now(second).status] == [Status.NEEDS_PERSON, Status.WITHDRAWN]
    events = AuditEvent.objects.order_by("-seq")[:2]
    assert [(e.action, e.object_id) for e in events] == [("exhausted", first.pk), ("withdrawn", second.pk)]
    third = actions.order_redeface(actor=cast.manager, attempt_id=first.pk, plan="smaller")
    assert (third.number, now(first).status) == (3, Status.FAILED)


def test_withdrawing_what_a_person_was_asked_about_leaves_earlier_failures(make, cast, dataset, model):
    first = make()
    judge(cast.reviewer, first, "face")
    Dataset.objects.filter(pk=dataset.pk).update(max_attempts=2)
    second = bring(first.scan.attempts.get(number=2), Status.VERIFY, model)
    judge(cast.reviewer, second, "face")
    assert now(second).status == Status.NEEDS_PERSON
    actions.withdraw(actor=cast.manager, attempt_id=second.pk)
    assert [now(first).status, now(second).status] == [Status.FAILED, Status.WITHDRAWN]


def test_settings_are_checked_and_in_the_trail(cast, dataset):
    for wrong in ({"lease_seconds": 1}, {"known_share": 0.9}, {"min_exposure_seconds": -1}, {"slug": "x"}):
        with pytest.raises(actions.Refused):
            actions.configure_dataset(actor=cast.owner, dataset=dataset, **wrong)
    actions.configure_dataset(actor=cast.owner, dataset=dataset, ears_required=True)
    event = AuditEvent.objects.get(action="dataset_configured")
    assert (event.before["ears_required"], event.after["ears_required"]) == (False, True)
    with pytest.raises(actions.Refused):
        actions.create_dataset(actor=cast.owner, slug="trial")
    assert Membership.objects.get(user=cast.owner).role == Role.ADMIN
