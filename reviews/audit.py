"""Append to the audit chain, and check it."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Subquery

from reviews.models import AuditEvent, AuditHead
from reviews.verify_chain import CONTENT, check, content_digest, link

SYSTEM = "system"
DIGESTS = ("content_digest", "previous_digest", "digest")


def name_of(actor) -> str:
    """How the trail names who did it; None is the software itself, a text what `acting` says of who is no user."""
    if actor is None or isinstance(actor, str):
        return actor or SYSTEM
    return f"user:{actor.pk}"


def named(events: list[AuditEvent]) -> list[AuditEvent]:
    """The events with `who`: the present user name where the trail keeps an id."""
    ids = {event.actor[5:] for event in events if event.actor.startswith("user:")}
    names = dict(get_user_model().objects.filter(pk__in=ids).values_list("pk", "username"))
    of_actor = {f"user:{pk}": name for pk, name in names.items()}
    for event in events:
        event.who = of_actor.get(event.actor, event.actor)
    return events


def append(
    *, actor, action: str, dataset: int | None, object_kind: str, object_id: int | None, before, after
):
    """Add one event inside the caller's transaction; the head row is locked until it commits."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("an audit event belongs into the transaction of what it records")
    head = AuditHead.objects.select_for_update().filter(pk=1).first() or _first_head()
    event = {
        "seq": head.seq + 1,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "actor": name_of(actor),
        "action": action,
        "dataset": dataset,
        "object_kind": object_kind,
        "object_id": object_id,
        "before": before,
        "after": after,
    }
    content = content_digest(event)
    digest = link(head.digest, content)
    AuditHead.objects.filter(pk=1).update(seq=event["seq"], digest=digest)
    return AuditEvent.objects.create(
        **event, content_digest=content, previous_digest=head.digest, digest=digest
    )


def _first_head() -> AuditHead:
    AuditHead.objects.get_or_create(pk=1)
    return AuditHead.objects.select_for_update().get(pk=1)


def rows() -> Iterator[dict]:
    """The chain in order."""
    return AuditEvent.objects.order_by("seq").values(*CONTENT, *DIGESTS).iterator(chunk_size=2000)


def shown(event: dict, dataset: int) -> dict:
    """The event as the trail of one dataset shows it; of other datasets it is withheld, its digests kept."""
    if event["dataset"] in (None, dataset):
        return event
    return {"seq": event["seq"], "withheld": True, **{name: event[name] for name in DIGESTS}}


def problems(events: Iterable[dict] | None = None) -> list[str]:
    """What is wrong with the stored chain, or with `events` read from it; nothing when it is whole."""
    return check(rows() if events is None else events) + _problems_at_the_end()


def _problems_at_the_end() -> list[str]:
    """Whether the head fits the last event; one query reads both, so no event can come between them."""
    head = AuditHead.objects.filter(pk=1)
    ends = AuditEvent.objects.order_by("-seq").annotate(
        head_seq=Subquery(head.values("seq")), head_digest=Subquery(head.values("digest"))
    )
    last = ends.values_list("seq", "digest", "head_seq", "head_digest").first()
    if last is not None and last[:2] != last[2:]:
        return ["the head of the chain does not match its last event: events are missing at the end"]
    if last is None and head.filter(seq__gt=0).exists():
        return ["all events are missing"]
    return []
