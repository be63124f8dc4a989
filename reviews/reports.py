"""Figures for Home and the dashboard: read only, one query each."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from django.db.models import Count, F, Q
from django.db.models.functions import TruncDate
from django.utils import timezone

from inference.classes import CLASSES
from inference.metrics import Interval, wilson
from reviews.models import Attempt, Dataset, KnownCase, Lease, Mode, Verdict
from reviews.states import WORKING, Status

FAILURES = [name for name in CLASSES if name != "pass"]
LEAST_KNOWN_CASES = 10
LOW_CATCH_RATE = 0.8
DAYS = 14
ROUNDED = 12
OVER = (Status.FAILED.value, Status.WITHDRAWN.value)


@dataclass(frozen=True)
class Part:
    """One stretch of a dataset's bar: percent of the bar's width."""

    name: str
    words: str
    count: int
    start: float
    width: float


@dataclass(frozen=True)
class Standing:
    """Where the scans of one dataset stand."""

    total: int
    verify: int
    visual: int
    passed: int
    parts: tuple[Part, ...]


PARTS = (
    ("passed", "Passed"),
    ("verify", "To verify"),
    ("refer", "Visual QC"),
    ("again", "Being defaced again"),
    ("working", "First pass through the machine"),
    ("person", "Needs a person"),
)


def standing(datasets: list[Dataset]) -> dict[int, Standing]:
    """Scans by where their current attempt stands, for each dataset."""
    counts: dict[int, dict[str, int]] = {dataset.pk: defaultdict(int) for dataset in datasets}
    rows = Attempt.objects.filter(dataset__in=datasets).exclude(status__in=OVER)
    for dataset, status, count in rows.values_list("dataset", "status").annotate(count=Count("pk")):
        counts[dataset][_part_of(status)] += count
    again = Attempt.objects.filter(dataset__in=datasets, status__in=WORKING, number__gt=1)
    for dataset, count in again.values_list("dataset").annotate(count=Count("pk")):
        counts[dataset]["again"] += count
        counts[dataset]["working"] -= count
    return {pk: _standing(by_part) for pk, by_part in counts.items()}


def _part_of(status: str) -> str:
    if status in (Status.PASSED, Status.VERIFY, Status.REFER):
        return status
    return "working" if status in WORKING else "person"


def _standing(counts: dict[str, int]) -> Standing:
    total = sum(counts.values())
    parts, start = [], 0.0
    for name, words in PARTS:
        width = 100 * counts[name] / total if total else 0.0
        parts.append(Part(name, words, counts[name], start, width))
        start += width
    return Standing(total, counts["verify"], counts["refer"], counts["passed"], tuple(parts))


def left(user, dataset: Dataset, mode: str) -> int:
    """How many wait in the queue, whoever holds them; whole pages where an exact count would tell a known case."""
    attempts = Attempt.objects.filter(dataset=dataset)
    if mode == Mode.PRACTICE:
        return attempts.filter(known_case__practice=True).count()
    waiting = attempts.awaiting(mode)
    if not Dataset.objects.kept_back_from(user).filter(pk=dataset.pk).exists():
        return waiting.count()
    if mode == Mode.VISUAL:  # nor may their own 'unsure' show in it: a known case is not referred
        return waiting.exclude(referrals__user_id=user.pk).count()
    mine = Lease.objects.filter(user_id=user.pk, mode=mode, attempt__dataset=dataset).count()
    return ROUNDED * -(-max(waiting.count(), mine) // ROUNDED)


def midnight():
    """The beginning of the day, UTC."""
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)


def my_day(user) -> dict:
    """This person's verdicts today, their median time, and the hidden failures they caught so far."""
    today = Verdict.objects.standing().by(user).filter(created_at__gte=midnight())
    counts = dict(today.values_list("mode").annotate(count=Count("pk")))
    times = list(
        today.exclude(mode=Mode.PRACTICE).filter(active_ms__gt=0).values_list("active_ms", flat=True)
    )
    return {
        "verified": counts.get(Mode.VERIFY, 0),
        "visual": counts.get(Mode.VISUAL, 0),
        "practised": counts.get(Mode.PRACTICE, 0),
        "median_ms": median(times) if times else None,
    }


