"""An auditor sees everything of a dataset, changes nothing and is in no queue; who has no role sees no page of the site."""

import json

import pytest
from django.urls import reverse

from reviews import actions
from reviews.models import AuditEvent, Dataset, Given, Lease, Mode, Role, Verdict
from reviews.states import Status
from tests.conftest import judge, now

pytestmark = pytest.mark.django_db


def post(client, url, body):
    return client.post(url, json.dumps(body), content_type="application/json")


@pytest.fixture
def auditing(client, cast, dataset):
    client.force_login(cast.auditor)
    return client


def test_an_auditor_reads_pages_exports_and_the_trail(auditing, make, cast, dataset):
    attempt = make()
    judge(cast.reviewer, make(), "face")
    for address in (
        reverse("scans"),
        reverse("scan", args=[attempt.scan_id]),
        reverse("reports"),
        reverse("trail"),
        reverse("thresholds"),
        reverse("setup"),
        reverse("failures"),
        reverse("export", args=[dataset.slug, "json"]),
    ):
        assert auditing.get(address).status_code == 200, address
    checked = auditing.post(reverse("trail-check"), follow=True)
    assert "The audit trail is whole" in checked.content.decode()
    assert "verdict" in auditing.get(reverse("trail")).content.decode()


def test_an_auditor_sees_opinion_and_known_cases_at_once_and_a_manager_does_not(
    auditing, make, cast, dataset
):
    hidden, waiting = make(), make()
    judge(cast.reviewer, hidden)
    actions.declare_known_case(actor=cast.manager, attempt_id=hidden.pk, truth="face")
    of_hidden = auditing.get(reverse("scan", args=[hidden.scan_id])).content.decode()
    assert "Known case" in of_hidden
    assert "known_case_declared" in of_hidden
    page = reverse("scan", args=[waiting.scan_id])
    assert "99.5 %" in auditing.get(page).content.decode()
    auditing.force_login(cast.manager)
    assert "99.5 %" not in auditing.get(page).content.decode()
    assert "known_case_declared" not in auditing.get(reverse("scan", args=[hidden.scan_id])).content.decode()


def test_a_known_case_declared_under_the_former_word_reads_and_hides_like_one_of_today(auditing, make, cast):
    hidden = make()
    actions.core.record(hidden, "gold_declared", actor=cast.manager, before=None, after={"truth": "face"})
    actions.core.record(
        hidden, "dataset_configured", actor=cast.manager, before=None, after={"gold_share": 0.1}
    )
    page = reverse("scan", args=[hidden.scan_id])
    for address in (page, reverse("trail")):
        shown = auditing.get(address).content.decode()
        assert "known_case_declared" in shown
        assert "gold" not in shown
    auditing.force_login(cast.manager)
    assert "known_case_declared" not in auditing.get(page).content.decode()


def test_an_auditor_changes_nothing(auditing, make, cast, dataset):
    waiting, broken, stuck = make(), make(Status.ERROR), make(Status.NEEDS_PERSON)
    events, stands = AuditEvent.objects.count(), [now(a).status for a in (waiting, broken, stuck)]
    slug = dataset.slug
    for name, args, form in (
        ("attempt-retry", [broken.pk], {}),
        ("attempt-again", [stuck.pk], {"plan": "largest"}),
        ("attempt-withdraw", [stuck.pk], {}),
        ("attempt-known", [stuck.pk], {"truth": "face"}),
        ("thresholds-save", [], {"verify_min": 0.9, "fail_min": 0.9, "class_min": 0.9}),
        ("dataset", [slug], {"lease_seconds": 60}),
        ("dataset-grant", [slug], {"user": cast.auditor.pk, "role": "admin"}),
        ("dataset-revoke", [slug, cast.reviewer.pk], {}),
        ("dataset-assign", [slug], {"mode": "verify", "user": cast.auditor.pk}),
        ("failures-retry", [], {}),
        ("dataset-new", [], {"slug": "mine"}),
    ):
        auditing.post(reverse(name, args=args), form)
        assert AuditEvent.objects.count() == events, name
    for mode in Mode.values:
        assert post(auditing, reverse("review-items", args=[slug, mode]), {"count": 1}).status_code == 404
    assert post(auditing, reverse("review-one", args=[waiting.pk]), {}).status_code == 409
    Given.objects.create(handle="h", attempt=waiting, user=cast.auditor, mode="visual")
    verdict = {"nonce": "a-0", "handle": "h", "mode": "visual", "class": "pass"}
    post(auditing, reverse("review-verdicts"), {"verdicts": [verdict]})
    assert not Verdict.objects.exists()
    assert not Lease.objects.exists()
    assert [now(a).status for a in (waiting, broken, stuck)] == stands
    assert list(Dataset.objects.values_list("slug", flat=True)) == [slug]


@pytest.mark.parametrize("name", ["verify", "visual", "practice"])
def test_an_auditor_is_in_no_queue(auditing, dataset, name):
    assert auditing.get(reverse(name, args=[dataset.slug])).status_code == 404


def test_who_becomes_an_auditor_loses_the_leases(make, cast, dataset):
    attempt = make()
    actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode=Mode.VERIFY)
    actions.grant(actor=cast.owner, dataset=dataset, user=cast.reviewer, role=Role.AUDITOR)
    assert not Lease.objects.exists()


SITE_PAGES = (
    ("get", "thresholds", []),
    ("get", "thresholds-consequences", []),
    ("post", "thresholds-save", []),
    ("post", "thresholds-activate", [1]),
    ("get", "setup", []),
    ("get", "dataset-new", []),
    ("get", "failures", []),
    ("post", "failures-retry", []),
    ("get", "models", []),
    ("get", "trail", []),
    ("post", "trail-check", []),
)


@pytest.mark.parametrize(("method", "name", "args"), SITE_PAGES, ids=[name for _, name, _ in SITE_PAGES])
def test_who_has_no_role_sees_no_page_of_the_whole_site(client, cast, dataset, method, name, args):
    client.force_login(cast.stranger)
    assert getattr(client, method)(reverse(name, args=args)).status_code == 403
    home = client.get(reverse("home")).content.decode()
    assert reverse("thresholds") not in home
    assert reverse("setup") not in home
