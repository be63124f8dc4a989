"""Verdicts count under the standard of their day: what was said of faces alone says nothing of ears."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from reviews import actions, labels, wholeness
from reviews.actions.testsets import _known
from reviews.export.rows import attempts
from reviews.labels import Agreed, ears_counted
from reviews.management.commands.retrain import answers_under, cases_of
from reviews.models import Prediction, Verdict
from reviews.states import Status
from reviews.threshold_evidence import judged_cases
from reviews.views.review_items import opinion
from tests.conftest import UNCLEAR, classify, judge, now
from tests.test_race import at_once

pytestmark = pytest.mark.django_db


def switch(cast, dataset, ears):
    dataset.refresh_from_db()
    return actions.configure_dataset(actor=cast.owner, dataset=dataset, ears_required=ears)


def said_yesterday(user, attempt, klass):
    Verdict.objects.create(
        attempt=attempt,
        user=user,
        klass=klass,
        mode="visual",
        nonce=f"yesterday {attempt.pk}",
        status_before=attempt.status,
        created_at=timezone.now() - timedelta(days=1),
    )


def test_the_trail_tells_the_standard_of_any_time(cast, dataset):
    before = timezone.now() - timedelta(days=1)
    assert ears_counted(dataset)(before) is False
    dataset = switch(cast, dataset, True)
    actions.configure_dataset(actor=cast.owner, dataset=dataset, max_attempts=3)
    later = timezone.now() + timedelta(days=1)
    assert (ears_counted(dataset)(before), ears_counted(dataset)(later)) == (False, True)
    dataset = switch(cast, dataset, False)
    assert (ears_counted(dataset)(before), ears_counted(dataset)(later)) == (False, False)


@pytest.mark.parametrize(
    ("klass", "reasons", "standards", "expected"),
    [
        ("pass", (), {True}, (0, 0, 0)),
        ("pass", (), {False}, (0, -1, 0)),
        ("pass", (), {True, False}, (0, -1, 0)),
        ("face", (), {True, False}, (-1, -1, 0)),
        ("both", ("nose",), {True, False}, (1, -1, 1)),
    ],
)
def test_what_verdicts_of_two_standards_tell(klass, reasons, standards, expected):
    assert answers_under(Agreed(klass, frozenset(reasons), True), standards) == expected


@pytest.fixture
def old_and_new(make, cast, dataset, settings, tmp_path, monkeypatch):
    """A pass from before ears counted and one from after, both with stored projections."""
    monkeypatch.setattr(labels, "part_of", lambda subject: "train")
    settings.DATA_DIR = tmp_path
    old, new = make(Status.REFER), make(Status.REFER)
    said_yesterday(cast.reviewer, old, "pass")
    switch(cast, dataset, True)
    judge(cast.reviewer, new, "pass", mode="visual")
    for attempt in (old, new):
        attempt.views_path.mkdir(parents=True)
        (attempt.views_path / "network.npz").write_bytes(b"")
    return SimpleNamespace(old=old, new=new)


def test_nothing_is_learnt_of_ears_from_before_they_counted(old_and_new):
    answers = {path.parent: answers for path, _, answers, _ in cases_of([])}
    assert answers == {old_and_new.old.views_path: (0, -1, 0), old_and_new.new.views_path: (0, 0, 0)}


def test_no_class_of_another_standard_is_frozen(old_and_new, cast, dataset):
    dataset.refresh_from_db()
    assert [case.attempt for case in _known(dataset)] == [old_and_new.new]
    judge(cast.colleague, old_and_new.old, "face", mode="visual")  # seen again under the new standard
    assert {case.attempt_id: case.truth for case in _known(dataset)} == {
        old_and_new.old.pk: "face",
        old_and_new.new.pk: "pass",
    }


def test_cut_offs_are_judged_by_the_last_verdict_of_each_attempt(cast, make):
    attempt, other = make(original=False), make()
    judge(cast.reviewer, attempt, "face")
    judge(cast.reviewer, other)
    assert now(attempt).status == Status.NEEDS_PERSON
    judge(cast.colleague, attempt, "pass", mode="visual")
    assert [case.truth for case in judged_cases()] == ["pass", "pass"]
    last = Verdict.objects.get(attempt=attempt, klass="pass")
    actions.undo_verdict(actor=cast.colleague, verdict_id=last.pk, nonce="undo")
    assert sorted(case.truth for case in judged_cases()) == ["face", "pass"]


def test_cut_offs_are_judged_by_what_the_model_said_under_the_standard_of_the_verdict(cast, dataset, make):
    face_only = {"pass": 0.9, "face": 0.05, "brain": 0.03, "both": 0.02}
    with_ears = {"pass": 0.01, "face": 0.94, "brain": 0.01, "both": 0.04}
    model = actions.register_model(
        actor=None, version="seen", render_version="1", class_order=[], weights_path="w.onnx"
    )
    attempts = [make(Status.REFER) for _ in range(2)]
    for attempt in attempts:
        Prediction.objects.create(
            attempt=attempt,
            model_version=model,
            with_ears=with_ears,
            in_distribution=True,
            **{f"p_{name}": value for name, value in face_only.items()},
        )
    judge(cast.reviewer, attempts[0], "pass", mode="visual")
    switch(cast, dataset, True)
    judge(cast.reviewer, now(attempts[1]), "face", mode="visual")
    found = {case.truth: case.probabilities for case in judged_cases()}
    assert found == {"pass": face_only, "face": with_ears}


@pytest.mark.django_db(transaction=True)
def test_another_standard_while_people_judge_stops_nobody(make, cast, dataset):
    made = [make(Status.REFER) for _ in range(16)]

    def judging(person, attempts):
        return lambda: [judge(person, attempt, "face", mode="visual") for attempt in attempts]

    def standards():
        for ears in (True, False) * 8:
            switch(cast, dataset, ears)

    people = cast.reviewer, cast.colleague, cast.manager, cast.owner
    judged = [judging(person, made[index::4]) for index, person in enumerate(people)]
    assert [one for one in at_once(standards, *judged) if isinstance(one, Exception)] == []
    assert wholeness.problems() == []


def test_exports_and_the_opinion_read_the_model_under_the_standard(make, cast, dataset, model):
    stored = {"pass": 0.1, "face": 0.9, "brain": 0.0, "both": 0.0}
    decided, waiting = (
        classify(make(Status.TO_CLASSIFY), model, UNCLEAR, with_ears=stored) for _ in range(2)
    )
    judge(cast.reviewer, now(decided), mode="visual")
    dataset = switch(cast, dataset, True)
    actions.retriage()  # what the upkeep does
    rows = {row["subject"]: row for row in attempts(dataset)}
    assert rows[decided.scan.subject]["p_pass"] == UNCLEAR["pass"]  # decided while ears did not count
    assert rows[waiting.scan.subject]["p_pass"] == stored["pass"]
    shown = {entry["name"]: entry["share"] for entry in opinion(now(waiting))["classes"]}
    assert shown == stored
