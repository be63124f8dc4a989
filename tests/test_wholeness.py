"""'Check the chain' holds kept rows and statuses against the events, and names what they do not explain."""

import io

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection

from reviews import actions, audit, wholeness
from reviews.models import (
    Attempt,
    AuditEvent,
    AuditHead,
    Dataset,
    FrozenCase,
    ModelVersion,
    Prediction,
    Referral,
    ThresholdSet,
    TriageRecord,
    Verdict,
)
from reviews.states import Status
from tests.conftest import RENDER, SURE, judge, without_triggers
from tests.test_trail_format import made_older, turn

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(make, cast, dataset, model):
    """Every action that keeps a row or moves an attempt, done once."""
    Dataset.objects.update(known_share=0.0)
    judge(cast.reviewer, make(), "face", reasons=["eyes"], note="é")
    passed = judge(cast.reviewer, make())
    taken_back = judge(cast.reviewer, make(), "brain")
    actions.undo_verdict(actor=cast.reviewer, verdict_id=taken_back.pk, nonce="u")
    actions.release_leases(actor=cast.reviewer)
    actions.refer(actor=cast.reviewer, attempt_id=leased(cast.reviewer, make()).pk, nonce="d")
    make(Status.ERROR)
    make(Status.REFER)
    make(original=False)
    actions.declare_known_case(actor=cast.manager, attempt_id=passed.attempt_id, truth="pass", practice=True)
    actions.record_practice(actor=cast.reviewer, attempt_id=passed.attempt_id, klass="face", nonce="p")
    said = actions.Finding(SURE, in_distribution=True, render_version=RENDER)
    shadow = ModelVersion.objects.create(version="s" * 64, render_version=RENDER, state="shadow")
    actions.record_shadow(actor=None, attempt=passed.attempt, model=shadow, finding=said)
    actions.record_no_prediction(actor=None, attempt=make(Status.TO_CLASSIFY))
    actions.save_thresholds(actor=cast.root, policy=ThresholdSet.objects.get().cutoffs)
    return dataset


def leased(user, attempt):
    actions.lease_one(actor=user, attempt_id=attempt.pk, mode="verify")
    return attempt


def test_all_that_is_done_is_explained(site):
    assert wholeness.problems() == []
    assert AuditEvent.objects.filter(action="routes_kept").exists()
    for kind, model in wholeness.MODELS.items():
        assert kind.startswith("frozen") or model.objects.exists(), kind


def some(model, **wanted):
    return model.objects.filter(**wanted).earliest("pk")


def altered(model, **values):
    def change():
        row = some(model)
        model.objects.filter(pk=row.pk).update(**values)
        return f"{row.pk} was changed" if model is not TriageRecord else "was changed"

    return change


def another_person():
    return altered(Verdict, user=get_user_model().objects.get(username="stranger"))()


def removed_verdict():
    Referral.objects.all().delete()
    row = Verdict.objects.latest("pk")
    Verdict.objects.filter(pk=row.pk).delete()
    return f"verdict {row.pk} is gone"


def added(model):
    def change():
        row = some(model)
        row.pk, values = None, {}
        if model is Verdict:
            values = {"nonce": "forged"}
        for name, value in values.items():
            setattr(row, name, value)
        row.save(force_insert=True)
        return f" {row.pk} has no event"

    return change


def under_a_negative_id():
    """No id is below 1, as long as a database gives them."""
    row = some(Verdict)
    row.pk, row.nonce = -5, "forged"
    row.save(force_insert=True)
    return "verdict -5 has no event"


def status(old, new):
    def change():
        row = some(Attempt, status=old)
        Attempt.objects.filter(pk=row.pk).update(status=new)
        return f"attempt {row.pk} is '{new}', its events say '{old}'"

    return change


def another_output():
    row = some(Attempt, status="passed")
    Attempt.objects.filter(pk=row.pk).update(output_sha256="f" * 64)
    return f"attempt {row.pk} has another output than its events say"


def attempt_without_events():
    row = some(Attempt)
    row.pk, row.number = None, 99
    row.save(force_insert=True)
    return f"attempt {row.pk} has no event: nothing explains its status '{row.status}'"


def events_of_no_attempt():
    AuditEvent.objects.filter(object_kind="attempt").order_by("-seq")[:1].get()
    last = AuditEvent.objects.filter(object_kind="attempt").latest("seq")
    AuditEvent.objects.filter(pk=last.pk).update(object_id=9999)
    return "attempt 9999 has events and is gone"


def events_that_skip():
    event = AuditEvent.objects.get(action="rendered", object_id=some(Attempt).pk)
    AuditEvent.objects.filter(pk=event.pk).delete()
    return "finds attempt"


def other_cutoffs():
    ThresholdSet.objects.update(active=False)
    row = some(ThresholdSet, version=1)
    ThresholdSet.objects.filter(pk=row.pk).update(active=True)
    return f"threshold_set {row.pk} is in force"


def referral_gone():
    row = Referral.objects.get()
    row.delete()
    return f"verdict {row.verdict_id} is a doubt, and its referral is gone"


def no_number():
    row = some(Prediction)
    with connection.cursor() as cursor:
        text = "'x'" if connection.vendor == "sqlite" else "'NaN'"
        cursor.execute(f"UPDATE reviews_prediction SET p_pass = {text} WHERE id = {row.pk}")
    return f"prediction {row.pk} was changed"


