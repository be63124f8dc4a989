"""The pipelines' interface: only with a token, only own datasets, nothing an upload says is trusted."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from reviews import actions
from reviews.models import ApiToken, Attempt, Scan
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


def upload(client, headers, name, content, dataset="trial"):
    file = SimpleUploadedFile(name, content)
    return client.post("/api/v1/scans/upload", {"dataset": dataset, "file": file}, headers=headers)


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
    assert (answer.status_code, answer.json()["outcome"]) == (201, "new")
    scan = answer.json()["scan"]
    assert (scan["subject"], scan["suffix"], scan["passed"]) == ("1", "T1w", False)
    again = post(client, headers, dataset="trial", path=path)
    assert (again.status_code, again.json()["outcome"]) == (200, "known")
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
    answer = post(client, token(cast.pipeline), dataset="trial", path=str(place / "intake" / "bad.nii.gz"))
    assert answer.status_code == 422
    assert "bad.nii.gz" in answer.json()["detail"]
    assert Attempt.objects.get().status == Status.ERROR


def test_an_upload_is_kept_by_its_content(client, cast, token, dataset, place):
    content = (place / "intake" / "sub-1_T1w.nii.gz").read_bytes()
    headers = token(cast.pipeline)
    answer = upload(client, headers, "../../etc/sub-2 T1w;rm.nii.gz", content)
    assert answer.status_code == 201
    kept = Scan.objects.get()
    assert kept.source_path.startswith(str(place / "data" / "uploads" / "trial"))
    assert kept.name == "sub-2_T1w_rm.nii.gz"
    assert upload(client, headers, "again.nii.gz", content).json()["outcome"] == "known"
    assert Scan.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.nii.gz", b""), ("a.nii.gz", b"not a volume"), ("a.exe", b"MZ"), ("noname", b"x")],
)
def test_an_upload_that_is_no_volume_is_not_kept(client, cast, token, dataset, place, name, content):
    answer = upload(client, token(cast.pipeline), name, content)
    assert answer.status_code in (400, 422)
    assert not Scan.objects.exists()
    assert not [path for path in (place / "data").rglob("*") if path.is_file()]


def test_a_refused_upload_takes_no_other_name_of_its_content_with_it(client, cast, token, dataset, place):
    content, headers = (place / "intake" / "sub-1_T1w.nii.gz").read_bytes(), token(cast.pipeline)
    assert upload(client, headers, "scan.nii.gz", content).status_code == 201
    original = Path(Scan.objects.get().original_path)
    assert upload(client, headers, "scan.nii", content).status_code == 422  # it is gzip-compressed
    assert original.read_bytes() == content
    assert [path.name for path in original.parent.iterdir()] == ["scan.nii.gz"]


def test_an_upload_that_broke_the_reader_is_not_kept(client, cast, token, dataset, place, monkeypatch):
    def breaks(path):
        raise MemoryError

    monkeypatch.setattr("reviews.api.read_volume", breaks)
    content = (place / "intake" / "sub-1_T1w.nii.gz").read_bytes()
    with pytest.raises(MemoryError):
        upload(client, token(cast.pipeline), "scan.nii.gz", content)
    assert not list((place / "data" / "uploads" / "trial").iterdir())


def test_too_large(client, cast, token, dataset, place, monkeypatch):
    monkeypatch.setattr("reviews.api.MOST_UPLOAD_BYTES", 10)
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
