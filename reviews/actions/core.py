"""What every domain event shares: refusals, the compare-and-swap with its audit event, the follow-up."""

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from inference.triage import ThresholdPolicy
from reviews import audit, queue
from reviews.escalation import plan_after
from reviews.models import (
    Attempt,
    Dataset,
    Membership,
    ThresholdSet,
)
from reviews.models.people import MANAGING, REVIEWING
from reviews.states import Event, IllegalTransition, Status, after


class Refused(Exception):
    """The action was not done; the message says why, to the person."""

    code = "refused"


class StaleState(Refused):
    """Somebody or something else was first; nothing was changed."""

    code = "stale"

    def __init__(self, attempt_id: int, status: str | None) -> None:
        now = Status(status).label.lower() if status else "gone"
        super().__init__(f"The attempt has changed meanwhile: it is now '{now}'.")
        self.attempt_id, self.status = attempt_id, status


class TooEarly(Refused):
    """The pictures were not on screen long enough."""

    code = "too_early"

    def __init__(self, remaining_ms: int) -> None:
        super().__init__(f"Look a little longer: {remaining_ms / 1000:.1f} s to go.")
        self.remaining_ms = remaining_ms


class NotLeased(Refused):
    """The attempt is not reserved for this person."""

    code = "not_leased"

    def __init__(self, attempt_id: int) -> None:
        super().__init__("This scan is no longer reserved for you.")
        self.attempt_id = attempt_id


class FileChanged(Refused):
    """The file behind the pictures is not the one that was taken in."""

    code = "file_changed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"This scan cannot be passed: {reason}. Tell a manager.")


class NotAllowed(Refused):
    """The person has no right to this."""

    code = "not_allowed"


def require_role(actor, dataset_id: int, roles: list[str]) -> None:
    """Refuse who has none of the roles in the dataset; the software itself (None) may."""
    if actor is None or actor.is_superuser:
        return
    if not Membership.objects.filter(user_id=actor.pk, dataset_id=dataset_id, role__in=roles).exists():
        raise NotAllowed("You have no right to do this in this dataset.")


def require_reviewer(actor, dataset_id: int) -> None:
    """Refuse who may not judge here."""
    require_role(actor, dataset_id, REVIEWING)


def require_manager(actor, dataset_id: int) -> None:
    """Refuse who does not manage the dataset."""
    require_role(actor, dataset_id, MANAGING)


def next_status(attempt: Attempt, event: Event) -> Status:
    """What the table says; an event that cannot happen now is a stale request."""
    try:
        return after(attempt.state, event)
    except IllegalTransition:
        raise StaleState(attempt.pk, attempt.status) from None


def advance(attempt: Attempt, event: Event, *, actor, where=None, noted=None, rows=(), **changes) -> Attempt:
    """Move an attempt: compare-and-swap on its old status (and `where`), audit event, wake the next job.

    `noted` is what the trail keeps beside the status: ids, hashes, classes and versions only. `rows` are the kept
    rows that were made with it.
    """
    old, new = attempt.state, next_status(attempt, event)
    changes |= {"status": new.value, "updated_at": timezone.now(), "claimed_by": "", "claimed_at": None}
    moved = Attempt.objects.filter(pk=attempt.pk, status=old, **(where or {})).update(**changes)
    if moved != 1:
        raise StaleState(attempt.pk, status_now(attempt.pk))
    for name, value in changes.items():
        setattr(attempt, name, value)
    output = {"output": changes["output_sha256"]} if "output_sha256" in changes else {}
    record(
        attempt,
        event.value,
        actor=actor,
        before={"status": old.value},
        after={"status": new.value, **output, **(noted or {})},
        rows=rows,
    )
    queue.wake(new, attempt.pk)
    return attempt


def record(attempt: Attempt, action: str, *, actor, before, after, rows=()) -> None:
    """One audit event about an attempt, and about the kept rows that were made with it."""
    audit.append(
        actor=actor,
        action=action,
        dataset=attempt.dataset_id,
        object_kind="attempt",
        object_id=attempt.pk,
        before=before,
        after=after,
        rows=rows,
    )


def status_now(attempt_id: int) -> str | None:
    """The stored status, for telling the loser of a race."""
    return Attempt.objects.filter(pk=attempt_id).values_list("status", flat=True).first()


def get_attempt(attempt_id: int) -> Attempt:
    """The attempt with its scan and dataset, as stored now."""
    found = Attempt.objects.select_related("scan", "dataset").filter(pk=attempt_id).first()
    if found is None:
        raise StaleState(attempt_id, None)
    return found


def follow_up(attempt: Attempt, klass: str, *, actor) -> Attempt | None:
    """After a failure: attempt n+1 with a fitting plan, or 'needs a person' where there is none."""
    earlier = attempt.scan.attempts.exclude(status=Status.WITHDRAWN)
    tried = list(earlier.values_list("plan", flat=True))
    plan = plan_after(klass, tried)
    if plan is None or not attempt.scan.has_original or len(tried) >= attempt.dataset.max_attempts:
        advance(attempt, Event.EXHAUSTED, actor=actor, noted={"class": klass})
        return None
    return add_attempt(attempt, plan, actor=actor)


def add_attempt(attempt: Attempt, plan: str, *, actor) -> Attempt:
    """The next numbered attempt of the same scan, waiting to be defaced from the original."""
    highest = Attempt.objects.filter(scan_id=attempt.scan_id).aggregate(highest=Max("number"))["highest"]
    dataset: Dataset = attempt.dataset
    new = Attempt.objects.create(
        scan_id=attempt.scan_id,
        dataset=dataset,
        number=highest + 1,
        status=Status.TO_DEFACE,
        engine=dataset.engine,
        plan=plan,
    )
    born(new, actor=actor)
    return new


def born(attempt: Attempt, *, actor) -> None:
    """Audit a new attempt and wake its first job."""
    noted = {
        "status": attempt.status,
        "number": attempt.number,
        "engine": attempt.engine,
        "plan": attempt.plan,
    }
    if attempt.output_sha256:
        noted["output"] = attempt.output_sha256
    record(attempt, "attempt_added", actor=actor, before=None, after=noted)
    queue.wake(attempt.state, attempt.pk)


SAVED = "thresholds_saved"


def active_thresholds() -> ThresholdSet:
    """The cut-offs in force; a new database starts with version 1, strict and without evidence."""
    found = ThresholdSet.objects.filter(active=True).first()
    if found is not None:
        return found
    with transaction.atomic():
        first, created = ThresholdSet.objects.get_or_create(
            version=1,
            defaults={"policy": ThresholdPolicy().to_dict(), "note": "Start values", "active": True},
        )
        if created:
            audit_thresholds(first, SAVED, actor=None, before=None)
    return first


def audit_thresholds(threshold_set: ThresholdSet, action: str, *, actor, before) -> None:
    audit.append(
        actor=actor,
        action=action,
        dataset=None,
        object_kind="threshold_set",
        object_id=threshold_set.pk,
        before=before,
        after={"version": threshold_set.version, "policy": threshold_set.policy},
        rows=[threshold_set] if action == SAVED else (),
    )


def require_permission(actor, permission: str) -> None:
    if actor is not None and not actor.has_perm(permission):
        raise NotAllowed("Only an administrator may change cut-offs and models.")


AT_ONCE = 200