def unreadable():
    row = some(Verdict)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = 1")
            cursor.execute(f"UPDATE reviews_verdict SET reasons = '{{' WHERE id = {row.pk}")
            cursor.execute("PRAGMA ignore_check_constraints = 0")
        else:
            cursor.execute(f"UPDATE reviews_verdict SET reasons = '{{}}' WHERE id = {row.pk}")
    return f"verdict {row.pk} was changed"


ATTACKS = {
    "verdict's class": altered(Verdict, klass="brain"),
    "verdict's person": another_person,
    "verdict's note": altered(Verdict, note="fine"),
    "verdict's time": altered(Verdict, exposure_ms=5000),
    "prediction": altered(Prediction, p_pass=0.9951),
    "what a prediction says of ears": altered(Prediction, attributes={}),
    "route": altered(TriageRecord, reason="forged"),
    "cut-offs": altered(ThresholdSet, policy={"verify": 0.1}),
    "verdict removed": removed_verdict,
    "verdict added": added(Verdict),
    "verdict added under a negative id": under_a_negative_id,
    "prediction added": added(Prediction),
    "route added": added(TriageRecord),
    "no number": no_number,
    "unreadable": unreadable,
    "passed without a word": status("verify", "passed"),
    "passed although it failed": status("failed", "passed"),
    "withdrawn": status("refer", "withdrawn"),
    "another output": another_output,
    "attempt added": attempt_without_events,
    "events of nothing": events_of_no_attempt,
    "an event left out": events_that_skip,
    "cut-offs in force": other_cutoffs,
    "doubt forgotten": referral_gone,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_somebody_with_the_whole_database_does_is_named(site, attack):
    assert wholeness.problems() == []
    with without_triggers():
        named = ATTACKS[attack]()
    assert any(named in problem for problem in wholeness.problems()), (named, wholeness.problems())


def test_a_frozen_case_that_was_changed_shows(make, cast, dataset, monkeypatch):
    monkeypatch.setattr("reviews.actions.testsets.LEAST_CASES", 1)
    monkeypatch.setattr("reviews.actions.testsets.part_of", lambda subject: "test")
    judge(cast.reviewer, make(), "face")
    actions.freeze_testset(actor=None, dataset=dataset, single_readings=True)
    assert wholeness.problems() == []
    with without_triggers():
        FrozenCase.objects.update(truth="pass")
    assert any("frozen_case" in problem for problem in wholeness.problems())


def test_rows_of_before_are_held_as_a_whole(site, make, cast):
    made_older()
    turn()
    judge(cast.reviewer, make())
    assert wholeness.problems() == []
    row = some(Verdict)
    with without_triggers():
        Verdict.objects.filter(pk=row.pk).update(klass="both")
    assert any("a verdict row from before event" in problem for problem in wholeness.problems())


def test_nobody_says_later_that_a_row_is_from_before(site, make, cast):
    made_older()
    turn()
    with without_triggers():
        named = added(Verdict)()
    actions.core.audit.append(
        actor=None,
        action=wholeness.TURN,
        dataset=None,
        object_kind="trail",
        object_id=None,
        before=None,
        after={"until": 1, "rows_before": {"verdict": [10**9, "0" * 64]}},
    )
    assert any(named in problem for problem in wholeness.problems())


def test_an_event_that_speaks_of_a_row_again_covers_no_other(site):
    with without_triggers():
        named = added(Verdict)()
    first = some(Verdict)
    actions.core.audit.append(
        actor=None,
        action="x",
        dataset=None,
        object_kind="x",
        object_id=1,
        before=None,
        after=None,
        rows=[first],
    )
    found = wholeness.problems()
    assert any(named in problem for problem in found)
    assert any(f"speaks of verdict {first.pk} a second time" in problem for problem in found)


def test_the_command_ends_with_its_answer(site):
    out = io.StringIO()
    call_command("check_trail", stdout=out)
    assert "compare it with one you were given before" in out.getvalue()
    with without_triggers():
        named = ATTACKS["passed without a word"]()
    with pytest.raises(CommandError, match="BROKEN") as broken:
        call_command("check_trail", stdout=out)
    assert broken.value.returncode == 1
    assert named in out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_who_writes_meanwhile_waits_for_nothing_and_is_no_problem(site, make):
    begun = []

    def busy(execute, sql, *rest):
        answer = execute(sql, *rest)
        if not begun and sql.startswith("SELECT") and "auditevent" in sql:
            begun.append(sql)
            in_another_thread(make)
        return answer

    events = AuditEvent.objects.count()
    with connection.execute_wrapper(busy):
        assert wholeness.problems() == []
    assert begun
    assert AuditEvent.objects.count() > events


def in_another_thread(work):
    from threading import Thread

    def run():
        work()
        connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("action", "after"),
    [
        ("x", {"rows": [["foo", [1], "x"]]}),
        ("x", {"rows": [["verdict", [1 << 70], "x"]]}),
        ("x", {"rows": "x"}),
        ("x", ["rows"]),
        ("access_logged", {}),
    ],
)
def test_an_event_that_nobody_can_read_is_named_or_says_nothing_and_ends_no_check(site, action, after):
    said = {"before": ["status"], "after": after}
    last = AuditEvent.objects.latest("seq")
    event = audit.following(
        {"seq": last.seq, "digest": last.digest},
        actor="x",
        action=action,
        dataset=site.pk,
        object_kind="attempt",
        object_id=some(Attempt).pk,
        **said,
    )
    AuditEvent.objects.create(**event)
    AuditHead.objects.update(seq=event["seq"], digest=event["digest"])
    found = wholeness.problems()
    assert all(f"event {event['seq']}" in problem for problem in found)
    assert bool(found) == isinstance(after, dict)
