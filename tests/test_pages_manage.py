"""Overview, scan, thresholds, reports, set-up: what they show to whom, and that they act through the actions."""

import re
import zipfile
from io import BytesIO
from itertools import product

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from inference.triage import ThresholdPolicy
from reviews import actions
from reviews.models import Attempt, AuditEvent, Membership, ThresholdSet
from reviews.states import Status
from reviews.templatetags.qc import at_most, plainly
from reviews.views import scan_list
from tests.conftest import judge, now

pytestmark = pytest.mark.django_db


@pytest.fixture
def browse():
    """A client logged in as a user."""

    def logged_in(user) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return logged_in


def text(response) -> str:
    return response.content.decode()


def test_home_counts_scans_once_and_offers_the_queues(browse, cast, make):
    make(Status.VERIFY)
    make(Status.REFER)
    make(Status.FAILED)  # its attempt 2 is on the way: one scan, being defaced again
    make(Status.ERROR)
    page = text(browse(cast.manager).get("/"))
    assert "of 4 scans passed" in page
    assert "Verify 1" in page
    assert "Visual QC 1" in page
    assert "Being defaced again <b>1</b>" in page
    assert "ended in an error" in page
    assert "ended in an error" not in text(browse(cast.reviewer).get("/"))
    assert "Trial" not in text(browse(cast.stranger).get("/"))


@pytest.mark.parametrize("sort", list(scan_list.SORTS))
def test_pages_by_key_show_every_scan_once_in_order(make, sort, monkeypatch):
    for number in range(7):
        attempt = make(subject=f"{number % 3}")
        Attempt.objects.filter(pk=attempt.pk).update(confidence=0.95 + (number % 2) / 100)
    monkeypatch.setattr(scan_list, "PAGE", 2)
    seen, after = [], ""
    for _ in range(5):
        rows, after = scan_list.page(Attempt.objects.all(), sort, after)
        seen += rows
        if not after:
            break
    assert sorted(attempt.pk for attempt in seen) == sorted(Attempt.objects.values_list("pk", flat=True))
    field, descending, _ties = scan_list.SORTS[sort]
    values = [
        attempt.scan.subject if field == "scan__subject" else getattr(attempt, field) for attempt in seen
    ]
    assert values == sorted(values, reverse=descending)


@pytest.mark.parametrize(
    ("sort", "status"),
    [("newest", ""), *product(["confidence", "doubtful", "changed"], ["", "error"])],
)
def test_no_order_sorts_the_whole_table(cast, dataset, sort, status):
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's plans")
    found = scan_list.filtered(Attempt.objects.all(), {"status": status})
    found = scan_list.within(found, scan_list.shown_datasets(cast.reviewer, {}))
    for after in ("", "0.5~7" if "conf" in scan_list.SORTS[sort][0] else "2026-01-01T00:00:00+00:00~7"):
        with CaptureQueriesContext(connection) as asked:
            scan_list.page(found, sort, after)
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + asked[-1]["sql"])
            steps = [row[3] for row in cursor.fetchall()]
        assert not [step for step in steps if "TEMP B-TREE" in step], steps


def test_the_overview_filters_and_hides_other_datasets(browse, cast, make):
    one, two = make(subject="alpha"), make(Status.REFER, subject="beta")
    page = text(browse(cast.manager).get("/scans/?q=sub-alp"))
    assert "sub-alpha" in page
    assert "sub-beta" not in page
    assert "sub-beta" in text(browse(cast.manager).get("/scans/?status=refer&show=wall"))
    assert "sub-alpha" not in text(browse(cast.manager).get("/scans/?status=refer"))
    assert "sub-alpha" not in text(browse(cast.stranger).get("/scans/"))
    assert browse(cast.stranger).get(reverse("scan", args=[one.scan_id])).status_code == 404
    assert browse(cast.manager).get(reverse("scan", args=[two.scan_id])).status_code == 200


def test_a_cursor_somebody_made_up_is_ignored(browse, cast, make):
    make()
    for after in ("x", "~", "a~b", "nan~1", "zz~99999"):
        for sort in scan_list.SORTS:
            assert browse(cast.reviewer).get("/scans/", {"sort": sort, "after": after}).status_code == 200


def test_the_life_of_a_scan_shows_what_changed_and_hides_known_cases_from_reviewers(
    browse, cast, make, monkeypatch
):
    monkeypatch.setattr("reviews.models.scans.UNDO_HOURS", 0)  # it cannot be taken back any more
    first = make(Status.VERIFY)
    judge(cast.colleague, first, "brain")
    actions.declare_known_case(actor=cast.owner, attempt_id=first.pk, truth="brain")
    url = reverse("scan", args=[first.scan_id])
    manager, reviewer = text(browse(cast.manager).get(url)), text(browse(cast.colleague).get(url))
    assert "Attempt 2" in reviewer
    assert "judged_fail" in reviewer
    assert "standard" in reviewer
    assert "Known case" in manager
    assert "Known case" not in reviewer
    assert "known_case" not in reviewer


