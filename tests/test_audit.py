"""The trail: whole, append-only, and able to show what was changed, removed or added."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from reviews import audit, verify_chain
from reviews.models import AuditEvent, AuditHead, Prediction, TriageRecord, Verdict
from tests.conftest import judge, without_triggers

pytestmark = pytest.mark.django_db


@pytest.fixture
def trail(make, cast):
    """A few real events."""
    judge(cast.reviewer, make(), "face")
    judge(cast.reviewer, make())
    return list(audit.rows())


def test_the_chain_is_whole(trail):
    assert len(trail) > 10
    assert audit.problems() == []


@pytest.mark.parametrize("kept", [AuditEvent, Verdict, TriageRecord, Prediction])
def test_history_cannot_be_changed_or_deleted(trail, kept):
    table = kept._meta.db_table
    for statement in (f"UPDATE {table} SET id = id + 1000", f"DELETE FROM {table}"):
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    assert kept.objects.exists()


def tampered(trail, how):
    rows = json.loads(json.dumps(trail))
    match how:
        case "changed":
            rows[3]["after"] = {"status": "passed"}
        case "removed":
            del rows[3]
        case "reordered":
            rows[3], rows[4] = rows[4], rows[3]
        case "added":
            rows.insert(4, {**rows[3], "actor": "user:99"})
        case "rehashed":
            rows[3]["actor"] = "user:99"
            rows[3]["content_digest"] = verify_chain.content_digest(rows[3])
            rows[3]["digest"] = verify_chain.link(rows[3])
    return rows


@pytest.mark.parametrize("how", ["changed", "removed", "reordered", "added", "rehashed"])
def test_tampering_shows(trail, how):
    assert verify_chain.check(trail) == []
    assert verify_chain.check(tampered(trail, how))


def test_events_cut_off_the_end_show(trail):
    with without_triggers():
        AuditHead.objects.update(seq=len(trail) + 1)
    assert any("missing at the end" in problem for problem in audit.problems())


def test_an_event_while_the_end_is_checked_is_no_problem(trail, make):
    begun = []

    def busy(execute, sql, *rest):
        answer = execute(sql, *rest)
        if not begun and sql.startswith("SELECT") and "audithead" in sql:
            begun.append(sql)
            make()
        return answer

    with connection.execute_wrapper(busy):
        assert audit.problems() == []
    assert begun
    assert AuditEvent.objects.count() > len(trail)


def test_other_datasets_are_withheld_but_their_place_is_checked(trail, dataset):
    rows = [audit.shown(event, dataset.pk + 1) for event in trail]
    withheld = [row for row in rows if row.get("withheld")]
    assert len(withheld) > 5
    assert all(set(row) == {*verify_chain.LINKED, "digest", "withheld"} for row in withheld)
    chain = verify_chain.Chain()
    for row in rows:
        chain.add(row, "withheld" in row)
    assert chain.told() == []


def test_the_verifier_runs_alone(trail, dataset, tmp_path):
    copied = tmp_path / "verify_chain.py"
    copied.write_text(Path(verify_chain.__file__).read_text())
    for name, rows, code in (("good", trail, 0), ("bad", tampered(trail, "changed"), 1)):
        lines = [audit.first_line(dataset.pk), *(audit.shown(row, dataset.pk) for row in rows)]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = subprocess.run(
            [sys.executable, "-I", str(copied), name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "BROKEN" in done.stdout) == (code, bool(code))


def test_an_event_outside_a_transaction_is_refused(transactional_db):
    with pytest.raises(RuntimeError, match="transaction"):
        audit.append(
            actor=None, action="x", dataset=None, object_kind="x", object_id=None, before=None, after=None
        )


def test_the_trail_holds_no_names(trail, cast):
    text = json.dumps(trail)
    assert "sub-0001" not in text
    assert cast.colleague.username not in text
