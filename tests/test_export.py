"""Exports: complete, safe in a spreadsheet, whole or not at all, and checkable without this software."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from reviews import actions, export, verify_chain
from reviews.export.files import cell
from reviews.models import AuditHead, FormerName, Lease
from reviews.states import Status
from tests.conftest import judge, without_triggers

pytestmark = pytest.mark.django_db


@pytest.fixture
def study(make, cast, dataset):
    """One passed scan, one failed with its next attempt, one that was undone, one in error."""
    looked_at = make(subject="=HYPERLINK(1)")
    actions.lease_one(actor=cast.reviewer, attempt_id=looked_at.pk, mode="verify")
    Lease.objects.update(granted_at=timezone.now() - timedelta(seconds=9))
    judge(cast.reviewer, looked_at, active_ms=4200)
    judge(cast.reviewer, make(), "face", reasons=["eyes", "nose"])
    verdict = judge(cast.reviewer, make(), "brain")
    actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce="u")
    make(Status.ERROR)
    return dataset


def run(dataset, kind, target):
    out = io.StringIO()
    call_command("export", "--dataset", dataset.slug, "--format", kind, "--out", str(target), stdout=out)
    return out.getvalue()


def test_csv_holds_every_attempt_with_versions(study, tmp_path):
    assert "whole" in run(study, "csv", tmp_path / "study.csv")
    with (tmp_path / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == study.attempts.count() == 6
    passed = next(row for row in rows if row["status"] == "passed")
    assert (passed["verdict"], passed["verdict_by"], passed["active_seconds"]) == ("pass", "reviewer", "4.2")
    assert (passed["thresholds"], passed["model"], passed["p_pass"]) == ("1", "m" * 64, "0.995")
    failed = next(row for row in rows if row["verdict"] == "face")
    assert json.loads(failed["verdict_reasons"]) == ["eyes", "nose"]
    undone = next(row for row in rows if "retraction" in row["decisions"])
    assert (undone["verdict"], undone["status"]) == ("n/a", "verify")
    assert [d["kind"] for d in json.loads(undone["decisions"])] == ["decision", "retraction"]
    assert any("it broke" in row["error"] for row in rows)


def test_no_cell_is_a_formula(study, tmp_path):
    run(study, "csv", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        cells = [value for row in csv.reader(file) for value in row]
    assert "'=HYPERLINK(1)" in cells
    assert not any(value.startswith(("=", "+", "@", "-")) for value in cells)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("=1", "'=1"), ("-1", "'-1"), ("\tx", "'\tx"), (-1.5, -1.5), (None, "n/a"), (True, "true")],
)
def test_cells(value, shown):
    assert cell(value) == shown


def test_json_and_tsv(study, tmp_path):
    run(study, "json", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert len(found["attempts"]) == 6
    assert found["audit_chain"]["whole"] is True
    run(study, "tsv", tmp_path / "a.tsv")
    assert len((tmp_path / "a.tsv").read_text().splitlines()) == 7


def test_an_empty_dataset(dataset, tmp_path):
    for kind in export.FORMATS:
        run(dataset, kind, tmp_path / f"a.{kind}")
    assert json.loads((tmp_path / "a.json").read_text())["attempts"] == []


def test_pdf(study, tmp_path):
    run(study, "pdf", tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF-")


def test_the_trail_beside_it_is_checked_without_this_software(study, tmp_path):
    run(study, "csv", tmp_path / "a.csv")
    trail = tmp_path / "a.trail.jsonl"

    def check():
        return subprocess.run(
            [sys.executable, "-I", "verify_chain.py", trail.name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    assert check().returncode == 0
    trail.write_text(trail.read_text().replace('"class": "face"', '"class": "pass"', 1))
    assert "content was changed" in check().stdout


def test_other_datasets_stay_out(study, cast, tmp_path):
    other = actions.create_dataset(actor=cast.owner, slug="other", ears_required=True)
    run(study, "csv", tmp_path / "a.csv")
    lines = [json.loads(line) for line in (tmp_path / "a.trail.jsonl").read_text().splitlines()]
    withheld = [line for line in lines if line.get("withheld")]
    assert withheld
    assert all(set(line) == {*verify_chain.LINKED, "digest", "withheld"} for line in withheld)
    assert not any(line["dataset"] == other.pk for line in lines if line not in withheld)


def test_a_failed_export_leaves_the_old_file(study, tmp_path, monkeypatch):
    target = tmp_path / "a.csv"
    target.write_text("old")

    def breaks(dataset, path, chain):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setitem(export.FORMATS, "csv", breaks)
    with pytest.raises(OSError, match="disk full"):
        run(study, "csv", target)
    assert target.read_text() == "old"
    assert not list(tmp_path.glob(".a.csv*"))


@pytest.mark.parametrize("kind", ["json", "pdf"])
def test_the_stated_end_is_that_of_the_trail_beside_it(study, cast, make, tmp_path, monkeypatch, kind):
    told, plain = {}, export.FORMATS[kind]

    def late(dataset, path, *chain):
        make()
        plain(dataset, path, *chain)

    def noted(dataset, path, rows, chain):
        told.update(chain)

    monkeypatch.setitem(export.FORMATS, kind, late)
    monkeypatch.setattr("reviews.export.pdf.write", noted)
    target, trail, *_ = export.write(study, kind, tmp_path / "a")
    chain = told if kind == "pdf" else json.loads(target.read_text())["audit_chain"]
    assert verify_chain.main([str(trail), chain["last_digest"]]) == 0
    assert (chain["events"], chain["whole"]) == (len(trail.read_text().splitlines()) - 1, True)


def test_an_export_tells_of_a_broken_chain(study, tmp_path):
    with without_triggers():
        AuditHead.objects.update(seq=F("seq") + 1)
    export.write(study, "json", tmp_path / "a.json")
    chain = json.loads((tmp_path / "a.json").read_text())["audit_chain"]
    assert chain["whole"] is False
    assert "missing at the end" in chain["problems"][0]


def test_a_download_is_one_archive(study, tmp_path):
    archive = export.bundle(study, "csv", tmp_path)
    names = zipfile.ZipFile(archive).namelist()
    assert sorted(name.rsplit(".", 1)[-1] for name in names) == ["csv", "csv", "jsonl", "jsonl", "py"]


def test_what_is_not_there_is_said(dataset, tmp_path):
    with pytest.raises(CommandError, match="no dataset 'nope'"):
        call_command("export", "--dataset", "nope", "--format", "csv", "--out", str(tmp_path / "a"))
    with pytest.raises(CommandError, match="no such folder"):
        run(dataset, "csv", tmp_path / "x" / "a.csv")


def actors_of(study, tmp_path, kind="csv") -> dict[str, dict]:
    archive = zipfile.ZipFile(export.bundle(study, kind, tmp_path))
    (name,) = [name for name in archive.namelist() if name.endswith(".actors.csv")]
    with archive.open(name) as file:
        return {row["key"]: row for row in csv.DictReader(io.TextIOWrapper(file))}


@pytest.mark.parametrize("kind", export.FORMATS)
def test_every_actor_of_the_trail_is_named_in_the_export_and_nobody_else(study, cast, tmp_path, kind):
    other = actions.create_dataset(actor=cast.stranger, slug="other")
    actions.grant(actor=cast.stranger, dataset=other, user=cast.root, role="reviewer")
    cast.colleague.is_active = False
    cast.colleague.save()
    found = actors_of(study, tmp_path, kind)
    run(study, "csv", tmp_path / "a.csv")
    events = [json.loads(line) for line in (tmp_path / "a.trail.jsonl").read_text().splitlines()]
    acted = {e["actor"] for e in events[1:] if e.get("dataset") == study.pk} - {"system"}
    assert acted <= set(found)
    assert f"user:{cast.stranger.pk}" not in found
    assert f"user:{cast.root.pk}" not in found
    reviewer = found[f"user:{cast.reviewer.pk}"]
    assert (reviewer["name"], reviewer["role"], reviewer["account"]) == ("reviewer", "Reviewer", "open")
    assert found[f"user:{cast.colleague.pk}"]["account"] == "closed"


def test_who_changed_the_account_of_an_actor_is_named_too(study, cast, tmp_path, client):
    assert f"user:{cast.root.pk}" not in actors_of(study, tmp_path)
    client.force_login(cast.root)
    address = reverse("admin:auth_user_password_change", args=[cast.reviewer.pk])
    secret = "correct horse battery staple"
    client.post(address, {"password1": secret, "password2": secret, "usable_password": "true"})
    assert actors_of(study, tmp_path)[f"user:{cast.root.pk}"]["role"] == "Superuser"


def test_a_renamed_actor_keeps_the_former_name(study, cast, tmp_path):
    cast.reviewer.username = "@somebody"
    cast.reviewer.save()
    row = actors_of(study, tmp_path)[f"user:{cast.reviewer.pk}"]
    assert row["name"] == "'@somebody"  # no formula
    assert row["former_names"].startswith("reviewer until 20")
    for change in (FormerName.objects.all().delete, lambda: FormerName.objects.update(name="x")):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()


def test_who_has_no_role_any_more_is_still_named(study, cast, tmp_path):
    actions.revoke(actor=cast.owner, dataset=study, user=cast.reviewer)
    assert actors_of(study, tmp_path)[f"user:{cast.reviewer.pk}"]["role"] == "n/a"
