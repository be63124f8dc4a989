"""Frozen test sets: adjudicated cases of held-back subjects, fixed for good and never trained on."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from inference.triage import CLASSES
from reviews import actions, labels
from reviews.models import AuditEvent, FrozenCase, FrozenSet, Verdict
from reviews.states import Status
from tests.conftest import judge

pytestmark = pytest.mark.django_db


def said(user, klass, pk=None, reasons=()):
    return Verdict(pk=pk, user_id=user, klass=klass, reasons=list(reasons))


@pytest.mark.parametrize(
    ("verdicts", "klass", "adjudicated"),
    [
        ([(1, "face")], "face", False),
        ([(1, "face"), (1, "pass")], "pass", False),  # one reader's last word
        ([(1, "face"), (2, "face")], "face", True),
        ([(1, "face"), (2, "pass")], "pass", True),  # the later one saw it again
        ([(1, "face"), (2, "face"), (3, "pass")], "face", True),  # two agree
        ([(1, "face"), (2, "pass"), (3, "brain")], "brain", True),
        ([(1, "face"), (2, "pass"), (3, "face"), (4, "pass")], "pass", True),
    ],
)
def test_two_readers_who_agree_or_the_latest(verdicts, klass, adjudicated):
    rows = [said(user, name, pk) for pk, (user, name) in enumerate(verdicts, start=1)]
    found = labels.agreed(rows[::-1])
    assert (found.klass, found.adjudicated) == (klass, adjudicated)


def test_nobody_said_anything():
    assert labels.agreed([]) is None


@pytest.mark.parametrize(
    ("klass", "reasons", "ears_required", "expected"),
    [
        ("pass", (), False, (0, -1, 0)),  # ears are not part of the standard
        ("pass", (), True, (0, 0, 0)),
        ("face", (), False, (1, -1, 0)),
        ("face", ("left ear",), True, (-1, 1, 0)),
        ("face", (), True, (-1, -1, 0)),  # face or ears: not said
        ("both", ("nose",), True, (1, -1, 1)),
        ("brain", (), False, (0, -1, 1)),
    ],
)
def test_a_class_becomes_what_it_tells(klass, reasons, ears_required, expected):
    assert labels.attributes_of(klass, frozenset(reasons), ears_required=ears_required) == expected


def test_a_subject_stays_in_its_part():
    parts = [labels.part_of(f"1/{number:04d}") for number in range(1000)]
    assert parts == [labels.part_of(f"1/{number:04d}") for number in range(1000)]
    assert 150 < parts.count("test") < 250
    assert 150 < parts.count("calibration") < 250


def names_of(part, dataset, count):
    """Subjects that the hash puts into a part."""
    names = (f"s{number}" for number in range(10000))
    chosen = (name for name in names if labels.part_of(f"{dataset.pk}/{name}") == part)
    return [next(chosen) for _ in range(count)]


@pytest.fixture
def judged(make, cast, dataset):
    """Twelve held-back subjects read by two people, 40 others by one."""
    for number, name in enumerate(names_of("test", dataset, 12)):
        twice(make(Status.REFER, original=False, subject=name), cast, CLASSES[number % 4])
    for name in names_of("train", dataset, 30) + names_of("calibration", dataset, 10):
        judge(cast.reviewer, make(Status.REFER, subject=name), "pass", mode="visual")


def twice(attempt, cast, klass):
    """A failure without an original needs a person; another one looks again."""
    judge(cast.reviewer, attempt, "face", mode="visual")
    judge(cast.colleague, attempt, klass, mode="visual")


def test_adjudicated_cases_of_held_back_subjects_are_frozen(judged, cast, dataset):
    made = actions.freeze_testset(actor=cast.owner, dataset=dataset)
    cases = list(made.cases.select_related("attempt__scan"))
    assert len(cases) == 10  # a fifth of 52 subjects
    assert all(case.adjudicated for case in cases)
    assert {labels.part_of(labels.subject_of(case.attempt)) for case in cases} == {"test"}
    event = AuditEvent.objects.get(action="testset_frozen")
    assert event.after["digest"] == made.digest
    assert event.after["cases"] == 10
    learnt = {attempt.pk for attempt, *_ in labels.to_learn_from()}
    assert len(learnt) == 40
    assert not learnt & {case.attempt_id for case in cases}


def test_other_attempts_of_a_frozen_subject_are_not_learnt_from(judged, cast, dataset, monkeypatch):
    monkeypatch.setattr(labels, "part_of", lambda subject: "train")
    monkeypatch.setattr("reviews.actions.testsets.part_of", lambda subject: "test")
    actions.freeze_testset(actor=None, dataset=dataset, single_readings=True)
    frozen = labels.frozen_subjects()
    assert frozen
    assert not frozen & {labels.subject_of(attempt) for attempt, *_ in labels.to_learn_from()}


def test_a_frozen_set_cannot_be_changed(judged, cast, dataset):
    made = actions.freeze_testset(actor=None, dataset=dataset)
    case = made.cases.first()
    for change in (
        lambda: FrozenCase.objects.filter(pk=case.pk).update(truth="both"),
        lambda: FrozenSet.objects.filter(pk=made.pk).update(share=0.1),
        case.delete,
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()
    digest = labels.frozen_digest()
    Verdict.objects.create(
        attempt=case.attempt,
        user=cast.owner,
        klass="both",
        mode="visual",
        nonce="later",
        status_before=case.attempt.status,
    )
    assert FrozenCase.objects.get(pk=case.pk).truth == case.truth
    assert labels.frozen_digest() == digest


def test_known_cases_are_tested_on_and_not_learnt_from(make, cast, dataset):
    for name in names_of("test", dataset, 12):
        attempt = make(Status.REFER, subject=name)
        judge(cast.reviewer, attempt, "face", mode="visual")
        actions.declare_known_case(actor=cast.manager, attempt_id=attempt.pk, truth="pass")
    assert list(labels.judged()) == []
    with pytest.raises(actions.Refused, match="2 adjudicated cases of 2 held-back"):
        actions.freeze_testset(actor=None, dataset=dataset)
    for name in names_of("train", dataset, 40):
        judge(cast.reviewer, make(Status.REFER, subject=name), "pass", mode="visual")
    made = actions.freeze_testset(actor=None, dataset=dataset)
    assert set(made.cases.values_list("truth", "adjudicated")) == {("pass", True)}


def test_what_was_taken_back_is_not_learnt_from(make, cast):
    attempt = make(Status.REFER)
    verdict = judge(cast.reviewer, attempt, "pass", mode="visual")
    assert len(list(labels.judged())) == 1
    actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce="u")
    assert list(labels.judged()) == []


def test_who_may_freeze_and_what_is_refused(judged, cast, dataset):
    with pytest.raises(actions.NotAllowed):
        actions.freeze_testset(actor=cast.manager, dataset=dataset)
    for share in (0, 0.3, float("nan")):
        with pytest.raises(actions.Refused, match="a fifth of the subjects"):
            actions.freeze_testset(actor=cast.owner, dataset=dataset, share=share)
    with pytest.raises(actions.Refused, match="at least 10"):
        actions.freeze_testset(actor=cast.owner, dataset=dataset, share=0.05)
    assert FrozenSet.objects.count() == 0


def test_a_second_set_adds_only_new_cases(judged, make, cast, dataset):
    first = actions.freeze_testset(actor=None, dataset=dataset)
    with pytest.raises(actions.Refused, match="adjudicated cases"):
        actions.freeze_testset(actor=None, dataset=dataset)
    for name in names_of("test", dataset, 24)[12:]:
        twice(make(Status.REFER, original=False, subject=name), cast, "pass")
    for name in names_of("train", dataset, 70)[30:]:
        judge(cast.reviewer, make(Status.REFER, subject=name), "pass", mode="visual")
    digest = labels.frozen_digest()
    second = actions.freeze_testset(actor=None, dataset=dataset)
    assert not set(first.cases.values_list("attempt")) & set(second.cases.values_list("attempt"))
    assert labels.frozen_digest() != digest


def test_the_command(judged):
    out = io.StringIO()
    call_command("freeze_testset", "--dataset", "trial", "--share", "0.2", stdout=out)
    assert "10 cases" in out.getvalue()
    assert FrozenSet.objects.get().digest in out.getvalue()
    with pytest.raises(CommandError, match="no dataset 'nope'"):
        call_command("freeze_testset", "--dataset", "nope")
    with pytest.raises(CommandError, match="needed"):
        call_command("freeze_testset", "--dataset", "trial", "--share", "0.5")
