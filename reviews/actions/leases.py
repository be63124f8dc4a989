"""Leases: one person at a time holds an attempt, for a limited and renewable time."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Least
from django.utils import timezone

from reviews.actions import clock
from reviews.actions.core import (
    NotLeased,
    Refused,
    StaleState,
    get_attempt,
    require_manager,
    require_reviewer,
)
from reviews.actions.known_queue import Place, mixes, open_cases, queue_of
from reviews.models import Attempt, Dataset, Given, Lease, Mode
from reviews.models.ahead import lease_over
from reviews.states import JUDGEABLE, Status

MOST_HELD = 192  # four of the largest pages; time is saved up for no more scans than these


@transaction.atomic
def lease_batch(
    *, actor, dataset: Dataset, mode: str, count: int, exclude: Collection[int] = ()
) -> list[Attempt]:
    """Up to `count` attempts for this person: those already held first, then new ones by confidence.

    `exclude` is what the browser already has. Each is `given` a handle. A share of hidden known cases is mixed into
    verification.
    """
    require_reviewer(actor, dataset.pk)
    held = _held(actor, dataset, mode, exclude)[:count]
    missing = count - len(held)
    if not missing:
        return held
    there = {attempt.pk for attempt in held} | set(exclude)
    room = _room(actor, there)
    if not held and not room:
        raise Refused(f"You hold {MOST_HELD} scans already: judge some of them, or close a page.")
    return held + _take(actor, dataset, mode, min(missing, room), there)


@transaction.atomic
def lease_one(*, actor, attempt_id: int, mode: str = Mode.VISUAL) -> Attempt:
    """Reserve one chosen attempt that can be judged now; refuses when another person holds it.

    What waits for verification is chosen by managers alone: whoever picks scans by hand meets no known case.
    """
    attempt = get_attempt(attempt_id)
    require_reviewer(actor, attempt.dataset_id)
    if attempt.state not in JUDGEABLE or (mode == Mode.VERIFY and attempt.state is not Status.VERIFY):
        raise StaleState(attempt.pk, attempt.status)
    _require_open_queues(actor, attempt, mode)
    if attempt.state is Status.VERIFY and mode != Mode.VERIFY:
        require_manager(actor, attempt.dataset_id)
    if attempt.referrals.filter(user_id=actor.pk).exists():
        require_manager(actor, attempt.dataset_id)
    if not acquire(actor, attempt.dataset, mode, [Place(attempt)]):
        raise NotLeased(attempt.pk)
    return attempt


def queues_of(attempt: Attempt, mode: str = Mode.VISUAL) -> set[Mode]:
    """The queues that must be open to who judges this very attempt in this way."""
    return {Mode.VERIFY if attempt.state is Status.VERIFY else Mode.VISUAL, Mode(mode)}


def _require_open_queues(actor, attempt: Attempt, mode: str) -> None:
    """Refuse where the queue it waits in, or the one of this way of looking, belongs to others; managers may."""
    here = Dataset.objects.filter(pk=attempt.dataset_id)
    if not all(here.open_to(actor, needed).exists() for needed in queues_of(attempt, mode)):
        require_manager(actor, attempt.dataset_id)


def attempts_given(handles: Collection[str], *, actor) -> dict[str, int]:
    """The attempts that this person was given under these handles; a handle of anybody else's stands for nothing."""
    rows = Given.objects.filter(handle__in=handles, user_id=actor.pk)
    return dict(rows.values_list("handle", "attempt_id"))


@transaction.atomic
def renew_leases(*, actor, attempt_ids: Collection[int]) -> set[int]:
    """Prolong what the person still holds; returns those ids."""
    mine = Lease.objects.filter(user_id=actor.pk, attempt_id__in=attempt_ids).select_related(
        "attempt__dataset"
    )
    renewed = set()
    for lease in mine:
        if _prolong(Lease.objects.filter(pk=lease.pk, user_id=actor.pk), lease.attempt.dataset):
            renewed.add(lease.attempt_id)
    return renewed


@transaction.atomic
def release_leases(*, actor, attempt_ids: Collection[int] | None = None) -> int:
    """Give back the named attempts, or all that the person holds."""
    mine = Lease.objects.filter(user_id=actor.pk)
    if attempt_ids is not None:
        mine = mine.filter(attempt_id__in=attempt_ids)
    return mine.delete()[0]


