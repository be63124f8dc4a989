"""Exports: complete, safe in a spreadsheet, whole or not at all, and checkable without this software."""

import csv
import io
import json
import subprocess
import sys
import zipfile

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F

from reviews import actions, export, verify_chain
from reviews.export.files import cell
from reviews.models import AuditHead
from reviews.states import Status
from tests.conftest import judge, without_triggers

pytestmark = pytest.mark.django_db


@pytest.fixture
def study(make, cast, dataset):
    """One passed scan, one failed with its next attempt, one that was undone, one in error."""
    judge(cast.reviewer, make(subject="=HYPERLINK(1)"), active_ms=4200)
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
    assert sorted(name.rsplit(".", 1)[-1] for name in names) == ["csv", "jsonl", "jsonl", "py"]


def test_what_is_not_there_is_said(dataset, tmp_path):
    with pytest.raises(CommandError, match="no dataset 'nope'"):
        call_command("export", "--dataset", "nope", "--format", "csv", "--out", str(tmp_path / "a"))
    with pytest.raises(CommandError, match="no such folder"):
        run(dataset, "csv", tmp_path / "x" / "a.csv")
