"""API keys: only for roles with a use for them, for a limited time, of limited number, counted exactly."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from reviews import actions
from reviews.actions import keys
from reviews.models import ApiToken, AuditEvent, Membership, Role
from tests.conftest import judge

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/datasets/trial/scans"


def key_of(user, **rest) -> dict:
    raw = actions.issue_token(actor=user, user=user, name="test", **rest)
    return {"Authorization": f"Bearer {raw}"}


def code(client, headers) -> int:
    return client.get(ADDRESS, headers=headers).status_code


def test_only_roles_with_a_use_for_keys_have_them(client, cast, dataset):
    allowed = set()
    for name in ("owner", "manager", "reviewer", "pipeline", "auditor", "stranger", "root"):
        person = getattr(cast, name)
        client.force_login(person)
        answer = client.post(reverse("token-new"), {"name": "k", "days": "30"})
        assert answer.status_code == (200 if ApiToken.objects.filter(user=person).exists() else 403)
        if answer.status_code == 200:
            allowed.add(name)
        shown = "Make a key" in client.get(reverse("account")).content.decode()
        assert shown == (answer.status_code == 200), name
    assert allowed == {"owner", "pipeline", "auditor", "root"}
    with pytest.raises(actions.NotAllowed):
        key_of(cast.reviewer)


def test_an_auditors_key_reads_and_hands_nothing_in(client, cast, dataset, make):
    attempt, headers = make(), key_of(cast.auditor)
    judge(cast.reviewer, attempt)
    assert client.get(f"/api/v1/scans/{attempt.scan_id}", headers=headers).json()["passed"] is True
    body = {"dataset": "trial", "path": "/x"}
    answer = client.post("/api/v1/scans", body, content_type="application/json", headers=headers)
    assert answer.status_code == 403


def test_a_key_reaches_only_where_the_role_calls(client, cast, dataset, make):
    attempt = make()
    actions.create_dataset(actor=cast.reviewer, slug="own")  # there the reviewer administers
    headers = key_of(cast.reviewer)
    assert client.get("/api/v1/datasets/own/scans", headers=headers).status_code == 200
    for address in (ADDRESS, f"/api/v1/scans/{attempt.scan_id}", f"/api/v1/attempts/{attempt.pk}"):
        assert client.get(address, headers=headers).status_code == 404


def test_a_key_ends_by_itself(client, cast, dataset):
    headers = key_of(cast.pipeline)
    token = ApiToken.objects.get()
    left = token.expires_at - timezone.now()
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert code(client, headers) == 200
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert code(client, headers) == 401


@pytest.mark.parametrize(("days", "made"), [(1, True), (365, True), (0, False), (366, False), (-5, False)])
def test_how_long_a_key_lasts_is_chosen_up_to_a_limit(cast, dataset, days, made):
    if made:
        key_of(cast.pipeline, days=days)
        assert ApiToken.objects.get().expires_at - timezone.now() > timedelta(days=days - 1)
        return
    with pytest.raises(actions.Refused, match="from 1 to 365 days"):
        key_of(cast.pipeline, days=days)
    assert not ApiToken.objects.exists()


def test_a_key_that_ends_soon_is_told_before(client, cast, dataset):
    client.force_login(cast.pipeline)
    key_of(cast.pipeline, days=15)
    for name in ("home", "account"):
        page = client.get(reverse(name)).content.decode()
        assert "ends on" not in page
        assert "soon</span>" not in page
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=13))
    assert "ends on" in client.get(reverse("home")).content.decode()
    assert "soon</span>" in client.get(reverse("account")).content.decode()


def test_a_person_has_a_limited_number_of_keys(client, cast, dataset):
    for _ in range(keys.MOST_KEYS):
        key_of(cast.pipeline)
    with pytest.raises(actions.Refused, match="end one first"):
        key_of(cast.pipeline)
    client.force_login(cast.pipeline)
    assert "end one first" in client.post(reverse("token-new"), {"name": "k"}, follow=True).content.decode()
    actions.revoke_token(actor=cast.pipeline, token=ApiToken.objects.first())
    key_of(cast.pipeline)


@pytest.mark.parametrize("how", ["revoked", "other role", "closed", "row gone"])
def test_a_key_stops_at_once_and_does_not_come_back(client, cast, dataset, how):
    headers = key_of(cast.pipeline)
    assert code(client, headers) == 200
    if how == "revoked":
        actions.revoke(actor=cast.owner, dataset=dataset, user=cast.pipeline)
    elif how == "other role":
        actions.grant(actor=cast.owner, dataset=dataset, user=cast.pipeline, role=Role.REVIEWER)
    elif how == "closed":
        cast.pipeline.is_active = False
        cast.pipeline.save()
    else:
        Membership.objects.filter(user=cast.pipeline).delete()
    assert code(client, headers) == 401
    if how == "row gone":
        return
    cast.pipeline.is_active = True
    cast.pipeline.save()
    actions.grant(actor=cast.owner, dataset=dataset, user=cast.pipeline, role=Role.PIPELINE)
    assert code(client, headers) == 401
    assert AuditEvent.objects.filter(action="token_revoked").count() == 1


def test_a_superuser_no_more_has_no_keys_left(client, cast, dataset):
    headers = key_of(cast.root)
    assert code(client, headers) == 200
    cast.root.is_superuser = False
    cast.root.save()
    assert code(client, headers) == 401
    assert ApiToken.objects.get().revoked_at is not None


def test_too_many_calls_are_told_when_to_come_back(client, cast, dataset, settings):
    settings.API_CALLS_A_MINUTE = 3
    headers, other = key_of(cast.pipeline), key_of(cast.pipeline)
    token = ApiToken.objects.first()
    minute = int(timezone.now().timestamp() // 60) + 1  # as counted by a clock that is a little ahead
    ApiToken.objects.filter(pk=token.pk).update(minute=minute, calls=0)
    assert [code(client, headers) for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = client.get(ADDRESS, headers=headers)
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert "3 times a minute" in refused.json()["detail"]
    assert code(client, other) == 200
    ApiToken.objects.filter(pk=token.pk).update(minute=minute - 5)
    assert code(client, headers) == 200


def test_a_clock_that_was_ahead_locks_no_key(client, cast, dataset, settings):
    settings.API_CALLS_A_MINUTE = 1
    headers = key_of(cast.pipeline)
    ApiToken.objects.update(minute=int(timezone.now().timestamp() // 60) + 5_000_000, calls=1)
    assert code(client, headers) == 200


@pytest.mark.django_db(transaction=True)
def test_the_counter_is_exact_under_concurrency(cast, dataset, settings):
    settings.API_CALLS_A_MINUTE = 10
    raw = key_of(cast.pipeline)["Authorization"].removeprefix("Bearer ")
    ApiToken.objects.update(
        minute=int(timezone.now().timestamp() // 60) + 1
    )  # one window, however slow this is
    answers, start = [], threading.Barrier(8)

    def use():
        start.wait()
        for _ in range(5):
            try:
                answers.append(keys.user_of_token(raw) is not None)
            except actions.TooMany:
                answers.append("refused")
        connection.close()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answers) == {True: 10, "refused": 30}


@pytest.mark.django_db(transaction=True)
def test_the_number_of_keys_is_exact_under_concurrency(cast, dataset):
    made, start = [], threading.Barrier(6)

    def issue():
        start.wait()
        for _ in range(4):
            try:
                key_of(cast.pipeline)
                made.append(True)
            except actions.Refused:
                made.append(False)
        connection.close()

    threads = [threading.Thread(target=issue) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(made) == {True: keys.MOST_KEYS, False: 24 - keys.MOST_KEYS}
