"""The pipelines' interface: only with a token, only own datasets, nothing an upload says is trusted."""

import errno
from datetime import timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from reviews import actions, handing_in
from reviews.handing_in import take_in
from reviews.models import ApiToken, Attempt, Intake, Scan
from reviews.states import Status
from tests.conftest import judge

pytestmark = [pytest.mark.django_db, pytest.mark.urls("reviews.api")]


@pytest.fixture
def place(settings, tmp_path):
    """An intake folder with a volume, and one outside it."""
    settings.DATA_DIR = tmp_path / "data"
    settings.INTAKE_ROOTS = [str(tmp_path / "intake")]
    for name in ("intake", "elsewhere"):
        (tmp_path / name).mkdir()
        values = np.random.default_rng(len(name)).integers(0, 900, (12, 14, 16)).astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / name / "sub-1_T1w.nii.gz")
    return tmp_path


@pytest.fixture
def token(cast):
    """Header of a user's token."""

    def of(user):
        return {"Authorization": f"Bearer {actions.issue_token(actor=user, user=user, name='test')}"}

    return of


def post(client, headers, **body):
    return client.post("/api/v1/scans", body, content_type="application/json", headers=headers)


def upload(client, headers, name, content, dataset="trial", **fields):
    file = SimpleUploadedFile(name, content)
    return client.post("/api/v1/scans/upload", {"dataset": dataset, "file": file, **fields}, headers=headers)


def outcome(client, headers, answer):
    """Have the job done and ask what became of it."""
    assert answer.status_code in (200, 202), answer.content
    take_in(answer.json()["id"])
    return client.get(answer.json()["status_url"], headers=headers).json()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}])
def test_anonymous_is_401(client, dataset, headers):
    for address in ("scans/1", "attempts/1", "datasets/trial/scans"):
        assert client.get(f"/api/v1/{address}", headers=headers).status_code == 401
    assert post(client, headers, dataset="trial", path="/x").status_code == 401
    assert client.get("/api/v1/healthz").json() == {"status": "ok"}


def test_a_logged_in_browser_is_not_a_token(client, cast, dataset):
    client.force_login(cast.owner)
    assert post(client, {}, dataset="trial", path="/x").status_code == 401


def test_a_pipeline_hands_in_a_scan_and_follows_it(client, cast, token, dataset, place):
    headers, path = token(cast.pipeline), str(place / "intake" / "sub-1_T1w.nii.gz")
    answer = post(client, headers, dataset="trial", path=path)
    assert (answer.status_code, answer.json()["state"], answer.json()["scan"]) == (202, "waiting", None)
    assert post(client, headers, dataset="trial", path=path).json() == answer.json()
    found = outcome(client, headers, answer)
    assert (found["state"], found["outcome"]) == ("taken", "new")
    scan = found["scan"]
    assert (scan["subject"], scan["suffix"], scan["passed"]) == ("1", "T1w", False)
    again = outcome(client, headers, post(client, headers, dataset="trial", path=path))
    assert (again["state"], again["scan"]["id"]) == ("known", scan["id"])
    assert client.get(f"/api/v1/scans/{scan['id']}", headers=headers).json()["id"] == scan["id"]
    attempt = client.get(f"/api/v1/attempts/{scan['attempts'][0]['id']}", headers=headers).json()
    assert (attempt["status"], attempt["verdict"]) == ("to_deface", None)
    assert len(client.get("/api/v1/datasets/trial/scans", headers=headers).json()) == 1


def test_the_verdict_is_told(client, cast, token, make):
    attempt = make()
    judge(cast.reviewer, attempt)
    found = client.get(f"/api/v1/scans/{attempt.scan_id}", headers=token(cast.pipeline)).json()
    assert (found["passed"], found["attempts"][0]["verdict"]) == (True, "pass")


def test_rights(client, cast, token, dataset, place, make):
    path, attempt = str(place / "intake" / "sub-1_T1w.nii.gz"), make()
    assert post(client, token(cast.auditor), dataset="trial", path=path).status_code == 403
    elsewhere = actions.create_dataset(actor=cast.stranger, slug="elsewhere")
    stranger = token(cast.stranger)
    assert post(client, stranger, dataset="trial", path=path).status_code == 404
    actions.grant(actor=cast.owner, dataset=dataset, user=cast.stranger, role="reviewer")
    assert post(client, stranger, dataset="trial", path=path).status_code == 404
    assert post(client, token(cast.pipeline), dataset=elsewhere.slug, path=path).status_code == 404
    for address in (f"scans/{attempt.scan_id}", f"attempts/{attempt.pk}", "datasets/trial/scans"):
        assert client.get(f"/api/v1/{address}", headers=stranger).status_code == 404
    assert Scan.objects.count() == 1


