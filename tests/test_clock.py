"""One clock for each person: no tab, request, mode, undo or claim makes more of the time that has gone by."""

import itertools
import random
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from reviews import actions
from reviews.actions import clock, leases, undo
from reviews.models import Lease, Mode, Verdict
from reviews.states import Status
from tests.conftest import now

pytestmark = pytest.mark.django_db
LONG = 80_000_000
numbers = itertools.count()


class Time:
    """The server's clock, moved by the test."""

    def __init__(self) -> None:
        self.at = timezone.now()

    def __call__(self):
        return self.at

    def go(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def time(monkeypatch):
    moved = Time()
    monkeypatch.setattr(timezone, "now", moved)
    return moved


@pytest.fixture
def trial(dataset, cast):
    """Two seconds a scan."""
    return actions.configure_dataset(actor=cast.owner, dataset=dataset, min_exposure_seconds=2)


def lend(user, attempts, mode=Mode.VERIFY):
    for attempt in attempts:
        actions.lease_one(actor=user, attempt_id=attempt.pk, mode=mode)


def say(user, attempt, klass="pass", **rest):
    """One verdict with a nonce, and so a press, of its own; the class or why not."""
    rest = {"exposure_ms": LONG, "nonce": f"{next(numbers)}-0"} | rest
    try:
        return actions.record_verdict(actor=user, attempt_id=attempt.pk, klass=klass, **rest)
    except actions.Refused as error:
        return error.code


def passed(user, attempts, **rest):
    """How many of them can be passed now."""
    return sum(isinstance(say(user, attempt, **rest), Verdict) for attempt in attempts)


def test_distinct_nonces_share_the_time(make, cast, trial, time):
    page = [make() for _ in range(20)]
    lend(cast.reviewer, page)
    time.go(0.9)
    assert passed(cast.reviewer, page, exposure_ms=2000) == 0
    time.go(8.1)
    assert passed(cast.reviewer, page, exposure_ms=2000) == 4
    time.go(31)
    assert passed(cast.reviewer, page[4:], exposure_ms=2000) == 16


def test_pages_of_two_tabs_share_the_time(make, cast, trial, time):
    one, other = [make(), make()], [make(), make()]
    lend(cast.reviewer, one + other)
    time.go(5)
    assert passed(cast.reviewer, [one[0], other[0], one[1], other[1]], exposure_ms=2000) == 2


def test_two_datasets_share_the_time(make, cast, trial, time, model):
    here = make()
    lend(cast.reviewer, [here])
    there = actions.create_dataset(actor=cast.owner, slug="other", title="Other", min_exposure_seconds=2)
    moved = make()
    type(moved).objects.filter(pk=moved.pk).update(dataset=there)
    actions.grant(actor=cast.owner, dataset=there, user=cast.reviewer, role="reviewer")
    lend(cast.reviewer, [moved])
    time.go(3)
    assert passed(cast.reviewer, [here, moved], exposure_ms=2000) == 1


def test_another_persons_time_is_theirs(make, cast, trial, time):
    one, two = make(), make()
    lend(cast.reviewer, [one])
    lend(cast.colleague, [two])
    time.go(2)
    assert passed(cast.reviewer, [one]) == passed(cast.colleague, [two]) == 1


def test_undo_gives_no_second_back(make, cast, trial, time):
    attempt, other = make(), make()
    lend(cast.reviewer, [attempt, other])
    time.go(2)
    for _ in range(3):
        verdict = say(cast.reviewer, attempt)
        assert verdict.exposure_ms == 2000
        actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce=f"u{next(numbers)}")
        assert passed(cast.reviewer, [attempt, other]) == 0
        time.go(2)


def test_what_was_claimed_before_an_undo_is_worth_nothing(make, cast, trial, time):
    attempt = make()
    lend(cast.reviewer, [attempt])
    verdict = say(cast.reviewer, attempt, "face")
    assert verdict.exposure_ms == 0
    actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce="u")
    assert say(cast.reviewer, attempt) == "too_early"


def test_what_waits_for_verification_asks_for_the_time_in_every_mode(make, cast, trial, time):
    attempt = make()
    lend(cast.manager, [attempt], Mode.VISUAL)
    assert say(cast.manager, attempt, mode=Mode.VISUAL) == "too_early"
    assert now(attempt).status == Status.VERIFY
    time.go(2)
    assert say(cast.manager, attempt, mode=Mode.VISUAL).exposure_ms == 2000