def test_only_managers_retry_and_order(browse, cast, make):
    broken, stuck = make(Status.ERROR), make(Status.NEEDS_PERSON)
    for user in (cast.reviewer, cast.stranger):
        browse(user).post(reverse("attempt-retry", args=[broken.pk]))
        browse(user).post(reverse("attempt-again", args=[stuck.pk]), {"plan": "larger"})
    assert now(broken).status == Status.ERROR
    assert now(stuck).status == Status.NEEDS_PERSON
    browse(cast.manager).post(reverse("attempt-retry", args=[broken.pk]))
    browse(cast.manager).post(reverse("attempt-again", args=[stuck.pk]), {"plan": "larger"})
    assert now(broken).status != Status.ERROR
    assert now(stuck).scan.attempts.get(number=2).plan == "larger"


def test_retry_all_is_for_what_one_manages(browse, cast, make):
    broken = [make(Status.ERROR), make(Status.ERROR)]
    browse(cast.reviewer).post(reverse("failures-retry"))
    assert {now(attempt).status for attempt in broken} == {Status.ERROR}
    browse(cast.manager).post(reverse("failures-retry"))
    assert {now(attempt).status for attempt in broken} != {Status.ERROR}
    assert "Nothing is broken" in text(browse(cast.manager).get(reverse("failures")))


def test_cut_offs_are_tried_by_all_and_saved_by_administrators(browse, cast, make):
    waiting = make(Status.VERIFY)
    policy = {"verify_min": "0.999", "fail_min": "0.95", "class_min": "0.8", "note": "stricter"}
    trial = text(browse(cast.reviewer).get(reverse("thresholds-consequences"), policy))
    assert "<dt>to verify</dt><dd>0</dd>" in trial
    assert "<dt>to visual QC</dt><dd>1</dd>" in trial
    assert "Failures for reviewers to catch" not in trial, "nothing would be verified"
    laxer = text(
        browse(cast.reviewer).get(reverse("thresholds-consequences"), policy | {"verify_min": "0.95"})
    )
    assert "fewer than one among 1" in laxer, "what the model itself expects, with nobody's verdict"
    assert "by the judged scans" not in laxer
    judge(cast.reviewer, make(), "pass")
    judged = text(
        browse(cast.reviewer).get(reverse("thresholds-consequences"), policy | {"verify_min": "0.95"})
    )
    assert "; fewer than one by the judged scans" in judged, "0.79 of one: none of one was false"
    browse(cast.reviewer).post(reverse("thresholds-save"), policy)
    assert ThresholdSet.objects.get(active=True).version == 1
    browse(cast.root).post(reverse("thresholds-save"), policy)
    new = ThresholdSet.objects.get(active=True)
    assert (new.version, new.policy["verify_min"], new.note) == (2, 0.999, "stricter")
    assert now(waiting).status == Status.REFER
    browse(cast.root).post(reverse("thresholds-activate", args=[1]))
    assert ThresholdSet.objects.get(active=True).version == 1
    assert now(waiting).status == Status.VERIFY


def test_upper_bounds_of_numbers_are_rounded_up():
    wanted = ["fewer than one", "fewer than one", "at most 1", "at most 2", "at most 1,235"]
    assert [at_most(count) for count in (0.0, 0.99, 1.0, 1.2, 1234.2)] == wanted


def test_cut_offs_between_two_steps_of_the_page_are_shown_as_the_stricter(browse, cast):
    actions.save_thresholds(actor=None, policy=ThresholdPolicy(0.9904, 0.925, 0.554))
    page = text(browse(cast.root).get(reverse("thresholds")))
    shown = re.findall(r'name="(\w+)" min="0.505" max="1" step="([\d.]+)" value="([\d.]+)"', page)
    assert shown == [
        ("verify_min", "0.001", "0.991"),
        ("fail_min", "0.005", "0.925"),
        ("class_min", "0.005", "0.555"),
    ]


def test_bad_cut_offs_are_refused_with_the_reason(browse, cast):
    bad = {"verify_min": "0.2", "fail_min": "0.95", "class_min": "0.8"}
    assert "above 0.5" in text(browse(cast.root).get(reverse("thresholds-consequences"), bad))
    browse(cast.root).post(reverse("thresholds-save"), bad)
    assert ThresholdSet.objects.filter(version=2).count() == 0


def test_an_export_holds_the_trail_and_its_verifier_and_is_for_managers(browse, cast, make, dataset):
    judge(cast.reviewer, make(), "pass")
    url = reverse("export", args=[dataset.slug, "csv"])
    assert browse(cast.reviewer).get(url).status_code == 404
    answer = browse(cast.manager).get(url)
    names = zipfile.ZipFile(BytesIO(b"".join(answer.streaming_content))).namelist()
    assert "verify_chain.py" in names
    assert any(name.endswith(".trail.jsonl") for name in names)
    assert browse(cast.manager).get(reverse("export", args=[dataset.slug, "exe"])).status_code == 404


