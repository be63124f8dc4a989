"""Taking files in: once each, bad ones visible by name and reason, and a second run repairs."""

import gzip
import hashlib
import io
import os

import nibabel as nib
import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from reviews.actions import intake
from reviews.models import Attempt, AuditEvent, Dataset, Scan
from reviews.states import Status
from tests.conftest import now

pytestmark = pytest.mark.django_db


def volume(path, seed=0, shape=(12, 14, 16), dtype=np.int16, data=None):
    """A small readable volume, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 900, shape).astype(dtype) if data is None else data
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.1, 1.2, 1.0])), path)
    return path


def ingest(folder, *options, fails=False):
    """Run the command; returns what it printed and what it complained about."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["ingest", str(folder), "--dataset", "study", *options]
    if fails:
        with pytest.raises(CommandError) as caught:
            call_command(*arguments, stdout=out, stderr=err)
        assert caught.value.returncode == 1
    else:
        call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def statuses():
    return {attempt.scan.name: attempt.status for attempt in Attempt.objects.select_related("scan")}


def test_a_plain_folder(tmp_path):
    volume(tmp_path / "head01_t1.nii.gz", 1)
    volume(tmp_path / "deep" / "head02_flair.nii", 2)
    (tmp_path / "notes.txt").write_text("nothing")
    printed, complained = ingest(tmp_path)
    assert ("2 new" in printed, complained) == (True, "")
    scans = {scan.name: scan for scan in Scan.objects.all()}
    first = scans["head01_t1.nii.gz"]
    assert (first.subject, first.suffix, first.shape) == ("head01_t1", "T1w", [12, 14, 16])
    assert first.zooms == [1.0, 1.1, 1.2]
    assert first.content_hash == hashlib.sha256((tmp_path / "head01_t1.nii.gz").read_bytes()).hexdigest()
    assert set(statuses().values()) == {Status.TO_DEFACE}
    assert {attempt.plan for attempt in Attempt.objects.all()} == {"standard"}


