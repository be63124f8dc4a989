"""Jumping on the Scans page: a submitted search opens its only hit, the order by subject starts where asked."""

import pytest
from django.db import connection
from django.db.models.expressions import Col
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from reviews import keymap
from reviews.models import Attempt, Scan
from reviews.states import Status
from reviews.views import scan_list

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def browse(cast):
    client = Client()
    client.force_login(cast.manager)
    return client


def test_a_submitted_search_opens_its_only_hit(browse, make):
    alpha = make(Status.FAILED, subject="alpha")  # two attempts, one scan
    make(subject="beta"), make(subject="better")
    address = reverse("scan", args=[alpha.scan_id])
    asked = {"q": "alp", "history": "on", "jump": "1"}
    assert browse.get("/scans/", asked).url == address
    assert browse.get("/scans/", asked, headers=HTMX)["HX-Redirect"] == address
    for shown in ({"q": "alp"}, {"q": "alp", "history": "on"}):
        assert browse.get("/scans/", shown).status_code == 200
    several = browse.get("/scans/", {"q": "bet", "jump": "1"}, headers=HTMX)
    assert "HX-Redirect" not in several
    assert several["HX-Push-Url"] == "/scans/?q=bet"
    assert browse.get("/scans/", {"q": "bet", "jump": "1"}).url == "/scans/?q=bet"


def test_only_a_word_jumps_and_only_to_what_may_be_seen(browse, cast, make):
    make(subject="alpha")
    assert browse.get("/scans/", {"status": "verify", "jump": "1"}).url == "/scans/?status=verify"
    browse.force_login(cast.stranger)
    assert browse.get("/scans/", {"q": "alpha", "jump": "1"}).url == "/scans/?q=alpha"


def test_the_order_by_subject_starts_where_asked_and_goes_on_to_the_end(browse, make, monkeypatch):
    monkeypatch.setattr(scan_list, "PAGE", 2)
    for subject in ("0001", "0150", "0151", "0152", "0200"):
        make(subject=subject)
    first = browse.get("/scans/", {"sort": "subject", "start": "sub-015"})
    assert subjects(first) == ["0150", "0151"]
    assert "5 attempts, shown from sub-015 on" in first.content.decode()
    assert subjects(browse.get("/scans/" + first.context["more"])) == ["0152", "0200"]
    assert subjects(browse.get("/scans/", {"sort": "newest", "start": "sub-015"})) == ["0200", "0152"]


def subjects(response) -> list[str]:
    return [row["attempt"].scan.subject for row in response.context["rows"]]


def test_a_page_by_subject_reads_a_few_scans_and_sorts_no_more(cast, make, monkeypatch):
    for number in range(12):
        make(subject=f"{number // 3}")
    monkeypatch.setattr(scan_list, "PAGE", 2)
    found = scan_list.within(Attempt.objects.all(), scan_list.shown_datasets(cast.reviewer, {}))
    wanted = sorted(found.values_list("scan__subject", "pk"))
    for near in (3, 5, 7, 100):  # the last subject may be cut off in the middle
        monkeypatch.setattr(scan_list, "NEAR", near)
        seen, after = [], scan_list.beginning("")
        while after or not seen:
            rows, after = scan_list.page(found, "subject", after)
            seen += [(attempt.scan.subject, attempt.pk) for attempt in rows]
        assert seen == wanted
    with CaptureQueriesContext(connection) as asked:
        scan_list.page(found, "subject", scan_list.beginning("1"))
    assert len(asked) == 2
    assert connection.vendor != "sqlite" or not whole_tables([row["sql"] for row in asked])


def test_pages_by_subject_keep_to_the_order_of_the_database(cast, make, monkeypatch):
    for subject in ("a", "B", "c", "D", "E", "f", "G"):
        make(subject=subject)
    if connection.vendor == "sqlite":
        order_as_a_language_does(Scan._meta.get_field("subject"), monkeypatch)
    monkeypatch.setattr(scan_list, "PAGE", 1)
    monkeypatch.setattr(scan_list, "NEAR", 5)
    found = scan_list.within(Attempt.objects.all(), scan_list.shown_datasets(cast.reviewer, {}))
    wanted = list(found.order_by("scan__subject", "pk").values_list("scan__subject", flat=True))
    assert connection.vendor != "sqlite" or wanted == ["a", "B", "c", "D", "E", "f", "G"]
    seen, after = [], scan_list.beginning("")
    while after or not seen:
        rows, after = scan_list.page(found, "subject", after)
        seen += [attempt.scan.subject for attempt in rows]
    assert seen == wanted


def order_as_a_language_does(field, monkeypatch):
    """Let SQLite compare this field as PostgreSQL does under a language's collation."""
    plain = Col.as_sql

    def collated(column, compiler, connection):
        sql, params = plain(column, compiler, connection)
        return (f"{sql} COLLATE NOCASE" if column.target is field else sql), params

    monkeypatch.setattr(Col, "as_sql", collated)


def whole_tables(queries: list[str]) -> list[str]:
    """Steps of SQLite's plans that read a table from end to end."""
    steps = []
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute("EXPLAIN QUERY PLAN " + query)
            steps += [row[3] for row in cursor.fetchall()]
    return [step for step in steps if step.startswith("SCAN reviews_")]


def test_the_key_is_listed_changeable_and_on_the_page(browse):
    assert keymap.merged({})["search"] == ["/"]
    assert keymap.merged({"search": "s"})["search"] == ["s"]
    assert "search" not in [row["name"] for row in keymap.rows({}, keymap.VERIFY)]
    assert 'data-search-keys="/"' in browse.get("/scans/").content.decode()
    assert "to the search field" in browse.get("/help/").content.decode()