@pytest.mark.parametrize(
    "path",
    [
        "elsewhere/sub-1_T1w.nii.gz",
        "intake/../elsewhere/sub-1_T1w.nii.gz",
        "intake/link.nii.gz",
        "intake",
        "intake/none.nii.gz",
    ],
)
def test_only_below_an_intake_folder(client, cast, token, dataset, place, path):
    (place / "intake" / "link.nii.gz").symlink_to(place / "elsewhere" / "sub-1_T1w.nii.gz")
    answer = post(client, token(cast.pipeline), dataset="trial", path=f"{place}/{path}")
    assert answer.status_code == 422
    assert "intake folder" in answer.json()["detail"]
    assert not Scan.objects.exists()


def test_a_bad_file_is_refused_and_visible(client, cast, token, dataset, place):
    (place / "intake" / "bad.nii.gz").write_bytes(b"x")
    headers = token(cast.pipeline)
    answer = post(client, headers, dataset="trial", path=str(place / "intake" / "bad.nii.gz"))
    found = outcome(client, headers, answer)
    assert (found["state"], found["file"]) == ("refused", "bad.nii.gz")
    assert "disagree" in found["reason"]
    assert Attempt.objects.get().status == Status.ERROR
    assert found["scan"]["attempts"][0]["status"] == "error"


def test_an_upload_is_kept_by_its_content(client, cast, token, dataset, place, enqueued):
    content = (place / "intake" / "sub-1_T1w.nii.gz").read_bytes()
    headers = token(cast.pipeline)
    answer = upload(client, headers, "../../etc/sub-2 T1w;rm.nii.gz", content)
    found = outcome(client, headers, answer)
    assert (answer.status_code, found["state"]) == (202, "taken")
    kept = Scan.objects.get()
    assert kept.source_path.startswith(str(place / "data" / "uploads" / "trial"))
    assert kept.name == "sub-2_T1w_rm.nii.gz"
    again = upload(client, headers, "again.nii.gz", content)
    assert (again.status_code, again.json()) == (200, found)
    assert Scan.objects.count() == 1
    assert [path.name for path in Path(kept.source_path).parent.iterdir()] == [kept.name]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.nii.gz", b""), ("a.nii.gz", b"not a volume"), ("a.exe", b"MZ"), ("noname", b"x")],
)
def test_an_upload_that_is_no_volume_is_not_kept(client, cast, token, dataset, place, name, content):
    headers = token(cast.pipeline)
    answer = upload(client, headers, name, content)
    if answer.status_code == 202:
        found = outcome(client, headers, answer)
        assert (found["state"], bool(found["reason"])) == ("refused", True)
    else:
        assert answer.status_code in (400, 422)
    assert not Scan.objects.exists()
    assert not [path for path in (place / "data" / "uploads" / "trial").rglob("*") if path.is_file()]


def test_a_refused_upload_takes_no_other_name_of_its_content_with_it(client, cast, token, dataset, place):
    content, headers = (place / "intake" / "sub-1_T1w.nii.gz").read_bytes(), token(cast.pipeline)
    assert outcome(client, headers, upload(client, headers, "scan.nii.gz", content))["state"] == "taken"
    original = Path(Scan.objects.get().original_path)
    assert upload(client, headers, "scan.nii", content).status_code == 200  # the same bytes
    found = outcome(client, headers, upload(client, headers, "scan.nii.gz", content, defaced="true"))
    assert found["state"] == "known"
    assert original.read_bytes() == content
    assert [path.name for path in original.parent.iterdir()] == ["scan.nii.gz"]


def test_the_web_process_reads_nothing_of_what_is_handed_in(client, cast, token, dataset, place, monkeypatch):
    """Whatever the file claims: neither way of handing in opens it as a volume."""
    for name in ("opened", "read_volume"):
        monkeypatch.setattr(f"reviews.ingest.{name}", pytest.fail)
    for module in ("inflated", "decompressed"):
        monkeypatch.setattr(f"inference.volumes.{module}", pytest.fail)
    headers, path = token(cast.pipeline), place / "intake" / "sub-1_T1w.nii.gz"
    assert post(client, headers, dataset="trial", path=str(path)).status_code == 202
    assert upload(client, headers, "scan.nii.gz", path.read_bytes()).status_code == 202
    assert not Scan.objects.exists()


def test_a_bomb_that_is_handed_in_is_refused_by_its_header(client, cast, token, dataset, place, monkeypatch):
    monkeypatch.setenv("QC_MAX_VOXELS", "1000")
    content, headers = (place / "intake" / "sub-1_T1w.nii.gz").read_bytes(), token(cast.pipeline)
    found = outcome(client, headers, upload(client, headers, "scan.nii.gz", content))
    assert (found["state"], found["reason"][:9]) == ("refused", "too large")
    assert not Scan.objects.exists()


def test_one_upload_at_a_time_for_each_user(client, cast, token, dataset, place):
    content, headers = (place / "intake" / "sub-1_T1w.nii.gz").read_bytes(), token(cast.pipeline)
    running = handing_in.Turn(cast.pipeline.pk)
    assert running.held
    answer = upload(client, headers, "scan.nii.gz", content)
    assert (answer.status_code, "upload" in answer.json()["detail"]) == (429, True)
    assert client.get("/api/v1/datasets/trial/scans", headers=headers).status_code == 200
    other = handing_in.Turn(cast.owner.pk)
    assert other.held
    other.end()
    running.end()
    for _ in range(6):  # more often than there are turns: each ends with its answer, a refused one too
        assert upload(client, headers, "no volume", content).status_code == 422
    assert upload(client, headers, "scan.nii.gz", content).status_code == 202


