"""Trails from before events spoke of rows: nothing is rewritten, one event says where the older ones end."""

import importlib
import json
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from reviews import actions, audit, digests, export, verify_chain
from reviews.models import AuditEvent, AuditHead, Prediction, ThresholdSet, TriageRecord, Verdict
from tests.conftest import judge, without_triggers

pytestmark = pytest.mark.django_db
MIGRATION = importlib.import_module("reviews.migrations.0014_trail_format")


def made_older():
    """Every event as the software of before would have written it."""
    digest = verify_chain.START
    with without_triggers():
        for event in AuditEvent.objects.order_by("seq").values():
            after = {name: value for name, value in (event["after"] or {}).items() if name != "rows"}
            old = event | {"format": 1, "salt": "", "after": after or None, "previous_digest": digest}
            old["content_digest"] = verify_chain.content_digest(old)
            digest = old["digest"] = verify_chain.link(old)
            AuditEvent.objects.filter(pk=old.pop("id")).update(**old)
        AuditHead.objects.update(digest=digest)


@pytest.fixture
def older(make, cast, dataset):
    """A trail of before, of two datasets."""
    actions.create_dataset(actor=cast.owner, slug="other")
    judge(cast.reviewer, make(), "face")
    judge(cast.reviewer, make())
    made_older()
    return list(audit.rows())


def turn():
    connection.check_constraints()
    MIGRATION.turn(apps, SimpleNamespace(connection=connection))


def test_an_old_trail_stays_as_it_is_and_goes_on(older, make, cast, dataset, tmp_path):
    assert audit.problems() == []
    turn()
    judge(cast.reviewer, make())
    rows = list(audit.rows())
    assert rows[: len(older)] == older
    assert [row["format"] for row in rows[: len(older) + 2]] == [1] * len(older) + [2, 2]
    assert audit.problems() == []
    trail = export.write(dataset, "csv", tmp_path / "a.csv")[1]
    assert verify_chain.main([str(trail), rows[-1]["digest"]]) == 0


def test_the_turn_names_the_rows_that_were_there(older):
    turn()
    said = AuditEvent.objects.get(action=verify_chain.TURN).after["rows_before"]
    assert said["verdict"] == [Verdict.objects.latest("pk").pk, digests.older_digest(Verdict, 10**9)]
    assert set(said) == set(digests.KINDS)


def test_a_dataset_that_was_changed_before_the_turn_shows(older, dataset, tmp_path, capsys):
    turn()
    trail = export.write(dataset, "csv", tmp_path / "a.csv")[1]
    lines = [json.loads(line) for line in trail.read_text().splitlines()]
    hidden = next(line for line in lines if line.get("withheld"))
    assert hidden["format"] == 1
    hidden["dataset"] += 1
    trail.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verify_chain.main([str(trail)]) == 1
    assert "the dataset of an event before it was changed" in capsys.readouterr().out


def test_a_new_site_has_no_turn(dataset):
    assert not AuditEvent.objects.filter(action=verify_chain.TURN).exists()
    assert set(AuditEvent.objects.values_list("format", flat=True)) == {2}


@pytest.mark.parametrize("kept", [Verdict, TriageRecord, Prediction, ThresholdSet])
def test_a_row_has_one_digest_before_and_after_it_is_stored(make, cast, kept, monkeypatch):
    told = {}
    plain = digests.spoken_of

    def noted(rows):
        for row in rows:
            told[type(row), row.pk] = digests.digest_of(type(row), [digests.values_of(row)])
        return plain(rows)

    monkeypatch.setattr(digests, "spoken_of", noted)
    attempt = make()
    judge(cast.reviewer, attempt, "face", reasons=("eyes",), note="é\r\n", active_ms=1200.0, exposure_ms=7)
    actions.save_thresholds(
        actor=cast.root, policy=ThresholdSet.objects.get().cutoffs, evidence={"risk": 1e-7}
    )
    rows = kept.objects.values(*digests.columns(kept))
    assert rows
    for row in rows:
        assert told[kept, row["id"]] == digests.digest_of(kept, [row])


def test_a_renamed_field_leaves_the_digest_of_a_stored_row(make, cast):
    """'gold' of before is `on_known_case` in the same column."""
    known = make()
    actions.declare_known_case(actor=cast.manager, attempt_id=known.pk, truth="face", practice=True)
    actions.record_practice(actor=cast.reviewer, attempt_id=known.pk, klass="face", nonce="p")
    former = MigrationLoader(connection).project_state(("reviews", "0017_stored_roots")).apps
    before = former.get_model("reviews", "Verdict")
    assert before.objects.filter(gold=True).exists()
    assert digests.older_digest(before, 10**9) == digests.older_digest(Verdict, 10**9)


def test_each_column_counts(make, cast):
    row = digests.values_of(judge(cast.reviewer, make(), "face"))
    seen = {digests.digest_of(Verdict, [row])}
    for name, value in row.items():
        other = "" if isinstance(value, str) and value else 1 if not value else 0 if value is True else None
        changed = row | {name: other}
        if name == "reasons":
            changed[name] = ["eyes"]
        digest = digests.digest_of(Verdict, [changed])
        assert digest not in seen, name
        seen.add(digest)


def test_not_known_is_not_no(make, cast):
    row = digests.values_of(judge(cast.reviewer, make(), "face"))
    answers = [digests.digest_of(Verdict, [row | {"correct": value}]) for value in (None, False, True)]
    assert len(set(answers)) == 3
