"""Nobody who judges can tell a known case from a real scan before judging it, and a miss cannot be repaired."""

import json
import re

import pytest
from django.db.models import F
from django.test import Client
from django.urls import reverse
from PIL import Image

from reviews import actions, reports
from reviews.models import Attempt, Given, Lease, Mode, Role, Verdict
from reviews.states import Status
from tests.conftest import bring, judge, now

pytestmark = pytest.mark.django_db
SHARE = 0.5
ITEMS = "/work/trial/verify/items/"
VIEWS = ["front", "saliency_front"]


@pytest.fixture
def picture(make, settings, tmp_path):
    """Make an attempt with pictures on disk: picture(make())."""
    settings.DATA_DIR = tmp_path

    def painted(attempt):
        folder = tmp_path / f"views/{attempt.pk}"
        folder.mkdir(parents=True)
        for name in VIEWS:
            Image.new("L", (8, 9), attempt.pk).save(folder / f"{name}.webp")
            Image.new("L", (4, 5), attempt.pk).save(folder / f"{name}.thumb.webp")
        Attempt.objects.filter(pk=attempt.pk).update(views_dir=f"views/{attempt.pk}", view_names=VIEWS)
        return now(attempt)

    return painted


@pytest.fixture
def queue(make, cast, dataset, model, picture):
    """Four waiting scans and a known failure, whose second attempt has passed; the share brings it at once."""
    known = picture(make())
    judge(cast.colleague, known, "face")
    again = bring(known.scan.attempts.get(number=2), Status.VERIFY, model)
    judge(cast.colleague, again)
    actions.declare_known_case(actor=cast.manager, attempt_id=known.pk, truth="face")
    real = [picture(make()) for _ in range(4)]
    for number, attempt in enumerate(real):
        Attempt.objects.filter(pk=attempt.pk).update(confidence=F("confidence") - 0.001 * number)
    actions.configure_dataset(actor=cast.owner, dataset=dataset, known_share=SHARE)
    return known, real


@pytest.fixture
def client(cast):
    client = Client()
    client.force_login(cast.reviewer)
    return client


def ask(client, url, body=None):
    return client.post(url, json.dumps(body or {}), content_type="application/json")


def attempt_of(handle) -> int:
    return Given.objects.get(handle=handle).attempt_id


def take(client, count=5, exclude=()):
    return ask(client, ITEMS, {"count": count, "exclude": list(exclude)}).json()