def test_a_bids_tree(tmp_path):
    volume(tmp_path / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_run-1_T1w.nii.gz", 1)
    volume(tmp_path / "sub-01" / "ses-a" / "func" / "sub-01_ses-a_task-rest_bold.nii.gz", 2)
    printed, _ = ingest(tmp_path)
    scan = Scan.objects.get()
    assert (scan.subject, scan.session, scan.run, scan.suffix) == ("01", "a", "1", "T1w")
    assert "bold" in printed


def test_a_second_run_adds_nothing(tmp_path):
    volume(tmp_path / "a.nii.gz", 1)
    ingest(tmp_path)
    events = AuditEvent.objects.count()
    assert "1 known" in ingest(tmp_path)[0]
    (tmp_path / "a.nii.gz").touch()
    assert "1 known" in ingest(tmp_path)[0]
    assert (Scan.objects.count(), Attempt.objects.count(), AuditEvent.objects.count()) == (1, 1, events)


def test_the_same_content_under_two_names_is_one_scan(tmp_path):
    content = volume(tmp_path / "a.nii.gz", 1).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(content)
    assert "1 known, 1 new" in ingest(tmp_path)[0]
    assert Scan.objects.count() == 1


BAD = {
    "empty.nii.gz": b"",
    "text.nii.gz": b"this is not a volume",
    "garbage.nii": bytes(range(256)) * 20,
    "not_zipped.nii.gz": None,
    "image.img": b"analyze",
}


def test_bad_files_are_told_visible_and_stop_nothing(tmp_path):
    good = volume(tmp_path / "good.nii.gz", 1)
    for name, content in BAD.items():
        (tmp_path / name).write_bytes(gzip.decompress(good.read_bytes()) if content is None else content)
    (tmp_path / "cut.nii.gz").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    volume(tmp_path / "flat.nii.gz", data=np.ones((12, 14, 1), np.int16))
    volume(tmp_path / "zero.nii.gz", data=np.zeros((12, 14, 16), np.int16))
    volume(tmp_path / "nan.nii.gz", data=np.full((12, 14, 16), np.nan, np.float32))
    colour = np.zeros((12, 14, 16), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    volume(tmp_path / "colour.nii.gz", data=colour)
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices" / "1.dcm").write_bytes(b"x")
    printed, complained = ingest(tmp_path, fails=True)
    bad = [*BAD, "cut.nii.gz", "flat.nii.gz", "zero.nii.gz", "nan.nii.gz", "colour.nii.gz"]
    for name in bad:
        line = next(line for line in complained.splitlines() if f"/{name}:" in line)
        assert len(line.split(": ", 1)[1]) > 8
    assert "DICOM" in complained
    assert statuses() == {"good.nii.gz": "to_deface", **dict.fromkeys(bad, "error")}
    assert all(
        a.error_text.startswith(a.scan.name) for a in Attempt.objects.in_error().select_related("scan")
    )
    assert f"{len(bad)} attempts stand in ERROR" in printed


def test_a_name_that_is_not_utf8_is_told_and_stops_nothing(tmp_path):
    volume(tmp_path / os.fsdecode(b"M\xfcller.nii.gz"), 1)
    volume(tmp_path / os.fsdecode(b"M\xfcller") / "sub-1_task-rest_bold.nii.gz", 2)
    volume(tmp_path / "Müller.nii.gz", 3)
    printed, complained = ingest(tmp_path, fails=True)
    assert "/M\\xfcller.nii.gz: the name is not UTF-8" in complained
    assert "/M\\xfcller/sub-1_task-rest_bold.nii.gz: skipped" in printed
    assert statuses() == {"Müller.nii.gz": "to_deface"}


def test_an_original_whose_name_is_not_utf8_is_told(tmp_path):
    volume(tmp_path / "orig" / os.fsdecode(b"M\xfcller") / "a.nii.gz", 1)
    volume(tmp_path / "out" / "a_defaced.nii.gz", 2)
    _, complained = ingest(tmp_path / "out", "--originals", str(tmp_path / "orig"), fails=True)
    assert "orig/M\\xfcller/a.nii.gz: the name is not UTF-8" in complained
    assert not Scan.objects.exists()


def test_a_second_run_takes_what_was_repaired(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"")
    ingest(tmp_path, fails=True)
    ingest(tmp_path, fails=True)
    assert Attempt.objects.count() == 1
    volume(path, 1)
    assert "1 repaired" in ingest(tmp_path)[0]
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.error_text, attempt.scan.shape) == ("to_deface", "", [12, 14, 16])
    assert AuditEvent.objects.filter(action="file_repaired").count() == 1


def test_a_broken_file_that_another_run_takes_at_the_same_moment_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    volume(tmp_path / "b.nii.gz", 1)
    ingest(tmp_path / "a.nii.gz", fails=True)
    whole, asked = intake._broken_before, []

    def not_yet_there(dataset, source):
        asked.append(source)
        return None if len(asked) == 1 else whole(dataset, source)

    monkeypatch.setattr(intake, "_broken_before", not_yet_there)
    events = AuditEvent.objects.count()
    _, complained = ingest(tmp_path, fails=True)
    assert "a.nii.gz: the file is empty" in complained
    assert statuses() == {"a.nii.gz": Status.ERROR, "b.nii.gz": Status.TO_DEFACE}
    assert AuditEvent.objects.count() == events + 1  # of b


@pytest.mark.parametrize("status", [Status.WITHDRAWN, Status.TO_RENDER])
def test_a_broken_file_that_was_moved_on_stops_no_later_run(tmp_path, status):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"")
    ingest(tmp_path, fails=True)
    Attempt.objects.update(status=status)
    volume(tmp_path / "b.nii.gz", 1)
    _, complained = ingest(tmp_path, fails=True)
    assert "a.nii.gz: the file is empty" in complained
    assert statuses() == {"a.nii.gz": status, "b.nii.gz": "to_deface"}
    volume(path, 2)
    assert "1 known, 1 new" in ingest(tmp_path)[0]