def test_the_trail_check_says_what_is_broken(browse, cast, make, monkeypatch):
    make()
    client = browse(cast.manager)
    assert "The audit trail is whole" in text(client.post(reverse("trail-check"), follow=True))
    monkeypatch.setattr("reviews.wholeness.problems", lambda: ["event 2 was changed"])
    assert "event 2 was changed" in text(client.post(reverse("trail-check"), follow=True))
    assert browse(cast.reviewer).post(reverse("trail-check")).status_code == 403


def test_the_trail_speaks_plainly_and_names_people(browse, cast, make):
    attempt = make()
    judge(cast.reviewer, attempt)
    for url in (reverse("trail"), reverse("scan", args=[attempt.scan_id])):
        page = text(browse(cast.manager).get(url))
        assert "status passed, class pass, mode verify" in page
        assert f'<td title="user:{cast.reviewer.pk}">reviewer</td>' in page
        assert "{&#x27;" not in page
        assert "None" not in page


def test_what_was_recorded_is_said_in_words():
    said = {
        "mask": {"up_mm": 22, "ears": True},
        "starts": ["a", "b"],
        "spare": None,
        "shift": [0.0, 0.5],
        "x": {},
    }
    assert plainly(said) == "mask (ears yes, up_mm 22), shift 0.0 0.5, spare –, starts a b, x "


def test_the_trail_shows_no_other_dataset(browse, cast, make):
    make()
    assert AuditEvent.objects.exists()
    assert "attempt_added" in text(browse(cast.manager).get(reverse("trail")))
    assert "attempt_added" not in text(browse(cast.stranger).get(reverse("trail")))


def test_rights_are_given_by_the_dataset_s_administrator(browse, cast, dataset):
    give = reverse("dataset-grant", args=[dataset.slug])
    body = {"user": cast.stranger.pk, "role": "reviewer"}
    assert browse(cast.reviewer).post(give, body).status_code == 404
    browse(cast.manager).post(give, body)
    assert not Membership.objects.filter(user=cast.stranger).exists()
    browse(cast.owner).post(give, body)
    assert Membership.objects.get(user=cast.stranger).role == "reviewer"
    browse(cast.owner).post(reverse("dataset-revoke", args=[dataset.slug, cast.stranger.pk]))
    assert not Membership.objects.filter(user=cast.stranger).exists()


def test_an_assigned_queue_is_closed_to_others(browse, cast, dataset, make):
    make()
    browse(cast.manager).post(
        reverse("dataset-assign", args=[dataset.slug]), {"mode": "verify", "user": cast.colleague.pk}
    )
    assert browse(cast.colleague).get(reverse("verify", args=[dataset.slug])).status_code == 200
    assert browse(cast.reviewer).get(reverse("verify", args=[dataset.slug])).status_code == 404


def test_settings_of_a_dataset_are_saved_by_its_administrator(browse, cast, dataset):
    url = reverse("dataset", args=[dataset.slug])
    body = {
        "title": "Renamed",
        "min_exposure_seconds": "3",
        "lease_seconds": "300",
        "max_attempts": "4",
        "known_share": "0.05",
        "engine": "niimath",
    }
    browse(cast.manager).post(url, body)
    dataset.refresh_from_db()
    assert dataset.title == "Trial"
    browse(cast.owner).post(url, body)
    dataset.refresh_from_db()
    assert (dataset.title, dataset.min_exposure_seconds, dataset.known_share) == ("Renamed", 3.0, 0.05)


def test_keys_are_refused_where_two_are_the_same(browse, cast, dataset):
    client = browse(cast.reviewer)
    page = text(client.post(reverse("account"), {"key-face": "j", "key-brain": "J"}))
    assert "chosen twice" in page
    client.post(reverse("account"), {"key-face": "j"})
    page = text(client.get(reverse("verify", args=[dataset.slug])))
    assert '"face": ["j"]' in page


def test_the_administration_shows_qc_state_and_changes_none(browse, cast, make):
    attempt = make()
    client = browse(cast.root)
    assert client.get("/admin/").status_code == 200
    page = reverse("admin:reviews_attempt_change", args=[attempt.pk])
    assert client.get(page).status_code == 200
    assert client.post(page, {"status": "passed"}).status_code == 403
    assert client.get(reverse("admin:reviews_verdict_add")).status_code == 403
    assert client.post(reverse("admin:reviews_scan_delete", args=[attempt.scan_id])).status_code == 403
    assert now(attempt).status == Status.VERIFY
    assert browse(cast.manager).get("/admin/").status_code == 302
