"""Stored paths are opened by what was taken in: whoever swaps a file, a folder or a link is shown nothing."""

import hashlib
import os
import shutil
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from django.apps import apps
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from inference.opening import NotOpened, open_below, open_regular
from inference.volumes import VolumeError
from reviews import actions, jobs
from reviews.models import Attempt, Scan
from reviews.states import Status
from reviews.stored_files import open_own
from reviews.views.pictures import picture_url, token
from tests.conftest import now

pytestmark = pytest.mark.django_db
SECRET = b"the key of the site"


@pytest.fixture
def place(tmp_path, settings):
    """A tree with one pair, taken in; beside it a secret and another person's volume."""
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    (settings.DATA_DIR / "secret_key").write_bytes(SECRET)
    values = np.random.default_rng(1).integers(0, 900, (9, 10, 11)).astype(np.int16)
    for name, shift in (("raw", 0), ("out", 1), ("elsewhere", 2)):
        (tmp_path / name / "sub-1").mkdir(parents=True)
        nib.save(nib.Nifti1Image(values + shift, np.eye(4)), tmp_path / name / "sub-1" / "sub-1_T1w.nii")
    return tmp_path


@pytest.fixture
def attempt(place, dataset):
    """The pair as an attempt that a person looks at."""
    raw, out = str(place / "raw"), str(place / "out")
    call_command("ingest", out, "--dataset", dataset.slug, "--originals", raw, verbosity=0)
    made = Attempt.objects.get()
    Attempt.objects.filter(pk=made.pk).update(
        status=Status.REFER, views_dir=f"views/0/{made.pk}", view_names=["front"]
    )
    (place / "data" / "views" / "0" / str(made.pk)).mkdir(parents=True)
    (place / "data" / "views" / "0" / str(made.pk) / "front.webp").write_bytes(b"a picture")
    return now(made)


@pytest.fixture
def ask(cast, dataset):
    """What an auditor who may download originals gets from an address: status and bytes."""
    actions.grant(
        actor=cast.owner, dataset=dataset, user=cast.auditor, role="auditor", downloads_originals=True
    )
    client = Client()
    client.force_login(cast.auditor)

    def answer(url):
        got = client.get(url)
        return got.status_code, got.getvalue() if got.streaming else got.content

    return answer


def volume_url(attempt, layer):
    return reverse("volume", args=[attempt.pk, token(attempt), layer, "volume.nii"])


def slices_url(attempt, layer):
    return reverse("slices", args=[attempt.pk, token(attempt), "axial", layer])


def aside(path):
    shutil.move(path, f"{path}.was")


def to_link(path, place):
    aside(path)
    path.symlink_to(place / "data" / "secret_key")


def to_password_file(path, place):
    aside(path)
    path.symlink_to("/etc/passwd")


def to_link_of_the_same_content(path, place):
    aside(path)
    path.symlink_to(f"{path}.was")


def folder_to_link(path, place):
    aside(path.parent)
    path.parent.symlink_to(place / "elsewhere" / "sub-1")


def root_to_link(path, place):
    aside(path.parent.parent)
    path.parent.parent.symlink_to(place / "elsewhere")


def to_hard_link(path, place):
    path.unlink()
    os.link(place / "elsewhere" / "sub-1" / "sub-1_T1w.nii", path)


def to_other_file(path, place):
    path.unlink()
    shutil.copy(place / "elsewhere" / "sub-1" / "sub-1_T1w.nii", path)