def _held(actor, dataset: Dataset, mode: str, exclude: Collection[int]) -> list[Attempt]:
    """What the person holds and can still judge, renewed; in the order in which it was given."""
    usable = Q(status__in=_statuses(mode)) | Q(lease__known=True)
    mine = Attempt.objects.filter(usable, dataset=dataset, lease__user_id=actor.pk, lease__mode=mode)
    held = list(mine.exclude(pk__in=exclude).select_related("scan", "lease").order_by("lease__id"))
    if held:
        _prolong(Lease.objects.filter(user_id=actor.pk, attempt__in=held), dataset)
    for attempt in held:
        attempt.given = attempt.lease.handle
    return held


def _room(actor, known: set[int]) -> int:
    """How many more the person may hold, over all queues; what ran out and no page knows of makes room."""
    clock.locked(actor)
    mine = Lease.objects.filter(user_id=actor.pk)
    if mine.count() >= MOST_HELD:
        mine.filter(lease_over()).exclude(attempt_id__in=known).delete()
    return max(0, MOST_HELD - mine.count())


def _prolong(leases: QuerySet[Lease], dataset: Dataset, **changes) -> int:
    """Lend for another while; a lease from a clock that was ahead begins now."""
    now = timezone.now()
    until = now + timedelta(seconds=dataset.lease_seconds)
    return leases.update(until=until, granted_at=Least("granted_at", Value(now)), **changes)


def _statuses(mode: str) -> list[str]:
    return [Status.VERIFY.value] if mode == Mode.VERIFY else [Status.REFER.value, Status.NEEDS_PERSON.value]


def _take(actor, dataset: Dataset, mode: str, count: int, there: set[int]) -> list[Attempt]:
    """New places of the queue; what another person takes at the same moment is skipped."""
    standing = open_cases(actor, dataset)
    cases = standing if mixes(actor, dataset, mode) else None
    scans = [case.attempt.scan_id for case in standing]  # visual QC would show how the case ended
    taken: list[Attempt] = []
    while len(taken) < count:
        queue = Attempt.objects.filter(dataset=dataset).awaiting(mode).for_reviewer(actor, mode)
        queue = queue.exclude(scan__in=scans) if scans else queue
        free = queue.exclude(pk__in=there).by_confidence().select_related("scan")
        room = count - len(taken)
        waiting = list(free[:room])
        if cases is None:
            places = [Place(attempt) for attempt in waiting]
        else:
            free_cases = [case for case in cases if case.attempt.pk not in there]
            places = queue_of(actor, dataset, waiting, room, free_cases)
        if not places:
            break
        got = acquire(actor, dataset, mode, places)
        taken += [place.attempt for place in places if place.attempt.pk in got]
        there |= {place.attempt.pk for place in places}
    return taken


def acquire(actor, dataset: Dataset, mode: str, places: Sequence[Place]) -> set[int]:
    """Insert leases where none stands; the unique attempt decides between two people. Who gets one gets a handle."""
    now = timezone.now()
    until = now + timedelta(seconds=dataset.lease_seconds)
    of = {place.attempt.pk: place for place in places}
    Lease.objects.filter(lease_over(), attempt_id__in=of).exclude(user_id=actor.pk).delete()
    leases = [
        Lease(attempt_id=pk, user=actor, mode=mode, known=place.known, granted_at=now, until=until)
        for pk, place in of.items()
    ]
    Lease.objects.bulk_create(leases, ignore_conflicts=True)
    mine = Lease.objects.filter(attempt_id__in=of, user_id=actor.pk)
    _prolong(mine, dataset, mode=mode)
    handles = dict(mine.values_list("attempt_id", "handle"))
    _remember(actor, mode, [of[pk] for pk in handles], handles)
    return set(handles)


def _remember(actor, mode: str, places: Sequence[Place], handles: dict[int, str]) -> None:
    """Note who was given what, and under which handle: a lease that is renewed keeps its own."""
    rows = []
    for place in places:
        attempt = place.attempt
        attempt.given = handles[attempt.pk]
        row = Given(handle=attempt.given, attempt=attempt, user=actor, mode=mode)
        row.known, row.beside = place.known, place.beside
        rows.append(row)
    Given.objects.bulk_create(rows, ignore_conflicts=True)