def test_a_known_case_asks_for_the_time_too(make, cast, trial, time):
    known = make()
    lend(cast.colleague, [known])
    say(cast.colleague, known, "face")
    actions.declare_known_case(actor=cast.manager, attempt_id=known.pk, truth="face")
    Lease.objects.create(
        attempt=known,
        user=cast.reviewer,
        mode="verify",
        known=True,
        granted_at=time(),
        until="2100-01-01T00:00Z",
    )
    assert say(cast.reviewer, known) == "too_early"
    time.go(2)
    assert say(cast.reviewer, known).on_known_case


@pytest.mark.parametrize(("status", "mode"), [(Status.VERIFY, "verify"), (Status.REFER, "visual")])
def test_what_is_stored_fits_into_the_time_gone_by(make, cast, dataset, time, status, mode):
    page = [make(status) for _ in range(4)]
    lend(cast.reviewer, page, mode)
    time.go(3)
    rows = [say(cast.reviewer, attempt, mode=mode, active_ms=24 * 3600 * 1000) for attempt in page[:3]]
    assert sum(row.exposure_ms for row in rows) == sum(row.active_ms for row in rows) == 3000
    time.go(4)
    last = say(cast.reviewer, page[3], "face", mode=mode, exposure_ms=1500, active_ms=2500)
    assert (last.exposure_ms, last.active_ms) == (1500, 2500)


def test_practice_cannot_store_more_time_than_there_was(make, cast, dataset, time):
    cases = [make(), make()]
    for attempt in cases:
        actions.declare_known_case(actor=cast.manager, attempt_id=attempt.pk, truth="face", practice=True)
    actions.practice_batch(actor=cast.reviewer, dataset=dataset, count=2)
    time.go(3)
    told = [practise(cast.reviewer, attempt) for attempt in cases]
    assert [verdict.active_ms for verdict in told] == [3000, 0]
    time.go(7200)
    assert practise(cast.reviewer, cases[0]).active_ms == clock.PRACTICE_MS
    assert practise(cast.colleague, cases[0]).active_ms == 0  # who was handed none


def practise(user, attempt):
    return actions.record_practice(
        actor=user,
        attempt_id=attempt.pk,
        klass="face",
        nonce=f"{next(numbers)}-0",
        active_ms=24 * 3600 * 1000,
    )


def test_a_clock_that_goes_back_gives_nothing(make, cast, trial, time):
    page = [make() for _ in range(4)]
    lend(cast.reviewer, page)
    time.go(4)
    assert passed(cast.reviewer, page, exposure_ms=2000) == 2
    time.go(-3600)
    assert passed(cast.reviewer, page[2:], exposure_ms=2000) == 0
    actions.renew_leases(actor=cast.reviewer, attempt_ids=[attempt.pk for attempt in page])
    assert passed(cast.reviewer, page[2:], exposure_ms=2000) == 0
    time.go(2)
    assert passed(cast.reviewer, page[2:], exposure_ms=2000) == 1  # and nobody waits for an hour
    time.go(2)
    assert passed(cast.reviewer, page[3:], exposure_ms=2000) == 1


def test_two_servers_whose_clocks_differ_count_no_second_twice(make, cast, trial, time):
    page = [make() for _ in range(6)]
    lend(cast.reviewer, page)
    time.go(6)
    done = 0
    for ahead in (2, -2, 2, -2):
        done += passed(cast.reviewer, page[done:], exposure_ms=2000)
        time.go(ahead)
    assert done == 4  # six seconds of one clock, two more of the other


def test_time_before_a_scan_was_lent_is_not_saved_for_it(make, cast, trial, time):
    early, late = make(), make()
    lend(cast.reviewer, [early])
    time.go(8 * 3600)
    lend(cast.reviewer, [late])
    assert say(cast.reviewer, late) == "too_early"
    assert isinstance(say(cast.reviewer, early, exposure_ms=2000), Verdict)
    time.go(2)
    assert isinstance(say(cast.reviewer, late), Verdict)


def test_nobody_saves_up_more_scans_than_a_few_pages(make, cast, trial, time, monkeypatch):
    monkeypatch.setattr(leases, "MOST_HELD", 5)
    made = [make() for _ in range(8)]
    taken = take(cast.reviewer, trial, 3) + take(cast.reviewer, trial, 12)
    assert len(taken) == 3 + 2 + 3  # asking again without exclude shows what is held first
    assert Lease.objects.count() == 5
    with pytest.raises(actions.Refused, match="hold 5 scans"):
        take(cast.reviewer, trial, 3, exclude=[attempt.pk for attempt in taken])
    time.go(8 * 3600)  # all of them have run out: those the page does not know of any more make room
    fresh = take(cast.reviewer, trial, 3, exclude=[taken[0].pk])
    assert {attempt.pk for attempt in fresh} <= {attempt.pk for attempt in made}
    assert Lease.objects.filter(attempt=taken[0]).exists()
    assert Lease.objects.count() <= 5