def practice_counts(datasets: list[Dataset]) -> list[tuple[Dataset, int]]:
    """Datasets that have practice cases, and how many."""
    rows = KnownCase.objects.filter(practice=True, attempt__dataset__in=datasets)
    counts = dict(rows.values_list("attempt__dataset").annotate(count=Count("pk")))
    return [(dataset, counts[dataset.pk]) for dataset in datasets if dataset.pk in counts]


def reviewers(datasets) -> list[dict]:
    """Each reviewer's verdicts, pace and share of hidden failures caught, with its interval."""
    rows = Verdict.objects.standing().filter(attempt__dataset__in=datasets).exclude(mode=Mode.PRACTICE)
    grouped = rows.values("user_id", "user__username").annotate(
        verify=Count("pk", filter=Q(mode=Mode.VERIFY)), visual=Count("pk", filter=Q(mode=Mode.VISUAL))
    )
    found = {row["user_id"]: row for row in grouped}
    for row in _first_answers(datasets):
        own = found.setdefault(row["user_id"], {"verify": 0, "visual": 0})
        own |= row
    return [_reviewer(row, rows) for row in sorted(found.values(), key=lambda row: row["user__username"])]


def _first_answers(datasets) -> Iterable[dict]:
    """Each reviewer's hidden failures and how many of them they caught; a dropped case has no truth.

    Caught by the first answer and never passed after it.
    """
    rows = Verdict.objects.first_answers().filter(attempt__dataset__in=datasets)
    hidden = rows.filter(attempt__known_case__truth__in=FAILURES).values("user_id", "user__username")
    return hidden.annotate(hidden=Count("pk"), caught=Count("pk", filter=Q(passed=False))).order_by()


def _reviewer(row: dict, rows) -> dict:
    row = {"hidden": 0, "caught": 0} | row
    catch: Interval = wilson(row["caught"], row["hidden"])
    times = list(
        rows.filter(user_id=row["user_id"], active_ms__gt=0)
        .order_by("-pk")
        .values_list("active_ms", flat=True)[:1000]
    )
    return row | {
        "catch": catch,
        "median_ms": median(times) if times else None,
        "low": catch.total >= LEAST_KNOWN_CASES and catch.high < LOW_CATCH_RATE,
    }


def days(datasets) -> list[dict]:
    """Verdicts of the last two weeks by day and class; quiet days included."""
    first = midnight() - timedelta(days=DAYS - 1)
    rows = Verdict.objects.standing().filter(
        attempt__dataset__in=datasets, created_at__gte=first, on_known_case=False
    )
    counted = rows.exclude(klass="").annotate(day=TruncDate("created_at")).values_list("day", "klass")
    by_day: dict = defaultdict(lambda: defaultdict(int))
    for day, klass, count in counted.annotate(count=Count("pk")):
        by_day[day][klass] += count
    most = max((sum(classes.values()) for classes in by_day.values()), default=0)
    dates = [(first + timedelta(days=offset)).date() for offset in range(DAYS)]
    return [_day(date, by_day[date], most) for date in dates]


def _day(date, classes: dict[str, int], most: int) -> dict:
    parts, start = [], 0.0
    for name in CLASSES:
        width = 100 * classes[name] / most if most else 0.0
        parts.append({"name": name, "count": classes[name], "start": start, "width": width})
        start += width
    return {"date": date, "total": sum(classes.values()), "parts": parts}


def attempts_needed(datasets) -> list[dict]:
    """Of the scans that passed: how many needed one attempt, two, three …"""
    rows = Attempt.objects.filter(dataset__in=datasets, status=Status.PASSED)
    counts = list(rows.values_list("number").annotate(count=Count("pk")).order_by("number"))
    total = sum(count for _, count in counts)
    return [{"number": number, "count": count, "share": count / total} for number, count in counts]


def plans(datasets) -> list[dict]:
    """How each plan has done: what people decided and how much of it passed; the machine's word does not count."""
    said = Verdict.objects.standing().filter(
        attempt__dataset__in=datasets, kind=Verdict.Kind.DECISION, on_known_case=False
    )
    grouped = (
        said.exclude(mode=Mode.PRACTICE)
        .values(plan=F("attempt__plan"))
        .annotate(
            decided=Count("attempt", distinct=True),
            passed=Count("attempt", distinct=True, filter=Q(klass="pass")),
        )
    )
    return [row | {"share": wilson(row["passed"], row["decided"])} for row in grouped.order_by("-decided")]
