"""Files handed in over the API: noted at once, read by a job, their outcome kept."""

from datetime import timedelta
from pathlib import Path

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from reviews import audit, queue
from reviews.actions.core import require_role
from reviews.models import Dataset, Intake, Scan
from reviews.models.ahead import silent
from reviews.models.people import FEEDING

TAKE_TIMEOUT = timedelta(seconds=queue.JOB_SECONDS)
MOST_TRIES = 5
KILLED = f"reading it was given up after {MOST_TRIES} tries, perhaps because memory ran out"
State = Intake.State


def hand_in(
    *, actor, dataset: Dataset, path: Path, original: Path | None, defaced: bool, sha256: str = ""
) -> tuple[Intake, bool]:
    """Note a file that is to be read; the same bytes, or the same path that still waits, are one. Says whether new."""
    require_role(actor, dataset.pk, FEEDING)
    same = Intake.objects.filter(dataset=dataset, defaced=defaced, sha256=sha256)
    if sha256:
        same = same.exclude(state=State.REFUSED)
    else:
        same = same.filter(state=State.WAITING, path=str(path), original_path=str(original or ""))
    if (known := same.first()) is not None:
        return known, False
    try:
        with transaction.atomic():
            return _note(actor, dataset, path, original, defaced, sha256), True
    except IntegrityError:
        return same.get(), False  # handed in twice at the same moment


def _note(actor, dataset, path, original, defaced, sha256) -> Intake:
    made = Intake.objects.create(
        dataset=dataset,
        user=actor,
        path=str(path),
        original_path=str(original or ""),
        defaced=defaced,
        sha256=sha256,
    )
    _audit(made, "handed_in", actor, {"sha256": sha256})
    transaction.on_commit(lambda: queue.enqueue(queue.TAKE_IN, made.pk))
    return made


def claim_intake(intake_id: int) -> Intake | None:
    """Take it for one job; None when it is not there to be taken. What ended too many jobs is refused."""
    free = Q(claimed_at__isnull=True) | silent("claimed_at", timezone.now() - TAKE_TIMEOUT)
    rows = Intake.objects.filter(free, pk=intake_id, state=State.WAITING)
    if rows.update(claimed_at=timezone.now(), tries=F("tries") + 1) != 1:
        return None
    found = Intake.objects.select_related("dataset", "user").get(pk=intake_id)
    if found.tries > MOST_TRIES:
        settle_intake(found, outcome="failed", reason=KILLED)
        return None
    return found


@transaction.atomic
def settle_intake(intake: Intake, *, outcome: str, reason: str = "", scan: Scan | None = None) -> bool:
    """What became of it; False when another job was faster."""
    states = {"failed": State.REFUSED, "known": State.KNOWN}
    rows = Intake.objects.filter(pk=intake.pk, state=State.WAITING, claimed_at=intake.claimed_at)
    state = states.get(outcome, State.TAKEN)
    if rows.update(state=state, outcome=outcome, reason=reason[:2000], scan=scan, claimed_at=None) != 1:
        return False
    noted = {"outcome": outcome, "sha256": intake.sha256, "scan": scan and scan.pk}
    _audit(intake, "intake_settled", None, noted)
    return True


def requeue_intakes(*, older_than: timedelta) -> int:
    """Wake what waits to be read and has lost its job; returns how many."""
    before = timezone.now() - older_than
    waiting = Intake.objects.filter(silent("created_at", before), state=State.WAITING)
    waiting = waiting.filter(Q(claimed_at__isnull=True) | silent("claimed_at", timezone.now() - TAKE_TIMEOUT))
    queued = queue.queued() if waiting.exists() else set()
    lost = [pk for pk in waiting.values_list("pk", flat=True) if queue.id_of(queue.TAKE_IN, pk) not in queued]
    return sum(queue.enqueue(queue.TAKE_IN, pk) for pk in lost)


def _audit(intake: Intake, action: str, actor, after: dict) -> None:
    audit.append(
        actor=actor,
        action=action,
        dataset=intake.dataset_id,
        object_kind="intake",
        object_id=intake.pk,
        before=None,
        after=after,
    )
