"""Append to the audit chain, and check it."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Model, Q, Subquery

from reviews import digests
from reviews.models import AuditEvent, AuditHead
from reviews.verify_chain import ADDED, CONTENT, DIGESTS, FORMAT, LINKED, check, content_digest, link

SYSTEM = "system"


def name_of(actor) -> str:
    """How the trail names who did it; None is the software itself, a text what `acting` says of who is no user."""
    if actor is None or isinstance(actor, str):
        return actor or SYSTEM
    return f"user:{actor.pk}"


# events of before the word changed keep the action they were written with
FORMER_ACTIONS = {
    "gold_declared": "known_case_declared",
    "gold_dropped": "known_case_dropped",
    "gold_judged": "known_case_judged",
    "gold_undone": "known_case_undone",
}
FORMER_NAMES = {"gold_share": "known_share"}
ON_KNOWN_CASES = Q(action__startswith="known_case_") | Q(action__in=["practised", *FORMER_ACTIONS])


def named(events: list[AuditEvent]) -> list[AuditEvent]:
    """The events as pages show them, without the digests of their rows.

    `who` is the present user name, `done` today's word for the action.
    """
    ids = {event.actor[5:] for event in events if event.actor.startswith("user:")}
    names = dict(get_user_model().objects.filter(pk__in=ids).values_list("pk", "username"))
    of_actor = {f"user:{pk}": name for pk, name in names.items()}
    for event in events:
        event.who = of_actor.get(event.actor, event.actor)
        event.done = FORMER_ACTIONS.get(event.action, event.action)
        event.before, event.after = _shown(event.before), _shown(event.after)
    return events


def _shown(said):
    """What an event says in today's words, without the digests of its rows."""
    if not isinstance(said, dict):
        return said
    return {FORMER_NAMES.get(name, name): value for name, value in said.items() if name != "rows"} or None


def append(
    *,
    actor,
    action: str,
    dataset: int | None,
    object_kind: str,
    object_id: int | None,
    before,
    after,
    rows: Sequence[Model] = (),
):
    """Add one event inside the caller's transaction; the head row is locked until it commits.

    `rows` are the kept rows that were made with it: the event carries their digest.
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("an audit event belongs into the transaction of what it records")
    if rows:
        after = {**(after or {}), "rows": digests.spoken_of(rows)}
    head = AuditHead.objects.select_for_update().filter(pk=1).first() or _first_head()
    event = following(
        {"seq": head.seq, "digest": head.digest},
        actor=name_of(actor),
        action=action,
        dataset=dataset,
        object_kind=object_kind,
        object_id=object_id,
        before=before,
        after=after,
    )
    AuditHead.objects.filter(pk=1).update(seq=event["seq"], digest=event["digest"])
    return AuditEvent.objects.create(**event)


def following(last: dict, **said) -> dict:
    """The event that follows the one with this number and digest."""
    event = {
        "format": FORMAT,
        "salt": secrets.token_hex(16),
        "seq": last["seq"] + 1,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "previous_digest": last["digest"],
        **said,
    }
    event["content_digest"] = content_digest(event)
    event["digest"] = link(event)
    return event


def _first_head() -> AuditHead:
    AuditHead.objects.get_or_create(pk=1)
    return AuditHead.objects.select_for_update().get(pk=1)


def rows() -> Iterator[dict]:
    """The chain in order."""
    names = (*CONTENT, *ADDED, *DIGESTS)
    return AuditEvent.objects.order_by("seq").values(*names).iterator(chunk_size=2000)


def first_line(dataset: int) -> dict:
    """What an exported trail begins with."""
    return {"trail": FORMAT, "dataset": dataset}


def shown(event: dict, dataset: int) -> dict:
    """The event as the trail of one dataset shows it; of other datasets it is withheld but for what links the chain."""
    if event["dataset"] not in (None, dataset):
        return {**{name: event[name] for name in (*LINKED, "digest")}, "withheld": True}
    return {name: value for name, value in event.items() if name != "salt" or event["format"] != 1}


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
