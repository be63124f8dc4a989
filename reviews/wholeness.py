"""Whether what is stored is what the audit trail says: the chain, the kept rows, the status of every attempt.

Everything is read in order and in parts: what is kept in memory is a bit for each row, however long the trail is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from operator import itemgetter

from django.db import connection, models, transaction
from django.db.models import Exists, OuterRef, Q

from reviews import audit, digests, originals
from reviews.models import (
    Attempt,
    AuditEvent,
    FrozenCase,
    FrozenSet,
    Prediction,
    Referral,
    ThresholdSet,
    TriageRecord,
    Verdict,
)
from reviews.verify_chain import FORMAT, TURN

MODELS = {
    digests.KIND_OF[model._meta.model_name]: model
    for model in (Verdict, TriageRecord, Prediction, ThresholdSet, FrozenSet, FrozenCase)
}
AT_ONCE = 1000
MOST = 50
BIRTH = "attempt_added"


def problems(events: Iterable[dict] | None = None) -> list[str]:
    """What is wrong, in words; nothing when all is whole. `events` are the stored ones, read by the caller."""
    rows = Rows()
    with one_moment():
        found = audit.problems(rows.watched(audit.rows() if events is None else events))
        for more in (rows.end(), statuses(), in_force(), doubts(), originals.problems()):
            found += islice(more, MOST)
    return found


@contextmanager
def one_moment():
    """Everything inside is read as it was at its begin; nobody who writes has to wait."""
    connection.ensure_connection()
    if connection.in_atomic_block or getattr(connection.connection, "in_transaction", False):
        yield
    elif connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")  # a transaction of Django's own would keep writers out
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield


class Seen:
    """Which ids were met, a bit each."""

    def __init__(self) -> None:
        self.parts: dict[int, int] = {}

    def add(self, pk: int) -> bool:
        """Whether it is new."""
        before, bit = self.parts.get(pk >> 10, 0), 1 << (pk & 1023)
        self.parts[pk >> 10] = before | bit
        return not before & bit

    def __contains__(self, pk: int) -> bool:
        return bool(self.parts.get(pk >> 10, 0) >> (pk & 1023) & 1)


class Rows:
    """Holds the kept rows against the events that speak of them, while the events go by."""

    def __init__(self) -> None:
        self.seen = {kind: Seen() for kind in MODELS}
        self.waiting: list[tuple[int, str, list[int], str]] = []
        self.ids = 0
        self.found: list[str] = []
        self.format, self.turn, self.before = 0, 0, {}

    def watched(self, events: Iterable[dict]) -> Iterator[dict]:
        """The same events."""
        for event in events:
            self._add(event)
            yield event

    def end(self) -> Iterator[str]:
        """All problems, once the last event went by."""
        self._look()
        yield from self.found
        for kind, model in MODELS.items():
            last, digest = self.before.get(kind, (0, ""))
            if last and digests.older_digest(model, last) != digest:
                yield f"a {kind} row from before event {self.turn} (up to {kind} {last}) was changed, added or removed"
            rows = model.objects.filter(pk__gt=last) if last else model.objects.all()  # an id can be negative
            for pk in rows.order_by("pk").values_list("pk", flat=True).iterator():
                if pk not in self.seen[kind]:
                    yield f"{kind} {pk} has no event"

    def _add(self, event: dict) -> None:
        after = event["after"] if isinstance(event["after"], dict) else {}
        if event["action"] == TURN and self.format == 1:  # nobody can say later that a row is from before
            self.turn, self.before = event["seq"], after.get("rows_before", {})
        self.format = event["format"]
        spoken = after.get("rows", []) if self.format == FORMAT else []
        if not _readable_names(spoken):
            self.found.append(f"event {event['seq']} names rows in a way that cannot be read")
            return
        for kind, ids, digest in spoken:
            self.waiting.append((event["seq"], kind, ids, digest))
            self.ids += len(ids)
        if self.ids >= AT_ONCE:
            self._look()

    def _look(self) -> None:
        stored = {kind: _stored(kind, [w for w in self.waiting if w[1] == kind]) for kind in MODELS}
        for seq, kind, ids, digest in self.waiting:
            if len(self.found) < MOST:
                self.found += self._problems_of(seq, kind, ids, digest, stored[kind])
        self.waiting, self.ids = [], 0

    def _problems_of(self, seq: int, kind: str, ids: list[int], digest: str, stored: dict) -> Iterator[str]:
        again = [pk for pk in ids if not self.seen[kind].add(pk)]
        gone = [pk for pk in ids if pk not in stored]
        names = ", ".join(str(pk) for pk in again or gone or ids)
        if again:
            yield f"event {seq} speaks of {kind} {names} a second time"
        elif gone:
            yield f"event {seq}: {kind} {names} is gone"
        elif not _fits(kind, [stored[pk] for pk in ids], digest):
            yield f"event {seq}: {kind} {names} was changed"


def _readable_names(spoken) -> bool:
    """Whether it is what an event says of rows; whoever may add rows can add an event that says anything."""
    try:
        return isinstance(spoken, list) and all(
            kind in MODELS and digests.are_ids(ids) and isinstance(digest, str)
            for kind, ids, digest in spoken
        )
    except (TypeError, ValueError):
        return False


def _stored(kind: str, waiting: list) -> dict[int, dict | None]:
    """Rows by id as they are stored; None for one that cannot be read."""
    model, ids = MODELS[kind], [pk for _, _, some, _ in waiting for pk in some]
    rows = model.objects.order_by().values(*digests.columns(model))
    try:
        return {row["id"]: row for row in rows.filter(pk__in=ids)} if ids else {}
    except (ValueError, TypeError):  # somebody wrote what no column of this kind holds
        return {
            pk: _readable(rows, pk) for pk in model.objects.filter(pk__in=ids).values_list("pk", flat=True)
        }


def _readable(rows: models.QuerySet, pk: int) -> dict | None:
    try:
        return rows.get(pk=pk)
    except (ValueError, TypeError):
        return None


def _fits(kind: str, rows: list[dict | None], digest: str) -> bool:
    try:
        return digests.digest_of(MODELS[kind], rows) == digest
    except (ValueError, TypeError, AttributeError):
        return False


def statuses() -> Iterator[str]:
    """Attempts whose status, or whose output, their events do not explain."""
    events = AuditEvent.objects.filter(object_kind="attempt").order_by("object_id", "seq")
    columns = ("object_id", "seq", "action", "before", "after", "format")
    told = groupby(events.values_list(*columns).iterator(chunk_size=2000), itemgetter(0))
    stored = Attempt.objects.order_by("pk").values_list("pk", "status", "output_sha256")
    attempts = stored.iterator(chunk_size=2000)
    attempt, history = next(attempts, None), next(told, None)
    while attempt or history:
        pk = min(found[0] for found in (attempt, history) if found)
        here, events_of = attempt and attempt[0] == pk, history and history[0] == pk
        if not here:
            yield f"attempt {pk} has events and is gone"
        elif not events_of:
            yield f"attempt {pk} has no event: nothing explains its status '{attempt[1]}'"
        else:
            yield from _unexplained(attempt, history[1])
        attempt = next(attempts, None) if here else attempt
        history = next(told, None) if events_of else history


def _unexplained(attempt: tuple, events: Iterator[tuple]) -> Iterator[str]:
    """Replays the events about one attempt."""
    pk, stored, stored_output = attempt
    status = output = born = None
    for _, seq, action, before, after, form in events:
        born = born or form
        before, after = (said if isinstance(said, dict) else {} for said in (before, after))
        expected = before.get("status", after.get("status") if action != BIRTH else None)
        if status is not None and expected != status and "status" in after:
            yield f"event {seq} finds attempt {pk} '{expected}', which the events before it left '{status}'"
        status, output = after.get("status", status), after.get("output", output)
    if status != stored:
        yield f"attempt {pk} is '{stored}', its events say '{status}'"
    if output != stored_output and (output or (stored_output and born == FORMAT)):
        yield f"attempt {pk} has another output than its events say"


def in_force() -> Iterator[str]:
    """The cut-offs in force are those that an event put there."""
    events = AuditEvent.objects.filter(object_kind="threshold_set").order_by("-seq")
    last = events.filter(action="thresholds_activated").first() or events.last()
    active = ThresholdSet.objects.filter(active=True).values_list("pk", flat=True).first()
    if active != (last and last.object_id):
        yield f"threshold_set {active} is in force, its events say {last and last.object_id}"


def doubts() -> Iterator[str]:
    """Who was unsure is not given the scan again: each standing doubt has its referral, each referral its doubt."""
    mine = Verdict.objects.standing().filter(
        kind=Verdict.Kind.DOUBT, on_known_case=False, attempt=OuterRef("attempt")
    )
    without = Referral.objects.filter(~Exists(mine.filter(pk=OuterRef("verdict"), user=OuterRef("user"))))
    for pk in without.order_by("pk").values_list("pk", flat=True)[:MOST]:
        yield f"referral {pk} belongs to no standing doubt"
    held = Referral.objects.filter(attempt=OuterRef("attempt"), user=OuterRef("user"))
    doubted = Verdict.objects.standing().filter(
        ~Exists(held), Q(kind=Verdict.Kind.DOUBT), on_known_case=False
    )
    for pk in doubted.order_by("pk").values_list("pk", flat=True)[:MOST]:
        yield f"verdict {pk} is a doubt, and its referral is gone"