def test_a_file_broken_in_another_way_tells_the_new_reason(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    ingest(tmp_path, fails=True)
    (tmp_path / "a.nii.gz").write_bytes(b"text")
    ingest(tmp_path, fails=True)
    attempt = Attempt.objects.get()
    assert (attempt.status, "not gzip-compressed" in attempt.error_text) == (Status.ERROR, True)


def test_a_file_that_could_not_be_read_is_taken_in_again_not_tried_again(tmp_path, client, cast, make):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    ingest(tmp_path, fails=True)
    client.force_login(cast.root)
    attempt = Attempt.objects.get()
    pages = [reverse("failures"), reverse("scan", args=[attempt.scan_id])]
    for page in pages:
        shown = client.get(page).content.decode()
        assert ("take it in again with ingest" in shown, ">Try again<" in shown) == (True, False)
    answer = client.post(reverse("attempt-retry", args=[attempt.pk]), follow=True)
    assert "Repair it and take it in again with ingest." in answer.content.decode()
    other = make(Status.ERROR)
    assert ">Try again<" in client.get(pages[0]).content.decode()
    answer = client.post(reverse("failures-retry"), follow=True)
    assert "1 attempts are tried again" in answer.content.decode()
    assert (now(attempt).status, now(attempt).error_text) == (Status.ERROR, attempt.error_text)
    assert now(other).status == Status.TO_RENDER


def test_a_repaired_file_that_was_known_already_leaves_no_error(tmp_path):
    content = volume(tmp_path / "a.nii.gz", 1).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(b"")
    ingest(tmp_path, fails=True)
    (tmp_path / "b.nii.gz").write_bytes(content)
    ingest(tmp_path)
    assert sorted(statuses().values()) == ["to_deface", "withdrawn"]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, monkeypatch):
    for number in range(4):
        volume(tmp_path / f"{number}.nii.gz", number)
    from reviews import ingest as module

    whole, taken = module.take, []

    def stops_after_two(candidate, dataset, *, actor):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(candidate)
        return whole(candidate, dataset, actor=actor)

    monkeypatch.setattr(module, "take", stops_after_two)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path)
    monkeypatch.setattr(module, "take", whole)
    assert "2 known, 2 new" in ingest(tmp_path)[0]


def test_defaced_files_with_their_originals(tmp_path):
    original = volume(tmp_path / "orig" / "sub-1" / "sub-1_T1w.nii.gz", 1)
    defaced = volume(tmp_path / "out" / "sub-1" / "sub-1_desc-defaced_T1w.nii.gz", 2)
    volume(tmp_path / "out" / "sub-2" / "sub-2_T1w.nii.gz", 3)
    _, complained = ingest(tmp_path / "out", "--originals", str(tmp_path / "orig"), fails=True)
    assert "sub-2_T1w.nii.gz: no original" in complained
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.engine, attempt.output_path) == ("to_render", "external", str(defaced))
    assert attempt.scan.original_path == str(original)
    assert attempt.scan.content_hash == hashlib.sha256(original.read_bytes()).hexdigest()


def test_another_output_waits_until_the_first_has_failed(tmp_path):
    volume(tmp_path / "orig" / "a.nii.gz", 1)
    volume(tmp_path / "out" / "a_defaced.nii.gz", 2)
    options = ("--originals", str(tmp_path / "orig"))
    ingest(tmp_path / "out", *options)
    volume(tmp_path / "out" / "a_defaced.nii.gz", 3)
    _, complained = ingest(tmp_path / "out", *options, fails=True)
    assert "under review" in complained
    Attempt.objects.update(status=Status.NEEDS_PERSON)
    ingest(tmp_path / "out", *options)
    assert sorted(Attempt.objects.values_list("number", "status")) == [(1, "needs_person"), (2, "to_render")]


def test_a_tree_with_derivatives_pairs_with_itself(tmp_path):
    volume(tmp_path / "sub-1" / "anat" / "sub-1_T1w.nii.gz", 1)
    volume(tmp_path / "derivatives" / "tool" / "sub-1" / "anat" / "sub-1_desc-defaced_T1w.nii.gz", 2)
    volume(tmp_path / "sub-2" / "anat" / "sub-2_T1w.nii.gz", 3)
    ingest(tmp_path)
    assert statuses() == {"sub-1_T1w.nii.gz": "to_render", "sub-2_T1w.nii.gz": "to_deface"}


def test_defaced_files_alone(tmp_path):
    volume(tmp_path / "a.nii.gz", 1)
    ingest(tmp_path, "--defaced")
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.scan.has_original) == (Status.TO_RENDER, False)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(CommandError, match="no such file"):
        call_command("ingest", str(tmp_path / "nowhere"), "--dataset", "study")
    with pytest.raises(CommandError, match="no volumes"):
        call_command("ingest", str(tmp_path), "--dataset", "study")
    with pytest.raises(CommandError, match="--dataset"):
        call_command("ingest", str(tmp_path), "--dataset", "not a slug!")
    assert Dataset.objects.count() <= 1


def test_originals_are_never_written_to(tmp_path):
    path = volume(tmp_path / "a.nii.gz", 1)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    ingest(tmp_path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
