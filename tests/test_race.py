"""Many at once: nothing is served twice, nothing counts twice, nothing is lost, and the chain stays whole."""

import threading
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from reviews import actions, wholeness
from reviews.models import Attempt, AuditEvent, Lease, Role, Verdict
from reviews.states import Status
from tests.conftest import judge, now

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*works):
    """Run all at the same moment, each with its own connection; returns results or exceptions."""
    gate, results = threading.Barrier(len(works)), [None] * len(works)

    def run(index, work):
        gate.wait()
        try:
            results[index] = work()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def crew(dataset, cast):
    """Eight reviewers."""
    people = [get_user_model().objects.create_user(f"crew{number}") for number in range(8)]
    for person in people:
        actions.grant(actor=cast.owner, dataset=dataset, user=person, role=Role.REVIEWER)
    return people


def test_nobody_is_served_what_another_has(make, dataset, crew):
    made = {make().pk for _ in range(24)}

    def take(person):
        return lambda: actions.lease_batch(actor=person, dataset=dataset, mode="verify", count=4)

    pages = at_once(*(take(person) for person in crew))
    served = [attempt.pk for page in pages for attempt in page]
    assert len(served) == len(set(served))
    assert set(served) <= made
    assert Lease.objects.count() == len(served)


def test_a_whole_shift_loses_nothing(make, dataset, crew):
    made = {make().pk for _ in range(40)}

    def shift(person):
        def work():
            done = 0
            while page := actions.lease_batch(actor=person, dataset=dataset, mode="verify", count=3):
                for attempt in page:
                    judge(person, attempt, lease=False, nonce=f"{person.pk}-{attempt.pk}")
                    done += 1
            return done

        return work

    counts = at_once(*(shift(person) for person in crew))
    assert sum(counts) == len(made)
    assert set(Verdict.objects.values_list("attempt_id", flat=True)) == made
    assert set(Attempt.objects.values_list("status", flat=True)) == {Status.PASSED}
    assert wholeness.problems() == []


def test_a_replay_at_the_same_moment_counts_once(make, cast, dataset):
    attempt = make()
    actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode="verify")
    again = [lambda: judge(cast.reviewer, attempt, "face", nonce="n", lease=False)] * 4
    rows = at_once(*again)
    assert {row.pk for row in rows} == {Verdict.objects.get().pk}
    assert attempt.scan.attempts.count() == 2


def test_two_passes_at_the_same_moment_do_not_spend_the_same_second(make, cast, dataset):
    """The time gone by is enough for three of eight, whichever requests they come with."""
    actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=20)
    page = [make() for _ in range(8)]
    for attempt in page:
        actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode="verify")
    Lease.objects.update(granted_at=timezone.now() - timedelta(seconds=61))
    said = at_once(
        *(
            lambda attempt=attempt: judge(
                cast.reviewer, attempt, exposure_ms=20_000, active_ms=61_000, lease=False
            )
            for attempt in page
        )
    )
    assert sum(isinstance(one, Verdict) for one in said) == 3
    assert sum(isinstance(one, actions.TooEarly) for one in said) == 5
    assert sum(Verdict.objects.values_list("active_ms", flat=True)) < 80_000


def test_undo_and_the_worker_race_for_the_next_attempt(make, cast):
    for number in range(4):
        attempt = make()
        verdict = judge(cast.reviewer, attempt, "face")
        following = attempt.scan.attempts.get(number=2)
        undone, claimed = at_once(
            lambda verdict=verdict, number=number: actions.undo_verdict(
                actor=cast.reviewer, verdict_id=verdict.pk, nonce=f"u{number}"
            ),
            lambda following=following: actions.claim(following.pk, Status.TO_DEFACE, worker="w"),
        )
        if claimed is None:
            assert (now(attempt).status, now(following).status) == (Status.VERIFY, Status.WITHDRAWN)
        else:
            assert isinstance(undone, actions.Refused)
            assert (now(attempt).status, now(following).status) == (Status.FAILED, Status.TO_DEFACE)


def test_one_worker_takes_an_attempt(make):
    attempt = make(Status.TO_RENDER)
    claims = at_once(
        *(lambda name=name: actions.claim(attempt.pk, Status.TO_RENDER, worker=name) for name in "abcd")
    )
    assert sum(claim is not None for claim in claims) == 1


def test_the_same_file_at_the_same_moment_is_one_scan(dataset):
    from tests.conftest import a_source

    taken = at_once(*[lambda: actions.register_scan(actor=None, dataset=dataset, source=a_source(1))] * 4)
    assert sorted(one.outcome for one in taken) == ["known", "known", "known", "new"]
    assert Attempt.objects.count() == 1


def broken(dataset, text):
    source = actions.Source(path="/data/a.nii.gz", content_hash="0" * 64, name="a", subject="1", suffix="T1w")
    return lambda: actions.register_broken(
        actor=None, dataset=dataset, source=source, code="volume", text=text
    )


def test_the_same_unreadable_file_at_the_same_moment_is_one_scan_in_error(dataset):
    for text in ("the file is empty", "the file is damaged"):
        events = AuditEvent.objects.count()
        taken = at_once(*[broken(dataset, text)] * 4)
        assert sorted(one.outcome for one in taken) == ["known", "known", "known", "new"]
        attempt = Attempt.objects.get()
        assert (attempt.status, attempt.error_text) == (Status.ERROR, text)
        assert AuditEvent.objects.count() - events == (1 if text == "the file is empty" else 2)
    assert wholeness.problems() == []


def test_two_new_versions_of_the_cutoffs(make, cast):
    from inference.triage import ThresholdPolicy
    from reviews.models import ThresholdSet

    make()
    at_once(
        *(
            lambda value=value: actions.save_thresholds(actor=cast.root, policy=ThresholdPolicy(value))
            for value in (0.97, 0.98)
        )
    )
    assert ThresholdSet.objects.filter(active=True).count() == 1
    assert wholeness.problems() == []
