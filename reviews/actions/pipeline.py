"""What background jobs do to an attempt, and what a manager does when one broke."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from inference.problems import Problem
from reviews import queue
from reviews.actions.core import (
    Refused,
    StaleState,
    add_attempt,
    advance,
    get_attempt,
    record,
    require_manager,
    status_now,
)
from reviews.escalation import STANDARD
from reviews.models import Attempt, AuditEvent
from reviews.models.ahead import silent
from reviews.states import RETRY_EVENT, WORKING, Event, Status

CLAIM_TIMEOUT = timedelta(minutes=2)
CLAIMS_LOST = 3  # then it is the attempt that ends its workers
KILLED = f"its job ended {CLAIMS_LOST} times without a word: it was killed, perhaps because memory ran out"
ERROR_TEXT_LENGTH = 2000


def claim(attempt_id: int, status: Status, *, worker: str) -> Attempt | None:
    """Take the attempt for one worker; None when it is not there to be taken. Silent workers lose theirs."""
    free = Q(claimed_at__isnull=True) | silent("claimed_at", timezone.now() - CLAIM_TIMEOUT)
    rows = Attempt.objects.filter(free, pk=attempt_id, status=status)
    if rows.update(claimed_by=worker, claimed_at=timezone.now()) != 1:
        return None
    return get_attempt(attempt_id)


def heartbeat(attempt_id: int, *, worker: str) -> bool:
    """Say that the worker is alive; False when the attempt is no longer its own."""
    return Attempt.objects.filter(pk=attempt_id, claimed_by=worker).update(claimed_at=timezone.now()) == 1


def require_claim(attempt: Attempt) -> None:
    """Refuse a worker that was given up, before it puts anything in its place."""
    mine = Attempt.objects.filter(pk=attempt.pk, status=attempt.status, claimed_by=attempt.claimed_by)
    if not mine.exists():
        raise StaleState(attempt.pk, status_now(attempt.pk))


@transaction.atomic
def finish_deface(
    *,
    actor,
    attempt: Attempt,
    engine_version: str,
    parameters: dict,
    output_path: str,
    output_sha256: str,
    output_root: str = "",
    output_stamp: str = "",
) -> Attempt:
    """The engine wrote its output; `output_root` is the folder it must stay below, empty for the data folder."""
    noted = {
        "engine": attempt.engine,
        "version": engine_version,
        "plan": attempt.plan,
    }
    return advance(
        attempt,
        Event.DEFACED,
        actor=actor,
        where={"claimed_by": attempt.claimed_by},
        noted=noted,
        engine_version=engine_version,
        parameters=parameters,
        output_path=output_path,
        output_root=output_root,
        output_sha256=output_sha256,
        output_stamp=output_stamp,
    )


@transaction.atomic
def finish_render(
    *,
    actor,
    attempt: Attempt,
    views_dir: str,
    view_names: list[str],
    render_version: str,
    measurements: dict,
    problems: list[Problem],
) -> Attempt:
    """The pictures and measurements are made."""
    return advance(
        attempt,
        Event.RENDERED,
        actor=actor,
        where={"claimed_by": attempt.claimed_by},
        noted={"render_version": render_version, "problems": len(problems)},
        views_dir=views_dir,
        view_names=view_names,
        render_version=render_version,
        measurements=measurements,
        problems=problems,
    )


@transaction.atomic
def report_error(*, actor, attempt: Attempt, code: str, text: str) -> Attempt:
    """A job gave up: the attempt is in ERROR, visible, with the reason, and can be retried."""
    return advance(
        attempt,
        Event.BROKE,
        actor=actor,
        where={"claimed_by": attempt.claimed_by},
        noted={"code": code},
        error_from=attempt.status,
        error_code=code,
        error_text=text[:ERROR_TEXT_LENGTH],
    )


@transaction.atomic
def retry(*, actor, attempt_id: int) -> Attempt:
    """Try again where it broke; a file that could not be read at intake can only be taken in again."""
    attempt = get_attempt(attempt_id)
    require_manager(actor, attempt.dataset_id)
    if attempt.state is not Status.ERROR:
        raise StaleState(attempt.pk, attempt.status)
    if not attempt.scan.shape:
        raise Refused("The file could not be read. Repair it and take it in again with ingest.")
    event = RETRY_EVENT[Status(attempt.error_from)]
    noted = {"code": attempt.error_code}
    return advance(attempt, event, actor=actor, noted=noted, error_code="", error_text="", error_from="")


@transaction.atomic
def order_redeface(*, actor, attempt_id: int, plan: str = STANDARD) -> Attempt:
    """A manager orders attempt n+1 where the plans were exhausted."""
    attempt = get_attempt(attempt_id)
    require_manager(actor, attempt.dataset_id)
    if not attempt.scan.has_original:
        raise Refused("No original is known for this scan, so it cannot be defaced again.")
    advance(attempt, Event.REDEFACE_ORDERED, actor=actor, noted={"plan": plan})
    return add_attempt(attempt, plan, actor=actor)


@transaction.atomic
def withdraw(*, actor, attempt_id: int) -> Attempt:
    """A manager sets aside an attempt that cannot be helped; the failure that it was to mend needs a person."""
    attempt = get_attempt(attempt_id)
    require_manager(actor, attempt.dataset_id)
    given_up = attempt.state is Status.NEEDS_PERSON  # the person asked gives the whole scan up
    advance(attempt, Event.WITHDRAWN, actor=actor)
    last = attempt.scan.attempts.exclude(status=Status.WITHDRAWN).order_by("-number").first()
    if last is not None and last.state is Status.FAILED and not given_up:
        advance(last, Event.EXHAUSTED, actor=actor, noted={"withdrawn": attempt.pk})
    return attempt


def requeue_stalled(
    *, actor=None, older_than: timedelta = CLAIM_TIMEOUT, restarted: bool = False
) -> dict[str, int]:
    """Free the claims of silent workers and wake what waits without a job; returns how many by status.

    restarted: the workers went with the whole site, which says nothing against what they were at.
    """
    found: dict[str, int] = dict.fromkeys((status.value for status in WORKING), 0)
    queued, stalled = queue.queued(), Attempt.objects.stalled(timezone.now() - older_than)
    waiting = stalled.order_by("pk").values_list("pk", "status", "claimed_by")
    for pk, status, worker in waiting.iterator():
        lost = queue.id_of(queue.JOB_OF[Status(status)], pk) not in queued
        if not worker and not lost:
            continue
        attempt = stalled.filter(pk=pk, status=status).first()
        if attempt is not None:
            found[status] += _find_again(attempt, actor=actor, wake=lost, restarted=restarted)
    return found


@transaction.atomic
def _find_again(attempt: Attempt, *, actor, wake: bool, restarted: bool = False) -> bool:
    """Free the claim on an attempt and wake its job; False when its worker was faster, or it is given up."""
    rows = Attempt.objects.filter(
        pk=attempt.pk,
        status=attempt.status,
        claimed_by=attempt.claimed_by,
        claimed_at=attempt.claimed_at,
    )
    if rows.update(claimed_by="", claimed_at=_apart(attempt), updated_at=timezone.now()) != 1:
        return False
    if attempt.claimed_by and not _freed(attempt, actor, restarted):
        return False
    if wake:
        queue.wake(attempt.state, attempt.pk)
    return True


def _apart(attempt: Attempt) -> datetime | None:
    """A claim that has run out, for what a batch was lost with: its own job may take it, no other batch does."""
    if not attempt.claimed_by:
        return attempt.claimed_at
    return timezone.now() - CLAIM_TIMEOUT if attempt.state is Status.TO_CLASSIFY else None


def give_up_claims(host: str, pids: Collection[int]) -> int:
    """Free what processes of a machine held that were stopped or are gone; the upkeep wakes it."""
    found = 0
    for attempt in Attempt.objects.working().filter(claimed_by__startswith=f"{host}:"):
        if attempt.claimed_by.split(":")[1] in map(str, pids):
            found += _find_again(attempt, actor=None, wake=False, restarted=True)
    return found


def claiming_processes(host: str) -> set[int]:
    """The processes of a machine that hold claims."""
    names = Attempt.objects.working().filter(claimed_by__startswith=f"{host}:")
    pids = (name.split(":")[1] for name in names.values_list("claimed_by", flat=True))
    return {int(pid) for pid in pids if pid.isdecimal()}


def _freed(attempt: Attempt, actor, restarted: bool) -> bool:
    """Note that a claim was freed; False when its jobs were killed too often, and the attempt is in ERROR now."""
    if restarted:
        record(attempt, "claim_given_up", actor=actor, before=None, after={"status": attempt.status})
        return True
    events = AuditEvent.objects.filter(object_kind="attempt", object_id=attempt.pk)
    events = events.exclude(action="claim_given_up").order_by("-seq")
    latest = list(events.values_list("action", flat=True)[: CLAIMS_LOST - 1])
    if latest == ["claim_freed"] * (CLAIMS_LOST - 1):
        attempt.claimed_by = ""
        report_error(actor=actor, attempt=attempt, code="killed", text=f"{attempt.scan.name}: {KILLED}")
        return False
    record(attempt, "claim_freed", actor=actor, before=None, after={"status": attempt.status})
    return True
