"""Known cases among the scans of a verification queue: drawn once, then as steady as any other scan there.

A scan that somebody is given for the first time may bring a known case along. From then on the case stands at that
place in this person's queue, until it is judged: giving leases back and taking them again shows the same queue.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef

from reviews.models import Attempt, Dataset, Given, KnownCase, Mode, Verdict
from reviews.models.ahead import lease_runs

POOL = 500


@dataclass(frozen=True)
class Place:
    """One place in a person's queue; `beside` is the scan that a known case stands before."""

    attempt: Attempt
    known: bool = False
    beside: Attempt | None = None

    @property
    def key(self) -> tuple:
        """The order of the queue, the surest first; a known case comes just before its neighbour."""
        by = self.beside or self.attempt
        return (-by.confidence, by.pk, not self.known)


def mixes(actor, dataset: Dataset, mode: str) -> bool:
    """Whether this person's queue can hold known cases: not where they may look every scan up."""
    return mode == Mode.VERIFY and Dataset.objects.judged_only_by(actor).filter(pk=dataset.pk).exists()


def open_cases(actor, dataset: Dataset) -> list[Place]:
    """Known cases that stand in this person's queue: drawn once and not judged since, in the queue's order."""
    judged = Verdict.objects.filter(user_id=actor.pk, attempt=OuterRef("attempt"))
    rows = Given.objects.filter(~Exists(judged), user_id=actor.pk, known=True, attempt__dataset=dataset)
    rows = rows.filter(attempt__known_case__practice=False).select_related("attempt__scan", "beside")
    latest = {
        row.attempt_id: Place(row.attempt, known=True, beside=row.beside) for row in rows.order_by("pk")
    }
    return sorted(latest.values(), key=lambda place: place.key)


def queue_of(
    actor, dataset: Dataset, waiting: Sequence[Attempt], room: int, cases: list[Place]
) -> list[Place]:
    """The next `room` places: the waiting scans in their order with the `cases` at theirs, and new ones drawn."""
    new = _never_given(actor, waiting) if dataset.known_share else set()
    hits = {attempt.pk for attempt in waiting if attempt.pk in new and _coin(dataset.known_share)}
    pool = _pool(actor, dataset, waiting) if hits else []
    drawn = [_draw(pool, attempt) for attempt in waiting if attempt.pk in hits]
    places = [*map(Place, waiting), *cases, *(place for place in drawn if place)]
    ended = len(waiting) < room
    last = max((Place(attempt).key for attempt in waiting), default=())
    shown = [place for place in places if ended or place.key <= last]
    return sorted(shown, key=lambda place: place.key)[:room]


def _coin(share: float) -> bool:
    """Whether a scan brings a case along, so that `share` of all that is given are known cases."""
    return secrets.randbelow(10_000) < 10_000 * share / (1 - share)


def _never_given(actor, waiting: Sequence[Attempt]) -> set[int]:
    asked = {attempt.pk for attempt in waiting}
    met = Given.objects.filter(user_id=actor.pk, attempt_id__in=asked)
    return asked - set(met.values_list("attempt_id", flat=True))


def _pool(actor, dataset: Dataset, waiting: Iterable[Attempt]) -> list[Attempt]:
    """Hidden known cases free to be given, of scans this person has never been given anything of."""
    met = Given.objects.filter(user_id=actor.pk, attempt__scan=OuterRef("attempt__scan"))
    judged = Verdict.objects.filter(user_id=actor.pk, attempt__scan=OuterRef("attempt__scan"))
    rows = KnownCase.objects.filter(~Exists(met), ~Exists(judged), practice=False, attempt__dataset=dataset)
    rows = rows.exclude(lease_runs("attempt__lease__"))
    rows = rows.exclude(attempt__scan__in=[attempt.scan_id for attempt in waiting])
    ids = list(rows.order_by("?").values_list("attempt", flat=True)[:POOL])
    return list(Attempt.objects.filter(pk__in=ids).select_related("scan"))


def _draw(pool: list[Attempt], neighbour: Attempt) -> Place | None:
    """A case out of the pool that looks like its neighbour; each scan comes once."""
    like = [case for case in pool if _looks(case) == _looks(neighbour)]
    if not like:
        return None
    case = secrets.choice(like)
    pool[:] = [other for other in pool if other.scan_id != case.scan_id]
    return Place(case, known=True, beside=neighbour)


def _looks(attempt: Attempt) -> tuple:
    """What a card shows beside the pictures themselves."""
    return (
        attempt.scan.suffix,
        attempt.render_version,
        sorted(attempt.view_names),
        attempt.scan.has_original,
    )