def test_a_stranger_fills_no_disk(client, dataset, place, settings):
    settings.FILE_UPLOAD_TEMP_DIR = str(place / "elsewhere")
    before = sorted(place.rglob("*"))
    for address in ("/api/v1/scans/upload", "/api/v1/scans"):
        file = SimpleUploadedFile("a.nii.gz", bytes(3 << 20))
        assert client.post(address, {"dataset": "trial", "file": file}).status_code in (401, 413)
    assert sorted(place.rglob("*")) == before


def test_what_a_lost_job_left_is_read_by_another(client, cast, token, dataset, place, enqueued):
    headers, path = token(cast.pipeline), str(place / "intake" / "sub-1_T1w.nii.gz")
    intake = actions.hand_in(actor=cast.pipeline, dataset=dataset, path=path, original=None, defaced=False)[0]
    assert actions.claim_intake(intake.pk)
    assert [take_in(intake.pk), actions.requeue_intakes(older_than=timedelta())] == [False, 0]
    for stamp in (timezone.now() - timedelta(hours=1), timezone.now() + timedelta(days=9)):
        Intake.objects.update(claimed_at=stamp)
        assert actions.requeue_intakes(older_than=timedelta()) == 1
    assert enqueued[-1] == ("reviews.handing_in.take_in", intake.pk)
    assert take_in(intake.pk)
    assert not take_in(intake.pk)
    assert client.get(f"/api/v1/intakes/{intake.pk}", headers=headers).json()["state"] == "taken"


def test_what_ends_every_job_is_given_up(cast, dataset, place):
    intake = actions.hand_in(actor=cast.pipeline, dataset=dataset, path="/x", original=None, defaced=False)[0]
    for _ in range(5):
        assert actions.claim_intake(intake.pk)
        Intake.objects.update(claimed_at=None)
    assert actions.claim_intake(intake.pk) is None
    assert Intake.objects.get().state == "refused"


def test_only_who_handed_it_in_is_told(client, cast, token, dataset, place):
    path = str(place / "intake" / "sub-1_T1w.nii.gz")
    answer = post(client, token(cast.pipeline), dataset="trial", path=path).json()
    assert client.get(answer["status_url"], headers=token(cast.owner)).status_code == 404


def test_whoever_judges_since_is_told_nothing_of_what_they_handed_in(client, cast, token, dataset, place):
    path, headers = str(place / "intake" / "sub-1_T1w.nii.gz"), token(cast.pipeline)
    answer = post(client, headers, dataset="trial", path=path).json()
    other = actions.create_dataset(actor=cast.root, slug="other")
    actions.grant(actor=cast.root, dataset=other, user=cast.pipeline, role="pipeline")
    actions.grant(actor=cast.owner, dataset=dataset, user=cast.pipeline, role="reviewer")
    assert client.get("/api/v1/datasets/other/scans", headers=headers).status_code == 200
    assert client.get(answer["status_url"], headers=headers).status_code == 404


def test_a_turn_that_cannot_be_noted_takes_none_away(cast, place, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "no space left")

    for _ in range(6):
        with monkeypatch.context() as patch:
            patch.setattr(handing_in.os, "open", full)
            with pytest.raises(OSError, match="no space"):
                handing_in.Turn(cast.pipeline.pk)
    turn = handing_in.Turn(cast.pipeline.pk)
    assert turn.held
    turn.end()


def test_too_large(client, cast, token, dataset, place, settings):
    settings.MOST_UPLOAD_BYTES = 10
    assert upload(client, token(cast.pipeline), "a.nii.gz", b"x" * 11).status_code == 413


def test_a_revoked_token_and_a_locked_user_are_out(client, cast, token, dataset):
    headers = token(cast.pipeline)
    assert client.get("/api/v1/datasets/trial/scans", headers=headers).status_code == 200
    actions.revoke_token(actor=cast.pipeline, token=ApiToken.objects.get())
    assert client.get("/api/v1/datasets/trial/scans", headers=headers).status_code == 401
    headers = token(cast.pipeline)
    cast.pipeline.is_active = False
    cast.pipeline.save()
    assert client.get("/api/v1/datasets/trial/scans", headers=headers).status_code == 401


def test_tokens_are_kept_as_hashes_and_made_for_oneself(cast, dataset):
    raw = actions.issue_token(actor=cast.pipeline, user=cast.pipeline, name="nightly")
    assert raw not in str(list(ApiToken.objects.values()))
    with pytest.raises(actions.NotAllowed):
        actions.issue_token(actor=cast.reviewer, user=cast.owner, name="x")
    with pytest.raises(actions.NotAllowed):
        actions.revoke_token(actor=cast.reviewer, token=ApiToken.objects.get())
