"""Scans that every reviewer doubted are named on Home and can be listed."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from reviews import alarms
from reviews.models import Attempt, Membership, Referral, Verdict
from reviews.states import Status

pytestmark = pytest.mark.django_db


def doubt(attempt, user):
    verdict = Verdict.objects.create(
        attempt=attempt, user=user, mode="visual", kind="unsure", nonce=f"{attempt.pk}-{user.pk}"
    )
    Referral.objects.create(attempt=attempt, user=user, verdict=verdict)


def reviewing(dataset):
    rows = Membership.objects.filter(dataset=dataset, role__in=alarms.REVIEWING)
    return list(get_user_model().objects.filter(pk__in=rows.values("user")))


def test_only_what_every_reviewer_doubted_raises_the_alarm(cast, make, dataset):
    lost, _untouched = make(Status.REFER), make(Status.REFER)
    people = reviewing(dataset)
    assert len(people) > 1
    for user in people[:-1]:
        doubt(lost, user)
    assert not alarms.doubted_by_all(Attempt.objects.all()).exists()
    doubt(lost, people[-1])
    assert list(alarms.doubted_by_all(Attempt.objects.all())) == [lost]
    client = Client()
    client.force_login(cast.manager)
    address = f"/scans/?dataset={dataset.slug}&amp;doubted=on"
    assert address in client.get("/").content.decode()
    listed = client.get("/scans/", {"dataset": dataset.slug, "doubted": "on"})
    assert [row["attempt"] for row in listed.context["rows"]] == [lost]
    client.force_login(cast.reviewer)
    assert address not in client.get("/").content.decode()