def take(user, dataset, count, exclude=()):
    return actions.lease_batch(actor=user, dataset=dataset, mode=Mode.VERIFY, count=count, exclude=exclude)


def test_honest_pages_fetched_ahead_and_sent_late_are_taken(make, cast, trial, time):
    """The second page is lent while the first is looked at; the connection is away until both are done."""
    first, second = [make() for _ in range(3)], [make() for _ in range(3)]
    lend(cast.reviewer, first)
    time.go(1)
    lend(cast.reviewer, second)
    time.go(20 + 9 + 3600)
    rows = [say(cast.reviewer, attempt, exposure_ms=7000) for attempt in first]
    rows += [say(cast.reviewer, attempt, exposure_ms=3000) for attempt in second]
    assert [row.exposure_ms for row in rows] == [7000] * 3 + [3000] * 3


def test_a_tab_that_waited_behind_another_is_not_refused(make, cast, trial, time):
    """Looked at before the other tab's scans were even lent, accepted after them."""
    waited, other = [make(), make()], [make(), make()]
    lend(cast.reviewer, waited)
    time.go(5)
    lend(cast.reviewer, other)
    time.go(4)
    assert passed(cast.reviewer, other, exposure_ms=2000) == 2
    assert passed(cast.reviewer, waited, exposure_ms=2500) == 2


def test_only_managers_choose_a_scan_that_waits_for_verification(client, make, cast, dataset):
    """Who could pick every scan by hand would never meet a known case."""
    attempt, referred = make(), make(Status.REFER)
    for one, mode in ((attempt, "verify"), (referred, "visual")):  # who has judged a scan may look it up
        lend(cast.reviewer, [one], mode)
        verdict = say(cast.reviewer, one, mode=mode)
        actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce=f"u{one.pk}")
    actions.release_leases(actor=cast.reviewer)
    client.force_login(cast.reviewer)
    ask = lambda one: client.post(reverse("review-one", args=[one.pk]), "{}", content_type="application/json")  # noqa: E731
    assert (ask(attempt).status_code, ask(attempt).json()["code"]) == (409, "not_allowed")
    assert not Lease.objects.exists()
    assert "Judge now" not in client.get(reverse("scan", args=[attempt.scan_id])).content.decode()
    assert ask(referred).status_code == 200
    client.force_login(cast.manager)
    assert ask(attempt).json()["items"][0]["minimum_ms"] == 0
    assert "Judge now" in client.get(reverse("scan", args=[attempt.scan_id])).content.decode()


def test_a_verdict_can_be_taken_back_for_a_day(client, make, cast, dataset, time):
    attempt = make()
    lend(cast.reviewer, [attempt])
    verdict = say(cast.reviewer, attempt)
    time.go(undo.UNDO_HOURS * 3600 + 60)
    with pytest.raises(actions.Refused, match="for 24 hours; this one is older"):
        actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce="u")
    assert now(attempt).status == Status.PASSED
    assert actions.undoable(actor=cast.reviewer) == []
    time.go(-120)
    assert actions.undoable(actor=cast.reviewer) == [verdict]
    actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce="u")
    assert now(attempt).status == Status.VERIFY


def by_units(asked):
    """The rule spelled out: each unit of time from the scan's lease to now is used once, the earliest first."""
    used = set()
    for start, end, wanted in asked:
        free = [unit for unit in range(start, end) if unit not in used][:wanted]
        used |= set(free)
        yield used, len(free)


@pytest.mark.parametrize("seed", range(20))
def test_the_spans_agree_with_counting_unit_by_unit(seed):
    chance, busy, end = random.Random(seed), [], 0
    asked = []
    for _ in range(40):
        end += chance.randrange(6)
        asked.append((chance.randrange(end + 3), end, chance.randrange(8)))
    for (start, until, wanted), (used, taken) in zip(asked, by_units(asked), strict=True):
        busy, got = clock.taken_from(busy, start, until, wanted, most=1000)
        assert got == taken
        assert {unit for a, b in busy for unit in range(a, b)} == used
        assert all(a < b for a, b in busy)
        assert all(first[1] < second[0] for first, second in itertools.pairwise(busy))


def test_many_gaps_are_counted_as_spent_not_as_free():
    busy = []
    for at in range(0, 1000, 10):
        busy, _ = clock.taken_from(busy, at, at + 5, 5)
    assert len(busy) == clock.MOST_SPANS
    assert busy[0][0] == 0
    assert busy[0][1] > 500
