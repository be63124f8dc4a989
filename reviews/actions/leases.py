"""Leases: one person at a time holds an attempt, for a limited and renewable time."""

import secrets
from collections.abc import Collection
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
from reviews.models import Attempt, Dataset, GoldItem, Lease, Mode, Verdict
from reviews.models.ahead import lease_over, lease_runs
from reviews.states import JUDGEABLE, Status

OVERSAMPLE = 8
MOST_HELD = 192  # four of the largest pages; time is saved up for no more scans than these


@transaction.atomic
def lease_batch(
    *, actor, dataset: Dataset, mode: str, count: int, exclude: Collection[int] = ()
) -> list[Attempt]:
    """Up to `count` attempts for this person: those already held first, then new ones by confidence.

    `exclude` names what the browser already has. A share of hidden known cases is mixed into verification.
    """
    require_reviewer(actor, dataset.pk)
    held = _held(actor, dataset, mode, exclude)[:count]
    missing = count - len(held)
    if not missing:
        return held
    known = {attempt.pk for attempt in held} | set(exclude)
    room = _room(actor, known)
    if not held and not room:
        raise Refused(f"You hold {MOST_HELD} scans already: judge some of them, or close a page.")
    fresh = _take(actor, dataset, mode, min(missing, room), known)
    return held + _mix_gold(actor, dataset, mode, fresh, known)


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
    if not _acquire(actor, attempt.dataset, mode, [attempt.pk]):
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
    """What the person holds and can still judge, renewed."""
    usable = Q(status__in=_statuses(mode)) | Q(gold__isnull=False, gold__practice=False)
    mine = Attempt.objects.filter(usable, dataset=dataset, lease__user_id=actor.pk, lease__mode=mode)
    held = list(mine.exclude(pk__in=exclude).select_related("scan", "lease").order_by("lease__id"))
    if held:
        _prolong(Lease.objects.filter(user_id=actor.pk, attempt__in=held), dataset)
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


def _take(actor, dataset: Dataset, mode: str, count: int, known: set[int]) -> list[Attempt]:
    """New attempts from the queue; what another person takes at the same moment is skipped."""
    taken: list[Attempt] = []
    while len(taken) < count:
        queue = Attempt.objects.filter(dataset=dataset).awaiting(mode).for_reviewer(actor, mode)
        free = queue.exclude(pk__in=known).by_confidence().select_related("scan")
        candidates = list(free[: count - len(taken)])
        if not candidates:
            break
        got = _acquire(actor, dataset, mode, [attempt.pk for attempt in candidates])
        taken += [attempt for attempt in candidates if attempt.pk in got]
        known |= {attempt.pk for attempt in candidates}
    return taken


def _acquire(actor, dataset: Dataset, mode: str, ids: list[int]) -> set[int]:
    """Insert leases where none stands; the unique attempt decides between two people."""
    now = timezone.now()
    until = now + timedelta(seconds=dataset.lease_seconds)
    Lease.objects.filter(lease_over(), attempt_id__in=ids).exclude(user_id=actor.pk).delete()
    leases = [Lease(attempt_id=pk, user=actor, mode=mode, granted_at=now, until=until) for pk in ids]
    Lease.objects.bulk_create(leases, ignore_conflicts=True)
    mine = Lease.objects.filter(attempt_id__in=ids, user_id=actor.pk)
    _prolong(mine, dataset, mode=mode)
    return set(mine.values_list("attempt_id", flat=True))


def _mix_gold(actor, dataset: Dataset, mode: str, fresh: list[Attempt], known: set[int]) -> list[Attempt]:
    """Replace a share of the new attempts by known cases this person has not judged, at random places."""
    if mode != Mode.VERIFY or not dataset.gold_share or not fresh:
        return fresh
    wanted = sum(secrets.randbelow(10_000) < dataset.gold_share * 10_000 for _ in fresh)
    gold = _unseen_gold(actor, dataset, wanted, known) if wanted else []
    got = _acquire(actor, dataset, mode, [attempt.pk for attempt in gold])
    hidden = [attempt for attempt in gold if attempt.pk in got]
    kept = fresh[: len(fresh) - len(hidden)]
    release = [attempt.pk for attempt in fresh[len(kept) :]]
    Lease.objects.filter(user_id=actor.pk, attempt_id__in=release).delete()
    for attempt in hidden:
        kept.insert(secrets.randbelow(len(kept) + 1), attempt)
    return kept


def _unseen_gold(actor, dataset: Dataset, count: int, known: set[int]) -> list[Attempt]:
    seen = Verdict.objects.standing().filter(user_id=actor.pk, gold=True).values("attempt_id")
    items = GoldItem.objects.filter(practice=False, attempt__dataset=dataset).exclude(attempt_id__in=seen)
    free = items.exclude(attempt_id__in=known).exclude(lease_runs("attempt__lease__"))
    ids = list(free.values_list("attempt_id", flat=True)[: count * OVERSAMPLE])
    chosen = [ids.pop(secrets.randbelow(len(ids))) for _ in range(min(count, len(ids)))]
    return list(Attempt.objects.filter(pk__in=chosen).select_related("scan"))
