"""A log-in ends without a person; and what pages and answers say is kept by nobody."""

from importlib import import_module

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from qcsite.idle import BEGUN, SEEN

pytestmark = pytest.mark.django_db
Store = import_module(settings.SESSION_ENGINE).SessionStore


@pytest.fixture
def client(cast, dataset):
    client = Client()
    client.force_login(cast.reviewer)
    client.get(reverse("home"))
    return client


def idle(key: str, minutes: int = 61, **keys) -> None:
    """As if the person had been there for the last time that long ago."""
    session = Store(session_key=key)
    for name in keys.values() or (SEEN,):
        session[name] -= 60 * minutes
    session.save()


def key(client) -> str:
    return client.cookies["sessionid"].value


def test_without_a_person_for_an_hour_the_log_in_ends(client, dataset):
    idle(key(client), 59)
    assert client.get(reverse("home")).status_code == 200
    idle(key(client), 59)
    assert client.get(reverse("home")).status_code == 200
    idle(key(client), 61)
    answer = client.post(reverse("review-renew"), {}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (401, "logged_out")
    assert client.get(reverse("home")).status_code == 302


def test_a_page_that_asks_by_itself_does_not_keep_the_log_in_alive(client):
    idle(key(client), 40)
    assert client.get(reverse("home"), headers={"X-Unattended": "yes"}).status_code == 200
    idle(key(client), 40)
    assert client.get(reverse("home"), headers={"X-Unattended": "yes"}).status_code == 302


def test_a_log_in_has_an_end_however_busy_its_person(client, settings):
    settings.SESSION_COOKIE_AGE = 3600
    idle(key(client), 59, only=BEGUN)
    assert client.get(reverse("home")).status_code == 200
    idle(key(client), 2, only=BEGUN)
    assert client.get(reverse("home")).status_code == 302


def test_a_time_in_the_future_is_not_waited_for(client):
    idle(key(client), -10_000)
    client.get(reverse("home"))
    idle(key(client), 61)
    assert client.get(reverse("home")).status_code == 302


def test_the_time_is_noted_once_a_minute(client):
    before = Store(session_key=key(client))[SEEN]
    session = Store(session_key=key(client))
    session[SEEN] = before - 30
    session.save()
    client.get(reverse("home"))
    assert Store(session_key=key(client))[SEEN] == before - 30


def test_pages_and_answers_are_kept_by_nobody(client, cast, dataset, make):
    attempt = make()
    pages = [reverse(name) for name in ("home", "scans", "reports", "account", "help")]
    pages += [reverse("scan", args=[attempt.scan_id]), reverse("verify", args=["trial"]), "/scans/999/"]
    pages += ["/api/v1/openapi.json", f"/api/v1/scans/{attempt.scan_id}", reverse("looks", args=["trial"])]
    answers = [client.get(page) for page in pages]
    body = {"count": 1}
    answers.append(
        client.post(reverse("review-items", args=["trial", "verify"]), body, content_type="application/json")
    )
    client.force_login(cast.owner)
    answers += [
        client.get(reverse("export", args=["trial", "csv"])),
        client.get(reverse("looks", args=["trial"])),
    ]
    for answer in answers:
        assert "no-store" in answer["Cache-Control"], answer.request["PATH_INFO"]