def to_other_content_of_the_same_size_and_time(path, place):
    before = path.stat()
    path.write_bytes((place / "elsewhere" / "sub-1" / "sub-1_T1w.nii").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def to_fifo(path, place):
    path.unlink()
    os.mkfifo(path)


def to_device(path, place):
    path.unlink()
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")


def to_folder(path, place):
    path.unlink()
    path.mkdir()


def to_nothing(path, place):
    path.unlink()


SWAPS = [
    to_link,
    to_password_file,
    to_link_of_the_same_content,
    folder_to_link,
    root_to_link,
    to_hard_link,
    to_other_file,
    to_other_content_of_the_same_size_and_time,
    to_fifo,
    to_device,
    to_folder,
    to_nothing,
]


def file_of(attempt, layer):
    return Path(attempt.output_path if layer == "after" else attempt.scan.original_path)


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
@pytest.mark.parametrize("layer", ["after", "before"])
def test_a_swapped_file_is_neither_served_nor_drawn(attempt, ask, place, layer, swap):
    taken_in = file_of(attempt, layer).read_bytes()
    assert ask(volume_url(attempt, layer)) == (200, taken_in)
    swap(file_of(attempt, layer), place)
    assert ask(volume_url(now(attempt), layer))[0] == 404
    status, said = ask(slices_url(now(attempt), layer))
    assert status == 422
    assert str(place).encode() not in said


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
def test_no_job_uses_a_swapped_file(attempt, place, swap):
    for kind, layer in ((jobs.render_attempt, "after"), (jobs.render_attempt, "before")):
        Attempt.objects.filter(pk=attempt.pk).update(status=Status.TO_RENDER, error_text="")
        path = file_of(attempt, layer)
        swap(path, place)
        assert kind(attempt.pk) is False
        assert now(attempt).status == Status.ERROR
        assert "sub-1_T1w.nii: " in now(attempt).error_text


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
def test_no_swapped_original_is_defaced(attempt, place, swap):
    Attempt.objects.filter(pk=attempt.pk).update(status=Status.TO_DEFACE)
    swap(file_of(attempt, "before"), place)
    assert jobs.deface_attempt(attempt.pk) is False
    assert now(attempt).status == Status.ERROR
    assert not list((place / "data").rglob("*.nii"))


def test_the_same_content_that_was_touched_or_written_anew_is_served_and_known_again(attempt, ask):
    for layer in ("after", "before"):
        path = file_of(attempt, layer)
        content = path.read_bytes()
        os.utime(path, ns=(1, 10**18))
        assert ask(volume_url(attempt, layer)) == (200, content)
        path.unlink()
        path.write_bytes(content)
        assert ask(volume_url(now(attempt), layer)) == (200, content)
        assert ask(slices_url(now(attempt), layer))[0] == 200


def test_a_stamp_is_renewed_once_and_saves_the_reading(attempt, monkeypatch):
    monkeypatch.setattr("inference.opening.SETTLED_SECONDS", 0)
    os.utime(attempt.output_path, ns=(1, 10**18))
    actions.output_of(attempt).open().close()
    again = actions.output_of(now(attempt))
    assert again.seen() == again.stamp != attempt.output_stamp
    monkeypatch.setattr("reviews.stored_files.hashlib", None)  # reading it anew would need this
    again.open().close()


def test_a_file_that_changed_just_now_has_no_stamp_yet(attempt):
    path = Path(attempt.output_path)
    path.write_bytes(path.read_bytes())
    actions.output_of(attempt).open().close()
    assert now(attempt).output_stamp == attempt.output_stamp


def test_slices_drawn_before_the_swap_still_show_what_was_taken_in(attempt, ask, place):
    drawn = ask(slices_url(attempt, "removed"))
    assert drawn[0] == 200
    to_other_file(file_of(attempt, "after"), place)
    assert ask(slices_url(now(attempt), "removed")) == drawn


@pytest.mark.parametrize("swap", [to_link, to_password_file, to_fifo], ids=lambda swap: swap.__name__)
def test_a_stored_sheet_that_was_swapped_is_drawn_anew(attempt, ask, place, swap):
    drawn = ask(slices_url(attempt, "after"))
    (sheet,) = (place / "data" / "slices").glob("*.webp")
    swap(sheet, place)
    assert ask(slices_url(attempt, "after")) == drawn
    assert sheet.is_file()
    assert not sheet.is_symlink()


@pytest.mark.parametrize(
    "swap", [to_link, to_password_file, folder_to_link, to_fifo, to_device], ids=lambda swap: swap.__name__
)
def test_a_swapped_picture_is_not_served(attempt, ask, place, swap):
    url = picture_url(attempt, "front")
    assert ask(url) == (200, b"a picture")
    (place / "elsewhere" / "sub-1" / "front.webp").write_bytes(SECRET)
    swap(attempt.views_path / "front.webp", place)
    assert ask(url)[0] == 404


def test_a_data_folder_over_a_link_still_works(attempt, ask, place, settings):
    (place / "by-link").symlink_to(place / "data")
    settings.DATA_DIR = place / "by-link"
    assert ask(picture_url(attempt, "front")) == (200, b"a picture")
    assert ask(slices_url(attempt, "after"))[0] == 200


def test_an_address_cannot_be_computed_without_the_sites_key(attempt, ask, settings):
    named = f"{attempt.pk}:{attempt.views_dir}:{attempt.render_version}:{attempt.output_sha256}"
    guessed = hashlib.sha256(named.encode()).hexdigest()[:16]
    assert ask(reverse("picture", args=[attempt.pk, guessed, "front"]))[0] == 404
    ours = token(attempt)
    assert token(now(attempt)) == ours
    settings.SECRET_KEY = "another"
    assert token(attempt) != ours


def test_a_link_that_leads_out_of_the_tree_is_not_taken_in(place, dataset, capsys):
    link = place / "raw" / "sub-2_T1w.nii"
    link.symlink_to(place / "elsewhere" / "sub-1" / "sub-1_T1w.nii")
    with pytest.raises(Exception, match="could not be taken in"):
        call_command("ingest", str(place / "raw"), "--dataset", dataset.slug, verbosity=0)
    assert "a link leads out of the folder" in capsys.readouterr().err
    assert {attempt.status for attempt in Attempt.objects.filter(scan__subject="2")} == {"error"}


def test_a_link_inside_the_tree_or_into_an_intake_folder_is_taken_in_as_its_file(place, dataset, settings):
    settings.INTAKE_ROOTS = [str(place / "elsewhere")]
    (place / "raw" / "sub-2_T1w.nii").symlink_to(place / "elsewhere" / "sub-1" / "sub-1_T1w.nii")
    (place / "raw" / "store").mkdir()
    shutil.move(place / "out" / "sub-1" / "sub-1_T1w.nii", place / "raw" / "store" / "key-123.nii")
    (place / "raw" / "sub-3_T1w.nii").symlink_to("store/key-123.nii")
    (place / "raw" / "store").rename(place / "raw" / ".store")
    (place / "raw" / "sub-3_T1w.nii").unlink()
    (place / "raw" / "sub-3_T1w.nii").symlink_to(".store/key-123.nii")
    call_command("ingest", str(place / "raw"), "--dataset", dataset.slug, verbosity=0)
    stored = {scan.subject: (scan.name, scan.source_path, scan.source_root) for scan in Scan.objects.all()}
    other = place / "elsewhere" / "sub-1" / "sub-1_T1w.nii"
    assert stored["2"] == ("sub-2_T1w.nii", str(other), str(place / "elsewhere"))
    kept = place / "raw" / ".store" / "key-123.nii"
    assert stored["3"] == ("sub-3_T1w.nii", str(kept), str(place / "raw"))
    call_command("ingest", str(place / "raw"), "--dataset", dataset.slug, verbosity=0)
    assert Scan.objects.count() == 3


def test_only_below_the_root_and_only_by_a_whole_path(place):
    inside = place / "raw" / "sub-1" / "sub-1_T1w.nii"
    open_below(place / "raw", inside).close()
    for root, path in (
        (place / "out", inside),
        (place / "raw", place / "raw" / ".." / "data" / "secret_key"),
        (place / "raw", place / "raw"),
        ("", inside),
        ("raw", "raw/sub-1"),
    ):
        with pytest.raises(NotOpened):
            open_below(root, path)
    with pytest.raises(NotOpened):
        open_regular("relative")
    with pytest.raises(NotOpened):
        open_own("../raw/sub-1/sub-1_T1w.nii")


def test_a_file_outside_its_root_is_refused_in_words(attempt):
    Attempt.objects.filter(pk=attempt.pk).update(output_root="")
    with pytest.raises(VolumeError, match="outside of the folder"):
        actions.output_of(now(attempt)).open()


def test_an_opening_leaves_no_descriptor_behind(place):
    before = len(os.listdir("/proc/self/fd"))
    (place / "link").symlink_to("/etc/passwd")
    for path in (place / "link", place / "raw", place / "none", place / "none" / "none"):
        with pytest.raises((NotOpened, FileNotFoundError)):
            open_regular(path)
    open_regular(place / "raw" / "sub-1" / "sub-1_T1w.nii").close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_older_rows_are_told_the_folder_their_files_lie_in(attempt, place, ask):
    (place / "link").symlink_to(place / "raw")
    older = f"{place}/link/sub-1/sub-1_T1w.nii"
    Scan.objects.update(source_path=older, original_path=older, source_root="", original_stamp="")
    own = place / "data" / "defaced" / "1" / "attempt-1" / "sub-1_T1w.nii"
    own.parent.mkdir(parents=True)
    shutil.copy(attempt.output_path, own)
    Attempt.objects.update(output_path=str(own), output_root="?", output_stamp="")
    import_module("reviews.migrations.0017_stored_roots").fill(apps, None)
    scan, made = Scan.objects.get(), now(attempt)
    real = place / "raw" / "sub-1" / "sub-1_T1w.nii"
    assert (scan.source_path, scan.original_path, scan.source_root) == (
        str(real),
        str(real),
        str(real.parent),
    )
    assert (made.output_path, made.output_root) == (str(own), "")
    assert {ask(volume_url(made, layer))[0] for layer in ("before", "after")} == {200}
