"""Known cases: hidden among the others, judged without changing anything, and practice with feedback."""

import pytest

from reviews import actions, reports
from reviews.models import KnownCase, Lease, Mode, Verdict
from reviews.states import Status
from tests.conftest import judge, now

pytestmark = pytest.mark.django_db


@pytest.fixture
def known(make, cast, dataset):
    """A decided failure that serves as a hidden check."""
    attempt = make()
    judge(cast.colleague, attempt, "face")
    actions.declare_known_case(actor=cast.manager, attempt_id=attempt.pk, truth="face")
    return attempt


def share(cast, dataset, value):
    return actions.configure_dataset(actor=cast.owner, dataset=dataset, known_share=value)


def served(user, dataset, count=12):
    return actions.lease_batch(actor=user, dataset=dataset, mode=Mode.VERIFY, count=count)


def until_served(user, dataset, attempt, make):
    """Pages until the hidden case turns up; a share of one half brings it soon."""
    for _ in range(40):
        page = served(user, dataset, 4)
        if attempt in page:
            return page
        actions.release_leases(actor=user)
    raise AssertionError("the known case was never served")


def test_it_hides_among_the_others_once(known, make, cast, dataset):
    dataset = share(cast, dataset, 0.5)
    for _ in range(4):
        make()
    page = until_served(cast.reviewer, dataset, known, make)
    assert len(page) == 4
    judge(cast.reviewer, known, "pass", lease=False)
    verdict = Verdict.objects.get(user=cast.reviewer)
    assert (verdict.on_known_case, verdict.correct) == (True, False)
    assert now(known).status == Status.FAILED
    assert known.scan.attempts.count() == 2
    actions.release_leases(actor=cast.reviewer)
    for _ in range(10):
        assert known not in served(cast.reviewer, dataset)
        actions.release_leases(actor=cast.reviewer)


def test_no_share_no_known_cases(known, make, cast, dataset):
    make()
    assert known not in served(cast.reviewer, dataset)


def test_a_known_case_is_undone_without_changing_anything(known, make, cast, dataset):
    dataset = share(cast, dataset, 0.5)
    make()
    until_served(cast.reviewer, dataset, known, make)
    verdict = judge(cast.reviewer, known, "face", lease=False)
    assert verdict.correct is True
    actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce="u")
    assert now(known).status == Status.FAILED
    assert Lease.objects.filter(attempt=known, user=cast.reviewer).exists()


def test_only_managers_declare_what_is_decided(make, cast):
    waiting, decided = make(), make()
    judge(cast.reviewer, decided)
    for person in (cast.reviewer, cast.stranger):
        with pytest.raises(actions.NotAllowed):
            actions.declare_known_case(actor=person, attempt_id=decided.pk, truth="pass")
    with pytest.raises(actions.Refused, match="decided"):
        actions.declare_known_case(actor=cast.manager, attempt_id=waiting.pk, truth="pass")
    with pytest.raises(actions.Refused, match="not a class"):
        actions.declare_known_case(actor=cast.manager, attempt_id=decided.pk, truth="fine")
    actions.declare_known_case(actor=cast.manager, attempt_id=decided.pk, truth="pass")
    actions.drop_known_case(actor=cast.manager, attempt_id=decided.pk)
    assert not KnownCase.objects.exists()


@pytest.mark.parametrize(("truth", "hidden"), [("pass", 0), ("face", 1)])
def test_only_failures_that_are_still_known_count_as_hidden(make, cast, dataset, truth, hidden):
    attempt = make()
    judge(cast.colleague, attempt, truth)
    actions.declare_known_case(actor=cast.manager, attempt_id=attempt.pk, truth=truth)
    until = now(attempt).created_at
    Lease.objects.create(attempt=attempt, user=cast.reviewer, mode=Mode.VERIFY, until=until, known=True)
    assert judge(cast.reviewer, attempt, truth, lease=False).on_known_case
    assert counted(cast.reviewer, dataset) == (hidden, hidden)
    actions.drop_known_case(actor=cast.manager, attempt_id=attempt.pk)
    assert counted(cast.reviewer, dataset) == (0, 0)


def counted(user, dataset):
    (row,) = [row for row in reports.reviewers([dataset]) if row["user_id"] == user.pk]
    return row["hidden"], row["caught"]


def practise(user, attempt, klass, nonce):
    return actions.record_practice(actor=user, attempt_id=attempt.pk, klass=klass, nonce=nonce)


def test_practice_tells_and_changes_nothing(make, cast, dataset):
    one, two = make(), make(Status.REFER)
    for attempt, truth in ((one, "face"), (two, "brain")):
        actions.declare_known_case(actor=cast.manager, attempt_id=attempt.pk, truth=truth, practice=True)
    page = actions.practice_batch(actor=cast.reviewer, dataset=dataset, count=5)
    assert set(page) == {one, two}
    assert practise(cast.reviewer, page[0], page[0].known_case.truth, "1").correct is True
    assert practise(cast.reviewer, page[1], "pass", "2").correct is False
    assert practise(cast.reviewer, page[1], "pass", "2").pk == Verdict.objects.latest("pk").pk
    assert [now(one).status, now(two).status] == [Status.VERIFY, Status.REFER]
    practise(cast.reviewer, page[0], "pass", "3")
    assert actions.practice_batch(actor=cast.reviewer, dataset=dataset, count=1) == [page[1]]


def test_practice_is_for_reviewers_and_practice_cases(make, cast, dataset):
    attempt = make()
    with pytest.raises(actions.Refused, match="not a practice case"):
        practise(cast.reviewer, attempt, "pass", "1")
    with pytest.raises(actions.NotAllowed):
        actions.practice_batch(actor=cast.stranger, dataset=dataset, count=1)
    assert not Verdict.objects.exists()


def test_a_nonce_of_one_case_does_not_open_another(make, cast):
    one, two = make(), make()
    actions.declare_known_case(actor=cast.manager, attempt_id=one.pk, truth="face", practice=True)
    practise(cast.reviewer, one, "face", "1")
    with pytest.raises(actions.Refused, match="another verdict"):
        practise(cast.reviewer, two, "pass", "1")
