"""What somebody who manages a dataset should look at now: read only."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.db.models import Count, Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from reviews.models import Assignment, Attempt, Dataset, Membership, Mode, Referral
from reviews.models.people import REVIEWING
from reviews.states import Status

STALLED_AFTER = timedelta(minutes=10)
NO_PLAN = "with no further plan or no original: a person decides"
STALLED = "waiting for a worker for more than ten minutes"
DOUBTED = "doubted by everybody who may be given them: open one here and decide, or add a reviewer"
NO_REVIEWER = "but no active person may review here: add a reviewer"
MISASSIGNED = "but that queue is given only to {names}: assign it anew, or end the assignment"


@dataclass(frozen=True)
class Alarm:
    """`count` scans of a dataset, what is wrong with them and what to do, and where."""

    dataset: Dataset
    count: int
    level: str
    words: str
    url: str


def alarms(user, datasets: list[Dataset]) -> list[Alarm]:
    """Everything that waits for somebody who manages, in the datasets that this user manages."""
    managed = list(Dataset.objects.managed_by(user).filter(pk__in=[dataset.pk for dataset in datasets]))
    nobody = {mode: _unserved(managed, mode) for mode in (Mode.VERIFY, Mode.VISUAL)}
    silent = timezone.now() - STALLED_AFTER
    busy = Attempt.objects.working().filter(claimed_at__gte=silent).exclude(claimed_by="").exists()
    found = []
    for dataset in managed:
        for mode, pks in nobody.items():
            found += _queue_alarm(dataset, mode) if dataset.pk in pks else []
        found += _scan_alarms(dataset, silent, busy)
    return found


def _scan_alarms(dataset: Dataset, silent: datetime, busy: bool) -> list[Alarm]:
    """`silent`: since when a worker at work has spoken; `busy`: whether any has, so that what only waits is no alarm."""
    attempts = Attempt.objects.filter(dataset=dataset)
    stalled = attempts.stalled(silent)
    stalled = stalled.exclude(claimed_by="") if busy else stalled
    stuck = attempts.filter(status__in=[Status.ERROR, Status.NEEDS_PERSON])
    counts = dict(stuck.values_list("status").annotate(count=Count("pk")))
    rows = [
        (doubted_by_all(attempts).count(), "warning", DOUBTED, {"doubted": "on"}),
        (counts.get(Status.ERROR, 0), "error", "ended in an error", {"status": Status.ERROR.value}),
        (counts.get(Status.NEEDS_PERSON, 0), "warning", NO_PLAN, {"status": Status.NEEDS_PERSON.value}),
        (stalled.count(), "warning", STALLED, {}),
    ]
    return [
        Alarm(dataset, count, level, words, _scans(dataset, query))
        for count, level, words, query in rows
        if count
    ]


def _scans(dataset: Dataset, query: dict[str, str]) -> str:
    return reverse("scans") + "?" + urlencode({"dataset": dataset.slug, **query})


def _unserved(datasets: list[Dataset], mode: str) -> set[int]:
    rows = Dataset.objects.filter(pk__in=[dataset.pk for dataset in datasets]).served_by_nobody(mode)
    return set(rows.values_list("pk", flat=True))


def _queue_alarm(dataset: Dataset, mode: Mode) -> list[Alarm]:
    """One queue that nobody can be given anything of, if anything waits in it."""
    count = Attempt.objects.filter(dataset=dataset).awaiting(mode).count()
    names = ", ".join(_assigned_to(dataset, mode))
    why = MISASSIGNED.format(names=names) if names else NO_REVIEWER
    words = f"{'waits' if count == 1 else 'wait'} in the queue '{mode.label}', {why}"
    return [Alarm(dataset, count, "error", words, reverse("dataset", args=[dataset.slug]))] if count else []


def _assigned_to(dataset: Dataset, mode: str) -> list[str]:
    rows = Assignment.objects.filter(dataset=dataset, mode=mode).select_related("user", "team").order_by("pk")
    return [_assignee(row) for row in rows]


def _assignee(assignment: Assignment) -> str:
    if assignment.team:
        return f"team {assignment.team.name} (no active reviewer in it)"
    why = "is no reviewer here" if assignment.user.is_active else "is not active"
    return f"{assignment.user.get_username()} ({why})"


def doubted_by_all(attempts):
    """Waiting attempts that everybody who may be given them has doubted: the queues give them to nobody."""
    doubts = Referral.objects.filter(attempt=OuterRef(OuterRef("pk")), user=OuterRef("user"))
    assigned = Assignment.objects.filter(dataset=OuterRef("dataset"), mode=Mode.VISUAL)
    mine = assigned.filter(Q(user=OuterRef("user")) | Q(team__user=OuterRef("user")))
    reviewers_left = Membership.objects.filter(
        ~Exists(doubts),
        ~Exists(assigned) | Exists(mine),
        dataset=OuterRef("dataset"),
        role__in=REVIEWING,
        user__is_active=True,
    )
    waiting = attempts.filter(status=Status.REFER, pk__in=Referral.objects.values("attempt"))
    return waiting.filter(~Exists(reviewers_left))
