"""Taking back one's own verdict while nothing irreversible followed; the history keeps both rows."""

from django.db import transaction

from reviews.actions.core import Refused, StaleState, advance, get_attempt, record, require_reviewer
from reviews.actions.known_queue import Place
from reviews.actions.leases import acquire
from reviews.models import Attempt, Referral, Verdict
from reviews.models.scans import UNDO_HOURS, undoable_since
from reviews.states import UNDO_EVENT, Event, Status


def undo_verdict(*, actor, verdict_id: int, nonce: str) -> Verdict:
    """Take back a verdict: the attempt returns to where it was, its unstarted follow-up is withdrawn.

    Refuses with the reason when it is too old, the follow-up has started, somebody decided since or holds the attempt
    now. The attempt is reserved for the person again; the time it took stays spent. A replay of the same nonce
    returns the first retraction.
    """
    with transaction.atomic():
        replay = Verdict.objects.filter(user_id=actor.pk, nonce=nonce).first()
        if replay is not None:
            return replay
        verdict = (
            Verdict.objects.select_for_update(of=("self",)).filter(pk=verdict_id, user_id=actor.pk).first()
        )
        if verdict is None:
            raise Refused("This is not a verdict of yours.")
        attempt = get_attempt(verdict.attempt_id)
        require_reviewer(actor, attempt.dataset_id)
        _require_last_word(verdict, attempt)
        row = _retraction(verdict, actor, nonce)
        if verdict.on_known_case:
            noted = {"verdict": verdict.pk}
            record(attempt, "known_case_undone", actor=actor, before=None, after=noted, rows=[row])
        else:
            _bring_back(attempt, verdict, row, actor=actor)
        if not acquire(actor, attempt.dataset, verdict.mode, [Place(attempt, known=verdict.on_known_case)]):
            raise Refused("Somebody else is judging this scan now.")
        return row


def undoable(*, actor, dataset=None, limit: int = 20) -> list[Verdict]:
    """The person's latest standing verdicts that are young enough, newest first; they survive a reload."""
    mine = Verdict.objects.standing().filter(user_id=actor.pk, created_at__gte=undoable_since())
    mine = mine.exclude(mode="practice")
    if dataset is not None:
        mine = mine.filter(attempt__dataset=dataset)
    return list(mine.select_related("attempt__scan").order_by("-pk")[:limit])


def _require_last_word(verdict: Verdict, attempt: Attempt) -> None:
    if verdict.kind == Verdict.Kind.RETRACTION or verdict.mode == "practice":
        raise Refused("Only a decision can be taken back.")
    if Verdict.objects.filter(retracts=verdict).exists():
        raise Refused("This verdict was already taken back.")
    if verdict.created_at < undoable_since():
        raise Refused(f"A verdict can be taken back for {UNDO_HOURS} hours; this one is older.")
    if verdict.on_known_case:
        return
    later = attempt.verdicts.standing().filter(on_known_case=False, pk__gt=verdict.pk)
    if later.exists():
        raise Refused("Somebody has judged this scan since.")


def _retraction(verdict: Verdict, actor, nonce: str) -> Verdict:
    return Verdict.objects.create(
        attempt_id=verdict.attempt_id,
        user=actor,
        kind=Verdict.Kind.RETRACTION,
        retracts=verdict,
        mode=verdict.mode,
        on_known_case=verdict.on_known_case,
        status_before=Attempt.objects.values_list("status", flat=True).get(pk=verdict.attempt_id),
        nonce=nonce,
    )


def _bring_back(attempt: Attempt, verdict: Verdict, row: Verdict, *, actor) -> None:
    if attempt.status not in _left_by(verdict):
        raise StaleState(attempt.pk, attempt.status)
    for later in attempt.scan.attempts.filter(number__gt=attempt.number).exclude(status=Status.WITHDRAWN):
        _withdraw_follow_up(later, actor=actor)
    Referral.objects.filter(verdict=verdict).delete()
    back, noted = UNDO_EVENT[Status(verdict.status_before)], {"undone": verdict.pk}
    advance(attempt, back, actor=actor, noted=noted, rows=[row])


def _left_by(verdict: Verdict) -> set[str]:
    """The statuses the verdict can have left the attempt in."""
    if verdict.kind == Verdict.Kind.DOUBT:
        return {Status.REFER}
    return {Status.PASSED} if verdict.klass == "pass" else {Status.FAILED, Status.NEEDS_PERSON}


def _withdraw_follow_up(later: Attempt, *, actor) -> None:
    if later.status == Status.TO_DEFACE and later.claimed_at is None:
        try:
            advance(later, Event.WITHDRAWN, actor=actor, where={"claimed_at__isnull": True})
            return
        except StaleState:
            pass
    raise Refused(f"Attempt {later.number} of this scan has already been started; judge that one instead.")