def alike(value, handle):
    """An answer with the handle and its beginning taken out, so that only what differs otherwise is left."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return re.sub(r"[0-9a-f]{32}", "ID", text.replace(handle, "HANDLE").replace(handle[:6], "SHORT"))


def headers(answer):
    return {
        name: value
        for name, value in answer.headers.items()
        if name not in ("Content-Length", "X-Request-ID")
    }


def told(client, item) -> list:
    """Everything that the server answers about one item of the queue before it is judged."""
    handle, answers = item["handle"], [alike(item, item["handle"])]
    pk = attempt_of(handle)
    scan = Attempt.objects.get(pk=pk).scan
    for view in (*VIEWS, "front-thumb", "left"):
        answer = client.get(f"/pictures/h/{handle}/{view}.webp")
        answers.append((view, answer.status_code, headers(answer)))
    for name in (f"{handle}.1", f"{handle}.2"):
        answers.append(client.get(f"/pictures/h/{name}/front.webp").status_code)
    answers.append(client.get(f"/slices/h/{handle}/axial-after.webp").status_code)
    answers.append(client.get(f"/volumes/h/{handle}/after/volume.nii.gz").status_code)
    bundle = ask(client, "/work/pictures/", {"wanted": [{"handle": handle, "names": VIEWS}]})
    index = json.loads(bundle.content[4 : 4 + int.from_bytes(bundle.content[:4], "big")])
    answers.append([(row["name"], row["handle"] == handle) for row in index])
    answers.append(alike(ask(client, "/work/renew/", {"handles": [handle]}).json(), handle))
    for mode, klass, nonce in (
        ("visual", "face", "n"),
        ("practice", "face", "n"),
        ("verify", "nothing", "n"),
    ):
        row = {"handle": handle, "mode": mode, "class": klass, "nonce": nonce}
        answers.append(ask(client, "/work/verdicts/", {"verdicts": [row]}).json())
    answers.append(
        ask(client, "/work/practise/", {"handle": handle, "class": "face", "nonce": "n"}).status_code
    )
    for name in ("review-one", "attempt-known", "attempt-retry"):
        answers.append(ask(client, reverse(name, args=[pk])).status_code)
    answers.append(client.get(reverse("visual-one", args=[pk])).status_code)
    answers.append(client.get(reverse("scan", args=[scan.pk])).status_code)
    for query in (
        f"q={scan.subject}",
        f"q={scan.content_hash}",
        "status=failed",
        "status=verify",
        "history=on",
    ):
        answers.append((query.partition("=")[0], "sub-" in client.get(f"/scans/?{query}").content.decode()))
    return answers


def test_every_answer_about_a_known_case_is_like_one_about_a_real_scan(client, cast, queue):
    known, real = queue
    items = take(client)["items"]
    assert {attempt_of(item["handle"]) for item in items} == {known.pk, *(attempt.pk for attempt in real)}
    answers = {attempt_of(item["handle"]): told(client, item) for item in items}
    for attempt in real:
        for mine, theirs in zip(answers[known.pk], answers[attempt.pk], strict=True):
            assert mine == theirs
    text = json.dumps(items)
    for word in (known.scan.subject, "sub-", "status", "number", '"id"', "plan", "failed"):
        assert word not in text


def test_a_key_to_the_api_opens_nothing_of_what_waits(cast, queue):
    known, real = queue
    other = actions.create_dataset(actor=cast.owner, slug="other", title="Other")
    actions.grant(
        actor=cast.owner, dataset=other, user=cast.reviewer, role=Role.PIPELINE
    )  # to have a key at all
    raw = actions.issue_token(actor=cast.reviewer, user=cast.reviewer, name="k")
    with_key = {"headers": {"Authorization": f"Bearer {raw}"}}
    assert Client().get("/api/v1/datasets/other/scans", **with_key).status_code == 200
    for attempt in (known, *real):
        for path in (f"attempts/{attempt.pk}", f"scans/{attempt.scan_id}", "datasets/trial/scans"):
            assert Client().get(f"/api/v1/{path}", **with_key).status_code == 404


def test_giving_back_and_taking_again_shows_the_same_queue(client, cast, queue):
    before = [attempt_of(item["handle"]) for item in take(client)["items"]]
    handles = {item["handle"] for item in take(client)["items"]}
    assert [attempt_of(item["handle"]) for item in take(client)["items"]] == before  # a reload
    for count in (5, 3, 1, 5):
        client.post("/work/release/", {"handles": ",".join(handles)})
        assert not Lease.objects.filter(user=cast.reviewer).exists()
        items = take(client, count)["items"]
        assert [attempt_of(item["handle"]) for item in items] == before[:count]
        assert handles.isdisjoint({item["handle"] for item in items})
        handles = {item["handle"] for item in items}


def test_no_count_tells_that_what_is_left_is_a_known_case(client, cast, queue, dataset):
    def counts():
        home = re.findall(r"Verify[^<]*<", client.get("/").content.decode())
        pages = client.get("/").content.decode() + client.get("/reports/").content.decode()
        assert client.get("/thresholds/").status_code == 403
        assert "scans passed" not in pages
        return home, take(client)["left"]

    items = take(client)["items"]
    start = counts()
    for number, item in enumerate(sorted(items, key=lambda item: attempt_of(item["handle"]) == queue[0].pk)):
        assert counts() == start  # also with the known case alone
        row = {"handle": item["handle"], "mode": "verify", "class": "pass", "nonce": f"n-{number}"}
        (result,) = ask(client, "/work/verdicts/", {"verdicts": [row]}).json()["results"]
        assert result == {
            "nonce": f"n-{number}",
            "code": "saved",
            "message": "",
            "remaining_ms": 0,
            "ok": True,
        }
    assert counts() == (["Verify 0<"], 0)
    assert "scans passed" in client_of(cast.manager).get("/").content.decode()


def client_of(user):
    client = Client()
    client.force_login(user)
    return client


def say(client, item, klass, nonce):
    row = {"handle": item["handle"], "mode": "verify", "class": klass, "nonce": nonce}
    (result,) = ask(client, "/work/verdicts/", {"verdicts": [row]}).json()["results"]
    assert result["ok"], result


def caught(user, dataset):
    (row,) = [row for row in reports.reviewers([dataset]) if row["user_id"] == user.pk]
    return row["hidden"], row["caught"]


def test_a_miss_that_was_taken_back_and_repaired_stays_a_miss(client, cast, queue, dataset):
    known, _ = queue
    (item,) = [item for item in take(client)["items"] if attempt_of(item["handle"]) == known.pk]
    say(client, item, "pass", "a-0")
    assert caught(cast.reviewer, dataset) == (1, 0)
    (undone,) = ask(client, "/work/trial/verify/undo/").json()["undone"]
    assert attempt_of(undone["item"]["handle"]) == known.pk
    assert caught(cast.reviewer, dataset) == (1, 0)
    say(client, undone["item"], "face", "b-0")
    assert caught(cast.reviewer, dataset) == (1, 0)
    assert (
        Verdict.objects.filter(user=cast.reviewer, on_known_case=True).count() == 3
    )  # miss, undo and the later answer
    page = client_of(cast.manager).get(reverse("scan", args=[known.scan_id])).content.decode()
    assert page.count("later, does not count") == 1
    assert now(known).status == Status.FAILED


def test_a_catch_that_was_taken_back_and_passed_is_a_miss(client, cast, queue, dataset):
    known, _ = queue
    (item,) = [item for item in take(client)["items"] if attempt_of(item["handle"]) == known.pk]
    say(client, item, "face", "a-0")
    assert caught(cast.reviewer, dataset) == (1, 1)
    (undone,) = ask(client, "/work/trial/verify/undo/").json()["undone"]
    say(client, undone["item"], "pass", "b-0")
    assert caught(cast.reviewer, dataset) == (1, 0)


@pytest.mark.parametrize("klass", ["unsure", "face"])
def test_nothing_said_in_passing_opens_what_tells_a_known_case(client, queue, klass):
    """Mark everything, look at what became of it, take it back, and answer with what was seen."""
    client.raise_request_exception = True
    items, home = take(client)["items"], client.get("/").content.decode()
    figures = re.compile(r"<b>Visual QC [^<]*</b>")
    for number, item in enumerate(items):
        scan = Attempt.objects.get(pk=attempt_of(item["handle"])).scan_id
        say(client, item, klass, f"{number}-0")
        assert client.get(reverse("scan", args=[scan])).status_code == 404
        assert "sub-" not in client.get("/scans/?history=on").content.decode()
        assert figures.findall(client.get("/").content.decode()) == figures.findall(home)
        (undone,) = ask(client, "/work/trial/verify/undo/").json()["undone"]
        assert undone["mark"] == klass
        assert client.get(reverse("scan", args=[scan])).status_code == 404


def test_visual_qc_shows_nothing_of_a_scan_with_an_open_known_case(client, cast, queue, dataset, model):
    known, _ = queue
    again = known.scan.attempts.get(number=2)
    actions.undo_verdict(actor=cast.colleague, verdict_id=again.verdicts.get().pk, nonce="u")
    actions.refer(actor=cast.colleague, attempt_id=again.pk, nonce="d")
    assert known.pk in {attempt_of(item["handle"]) for item in take(client)["items"]}
    given = actions.lease_batch(actor=cast.reviewer, dataset=dataset, mode=Mode.VISUAL, count=5)
    assert again.pk not in {attempt.pk for attempt in given}


def test_a_known_case_given_back_after_the_answer_does_not_come_again(client, cast, queue):
    known, _ = queue
    (item,) = [item for item in take(client)["items"] if attempt_of(item["handle"]) == known.pk]
    say(client, item, "unsure", "a-0")
    ask(client, "/work/trial/verify/undo/")
    actions.release_leases(actor=cast.reviewer)
    assert known.pk not in {attempt_of(item["handle"]) for item in take(client)["items"]}


def test_it_is_drawn_for_nobody_who_has_met_the_head_or_may_look_it_up(client, cast, queue, dataset):
    known, _ = queue
    for person in (cast.colleague, cast.manager):  # who failed it, and who manages
        page = actions.lease_batch(actor=person, dataset=dataset, mode=Mode.VERIFY, count=5)
        assert known not in page
        actions.release_leases(actor=person)
    Given.objects.create(
        handle="seen", attempt=known.scan.attempts.get(number=2), user=cast.reviewer, mode="visual"
    )
    assert known.pk not in {attempt_of(item["handle"]) for item in take(client)["items"]}


def test_it_is_drawn_only_where_it_looks_like_a_neighbour(client, queue):
    known, _ = queue
    Attempt.objects.filter(pk=known.pk).update(view_names=["front", "left"])
    assert known.pk not in {attempt_of(item["handle"]) for item in take(client)["items"]}


def test_a_case_dropped_while_it_is_on_the_page_is_judged_like_any(client, cast, queue):
    known, _ = queue
    (item,) = [item for item in take(client)["items"] if attempt_of(item["handle"]) == known.pk]
    actions.drop_known_case(actor=cast.manager, attempt_id=known.pk)
    assert item["handle"] in {one["handle"] for one in take(client)["items"]}
    say(client, item, "face", "a-0")
    assert Verdict.objects.get(user=cast.reviewer).correct is None
    assert now(known).status == Status.FAILED


def test_what_was_judged_can_be_looked_up_and_nothing_else(client, cast, queue, dataset, monkeypatch):
    monkeypatch.setattr("reviews.models.scans.UNDO_HOURS", 0)  # it cannot be taken back any more
    real = queue[1]
    (item,) = [item for item in take(client)["items"] if attempt_of(item["handle"]) == real[0].pk]
    say(client, item, "pass", "a-0")
    assert client.get(reverse("scan", args=[real[0].scan_id])).status_code == 200
    assert client.get(reverse("scan", args=[real[1].scan_id])).status_code == 404
    listed = client.get("/scans/?history=on").content.decode()
    assert f"sub-{real[0].scan.subject}" in listed
    assert f"sub-{real[1].scan.subject}" not in listed
    assert "1 attempt" in listed
    actions.grant(actor=cast.owner, dataset=dataset, user=cast.reviewer, role=Role.MANAGER)
    assert client.get(reverse("scan", args=[real[1].scan_id])).status_code == 200
