"""A queue that nobody can be given anything of raises an alarm that says which, how many and what to do."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from reviews import actions
from reviews.alarms import alarms, doubted_by_all
from reviews.models import Attempt, Dataset, Membership, Mode
from reviews.states import Status
from tests.conftest import judge

pytestmark = pytest.mark.django_db


@pytest.fixture
def team(cast):
    """A team of the colleague alone."""
    made = Group.objects.create(name="readers")
    cast.colleague.groups.add(made)
    return made


def deactivate(*users):
    get_user_model().objects.filter(pk__in=[user.pk for user in users]).update(is_active=False)


def unserved(mode) -> bool:
    """The query's answer, held against the rule that the queues themselves follow."""
    answer = Dataset.objects.served_by_nobody(mode).exists()
    users = get_user_model().objects.filter(is_active=True)
    assert answer == (not any(Dataset.objects.open_to(user, mode).exists() for user in users))
    return answer


def said(user, dataset) -> list[str]:
    return [f"{alarm.count} {alarm.words}" for alarm in alarms(user, [dataset])]


def test_a_queue_of_somebody_inactive(make, cast, dataset):
    make(Status.VERIFY), make(Status.VERIFY), make(Status.REFER)
    actions.assign(actor=cast.owner, dataset=dataset, mode=Mode.VERIFY, user=cast.reviewer)
    assert not unserved(Mode.VERIFY)
    assert said(cast.manager, dataset) == []
    deactivate(cast.reviewer)
    assert unserved(Mode.VERIFY)
    assert not unserved(Mode.VISUAL)
    assert said(cast.manager, dataset) == [
        "2 wait in the queue 'Verification', but that queue is given only to reviewer (is not active): "
        "assign it anew, or end the assignment"
    ]


def test_it_is_shown_on_home_with_a_way_to_mend_it(make, cast, dataset):
    make(Status.REFER)
    actions.assign(actor=cast.owner, dataset=dataset, mode=Mode.VISUAL, user=cast.stranger)
    client = Client()
    client.force_login(cast.manager)
    home = client.get("/").content.decode()
    assert (
        f'<a href="{reverse("dataset", args=[dataset.slug])}">1 scan in Trial</a> waits in the queue' in home
    )
    assert "stranger (is no reviewer here)" in home
    assert client.get(reverse("dataset", args=[dataset.slug])).status_code == 200
    client.force_login(cast.reviewer)
    assert "waits in the queue" not in client.get("/").content.decode()


def test_a_team_counts_by_who_is_in_it(make, cast, dataset, team):
    make(Status.REFER)
    actions.assign(actor=cast.owner, dataset=dataset, mode=Mode.VISUAL, team=team)
    assert not unserved(Mode.VISUAL)
    actions.revoke(actor=cast.owner, dataset=dataset, user=cast.colleague)
    assert unserved(Mode.VISUAL)
    assert "team readers (no active reviewer in it)" in said(cast.manager, dataset)[0]
    actions.assign(actor=cast.owner, dataset=dataset, mode=Mode.VISUAL, user=cast.reviewer)
    assert not unserved(Mode.VISUAL)
    assert said(cast.manager, dataset) == []


def test_nobody_left_at_all_and_nothing_waiting(make, cast, dataset):
    deactivate(cast.root, cast.owner, cast.reviewer, cast.colleague)
    assert not unserved(Mode.VISUAL)
    Membership.objects.filter(user=cast.manager).delete()
    assert unserved(Mode.VISUAL)
    get_user_model().objects.filter(pk=cast.root.pk).update(is_active=True)
    assert not unserved(Mode.VISUAL)  # who administers the site may work on every open queue
    actions.assign(actor=None, dataset=dataset, mode=Mode.VISUAL, user=cast.reviewer)
    assert unserved(Mode.VISUAL)
    assert said(cast.root, dataset) == []  # an empty queue is nobody's trouble
    make(Status.REFER)
    assert len(said(cast.root, dataset)) == 1


def test_doubted_by_the_only_one_who_is_given_it(make, cast, dataset):
    attempt = make(Status.REFER)
    actions.assign(actor=cast.owner, dataset=dataset, mode=Mode.VISUAL, user=cast.reviewer)
    judge(cast.reviewer, attempt, "unsure", mode=Mode.VISUAL)
    assert list(doubted_by_all(Attempt.objects.all())) == [attempt]
    actions.assign(actor=cast.owner, dataset=dataset, mode=Mode.VISUAL, user=cast.colleague)
    assert not doubted_by_all(Attempt.objects.all()).exists()
