"""Heads as they were before defacing: shown to whom it was given, never kept, and every look written down."""

import hashlib
import json
import zipfile
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from PIL import Image

from inference.projections.views import SLICE_VIEWS
from reviews import actions, append_only, audit, export, originals
from reviews.actions import looking
from reviews.actions.looking import seal_looks
from reviews.models import AccessLog, Attempt, AuditEvent, Membership, Mode, Role
from reviews.states import Status
from reviews.views import review_items
from reviews.views.pictures import VIEW_LABELS, picture_url, token
from tests.conftest import judge, now, with_volumes

pytestmark = pytest.mark.django_db
VIEWS = ["front", "sagittal_mid", "removed_front", "removed_sagittal_mid"]


def browse(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def may(cast, dataset, name, role=Role.REVIEWER, **rights):
    actions.grant(actor=cast.owner, dataset=dataset, user=getattr(cast, name), role=role, **rights)


@pytest.fixture
def shown(make, cast, settings, tmp_path):
    """An attempt whose pictures and volumes are on disk, waiting for visual QC; two reviewers may look it up."""
    settings.DATA_DIR = tmp_path
    attempt = make(Status.REFER)
    for person in (cast.reviewer, cast.colleague):  # who only judges looks up what they have judged
        verdict = judge(person, attempt, mode=Mode.VISUAL)
        actions.undo_verdict(actor=person, verdict_id=verdict.pk, nonce="undo")
        actions.release_leases(actor=person)
    folder = tmp_path / attempt.views_dir
    folder.mkdir(parents=True)
    for name in VIEWS:
        Image.new("L", (8, 9)).save(folder / f"{name}.webp")
        Image.new("L", (4, 5)).save(folder / f"{name}.thumb.webp")
    values = np.random.default_rng(1).integers(0, 900, (9, 10, 11)).astype(np.int16)
    for name in ("before", "after"):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    Attempt.objects.filter(pk=attempt.pk).update(view_names=VIEWS)
    with_volumes(attempt, after=tmp_path / "after.nii.gz", before=tmp_path / "before.nii.gz")
    return now(attempt)


@pytest.fixture
def at(shown):
    """The addresses of everything: of the defaced head alone, of the original shown, of it whole."""
    version = token(shown)

    def sheet(layer):
        return reverse("slices", args=[shown.pk, version, "axial", layer])

    def volume(layer):
        return reverse("volume", args=[shown.pk, version, layer, "volume.nii.gz"])

    return SimpleNamespace(
        defaced=[
            picture_url(shown, "front"),
            picture_url(shown, "sagittal_mid"),
            sheet("after"),
            volume("after"),
        ],
        seen=[
            picture_url(shown, "removed_front"),
            picture_url(shown, "removed_front", small=True),
            picture_url(shown, "removed_sagittal_mid"),
            sheet("before"),
            sheet("removed"),
        ],
        whole=[volume("before")],
    )


def test_no_role_brings_originals_nor_does_being_a_superuser(cast, at):
    for name in ("owner", "manager", "reviewer", "auditor", "root"):
        client = browse(getattr(cast, name))
        assert [client.get(url).status_code for url in at.defaced] == [200] * 4, name
        assert {client.get(url).status_code for url in at.seen + at.whole} == {403}, name
    assert {browse(cast.stranger).get(url).status_code for url in at.seen + at.whole} == {404}
    assert AccessLog.objects.count() == 0


def test_seeing_is_one_right_and_downloading_another(cast, dataset, at):
    may(cast, dataset, "reviewer", sees_originals=True)
    may(cast, dataset, "auditor", Role.AUDITOR, downloads_originals=True)
    reviewer, auditor = browse(cast.reviewer), browse(cast.auditor)
    assert [reviewer.get(url).status_code for url in at.seen + at.whole] == [200] * 5 + [403]
    assert [auditor.get(url).status_code for url in at.seen + at.whole] == [200] * 6
    may(cast, dataset, "reviewer")
    assert {reviewer.get(url).status_code for url in at.seen} == {403}


def test_nothing_of_an_original_is_kept_by_a_browser(cast, dataset, at):
    may(cast, dataset, "reviewer", downloads_originals=True)
    client = browse(cast.reviewer)
    assert {client.get(url)["Cache-Control"] for url in at.seen + at.whole} == {"private, no-store"}
    assert all("max-age" in client.get(url)["Cache-Control"] for url in at.defaced)


def test_what_was_sent_is_in_the_log_once_a_look(cast, dataset, shown, at):
    may(cast, dataset, "reviewer", downloads_originals=True)
    client = browse(cast.reviewer)
    for url in at.defaced + at.seen + at.seen + at.whole + at.whole:
        client.get(url)
    rows = AccessLog.objects.values_list("user", "dataset", "attempt", "what", "how")
    assert {row[:3] for row in rows} == {(cast.reviewer.pk, dataset.pk, shown.pk)}
    assert sorted(row[3:] for row in rows) == [
        ("axial-before", "shown"),
        ("axial-removed", "shown"),
        ("removed_front", "shown"),
        ("removed_sagittal_mid", "shown"),
        ("volume", "downloaded"),
        ("volume", "downloaded"),
    ]


def test_what_is_fetched_ahead_shows_no_original_whatever_is_asked(cast, dataset, shown):
    may(cast, dataset, "reviewer", sees_originals=True)
    handle = actions.lease_one(actor=cast.reviewer, attempt_id=shown.pk).given
    body = {"wanted": [{"handle": handle, "names": [*VIEWS, "removed_front-thumb"]}]}
    answer = browse(cast.reviewer).post(reverse("review-pictures"), body, content_type="application/json")
    length = int.from_bytes(answer.content[:4], "big")
    assert [row["name"] for row in json.loads(answer.content[4 : 4 + length])] == ["front", "sagittal_mid"]
    assert AccessLog.objects.count() == 0


def test_pages_are_told_only_what_the_person_may_see(cast, dataset, shown):
    closed = review_items.full(shown, cast.reviewer, originals.rights_of(cast.reviewer, dataset.pk))
    assert (closed["removed"], closed["slices"]["layers"], list(closed["volumes"])) == (
        {},
        ["after"],
        ["after"],
    )
    assert closed["slices"]["closed"] == originals.CLOSED
    may(cast, dataset, "reviewer", downloads_originals=True)
    opened = review_items.full(shown, cast.reviewer, originals.rights_of(cast.reviewer, dataset.pk))
    assert set(opened["removed"]) == {"front", "sagittal_mid"}
    assert opened["slices"]["layers"] == ["after", "before", "removed"]
    assert (opened["slices"]["closed"], list(opened["volumes"])) == ("", ["after", "before"])
    life = browse(cast.reviewer).get(reverse("scan", args=[shown.scan_id])).content.decode()
    assert "/before/volume.nii.gz" in life
    other = browse(cast.colleague).get(reverse("scan", args=[shown.scan_id])).content.decode()
    assert "before/volume" not in other
    assert "needs the right to see originals" in other


def test_slices_drawn_with_the_original_before_they_were_drawn_twice_count_as_it(cast, dataset, shown):
    names = ["front", "sagittal_mid", "removed_front"]
    Attempt.objects.filter(pk=shown.pk).update(view_names=names)
    old = now(shown)
    assert [name for name in names if originals.shown_in(old, name)] == ["sagittal_mid", "removed_front"]
    url = picture_url(old, "sagittal_mid")
    assert browse(cast.reviewer).get(url).status_code == 403
    card = review_items.card(old, originals.rights_of(cast.reviewer, dataset.pk))
    assert [view["name"] for view in card["views"]] == ["front"]
    may(cast, dataset, "reviewer", sees_originals=True)
    assert browse(cast.reviewer).get(url).status_code == 200
    assert AccessLog.objects.get().what == "sagittal_mid"
    card = review_items.card(old, originals.rights_of(cast.reviewer, dataset.pk))
    assert [(view["name"], view["original"]) for view in card["views"]] == [
        ("front", False),
        ("sagittal_mid", True),
    ]


def test_every_kind_of_slice_is_known():
    assert set(SLICE_VIEWS) == {name for name in VIEW_LABELS if name.startswith(originals.SLICES)}


def test_giving_and_taking_the_right_is_in_the_trail(cast, dataset):
    may(cast, dataset, "reviewer", sees_originals=True)
    event = AuditEvent.objects.latest("seq")
    assert (event.action, event.actor) == ("role_granted", f"user:{cast.owner.pk}")
    assert (event.before["sees_originals"], event.after["sees_originals"]) == (False, True)
    with pytest.raises(actions.NotAllowed):
        actions.grant(
            actor=cast.manager, dataset=dataset, user=cast.manager, role="manager", sees_originals=True
        )
    page = browse(cast.owner)
    form = {"user": cast.colleague.pk, "role": "reviewer", "downloads_originals": "on"}
    page.post(reverse("dataset-grant", args=[dataset.slug]), form)
    given = Membership.objects.get(user=cast.colleague)
    assert (given.sees_originals, given.downloads_originals) == (True, True)
    assert "sees and downloads" in page.get(reverse("dataset", args=[dataset.slug])).content.decode()


# --- the log in the trail -----------------------------------------------------------------------------


@pytest.fixture
def looked(cast, dataset, shown, at):
    """Five looks."""
    may(cast, dataset, "reviewer", downloads_originals=True)
    client = browse(cast.reviewer)
    for url in at.seen + at.whole:
        client.get(url)
    return AccessLog.objects.all()


def test_an_hour_of_looks_is_one_event(cast, dataset, looked, at):
    assert seal_looks() == 1
    event = AuditEvent.objects.latest("seq")
    assert (event.action, event.dataset, event.after["count"]) == ("access_logged", dataset.pk, 5)
    browse(cast.reviewer).get(at.whole[0])
    assert seal_looks() == 0
    assert seal_looks(every=looking.timedelta()) == 1
    assert seal_looks(every=looking.timedelta()) == 0
    assert audit.problems() == originals.problems() == []


def test_rows_are_only_ever_added(looked):
    table = AccessLog._meta.db_table
    for statement in (f"UPDATE {table} SET user_id = user_id + 1", f"DELETE FROM {table}"):
        with pytest.raises(Exception, match="append-only"), looking.transaction.atomic():
            connection.cursor().execute(statement)


@pytest.mark.parametrize("how", ["changed", "removed", "slipped in"])
def test_a_log_that_was_changed_is_noticed(cast, dataset, looked, how):
    seal_looks()
    append_only.unprotect(connection, append_only.LOOKS)  # until the test is rolled back
    match how:
        case "changed":
            looked.filter(what="volume").update(user=cast.colleague)
        case "removed":
            AccessLog.objects.filter(pk=looked.latest("pk").pk).delete()
        case "slipped in":
            row = looked.values("user_id", "dataset_id", "attempt_id", "what", "how", "at").first()
            AccessLog.objects.create(pk=looked.first().pk - 1, **row)
    assert originals.problems() == [
        f"event {AuditEvent.objects.latest('seq').seq}: the log of looks at originals was changed"
    ]
    answer = browse(cast.auditor).post(reverse("trail-check"), follow=True)
    assert "the log of looks at originals was changed" in answer.content.decode()


def test_inspectors_read_the_log_and_nobody_else(cast, dataset, looked, tmp_path):
    url = reverse("looks", args=[dataset.slug])
    page = browse(cast.auditor).get(url)
    assert page.status_code == 200
    assert page.content.decode().count("reviewer</td>") == 5
    assert [browse(getattr(cast, name)).get(url).status_code for name in ("reviewer", "stranger")] == [
        404
    ] * 2
    seal_looks()
    archive = export.bundle(dataset, "csv", tmp_path)
    with zipfile.ZipFile(archive) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".looks.jsonl")]
        lines = packed.read(name).decode().splitlines()
    sealed = hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()
    assert AuditEvent.objects.latest("seq").after["digest"] == sealed  # without this software
    assert [json.loads(line)["what"] for line in lines] == [row.what for row in looked]
