"""A person's decision on an attempt: pass, one of three failures, or unsure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from inference.triage import CLASSES
from reviews.actions import clock
from reviews.actions.core import (
    FileChanged,
    NotLeased,
    Refused,
    StaleState,
    TooEarly,
    advance,
    follow_up,
    get_attempt,
    next_status,
    record,
    require_reviewer,
)
from reviews.actions.stored import Unread, read_output, require_output
from reviews.models import Attempt, KnownCase, Lease, Mode, Referral, TriageRecord, Verdict
from reviews.models.decisions import REASON_FLAGS
from reviews.states import JUDGEABLE, Event, Status

UNSURE = "unsure"
NOBODYS = 0  # what an unknown handle stands for
NONCE_LENGTH = 64
MAX_MS = 24 * 3600 * 1000
NOTE_LENGTH = 4000


@dataclass(frozen=True)
class Judgement:
    """What one person says about one attempt; `klass` is a class or 'unsure', times are claims in milliseconds."""

    attempt_id: int
    klass: str
    nonce: str
    mode: str = Mode.VERIFY
    exposure_ms: int = 0
    active_ms: int = 0
    reasons: Sequence[str] = ()
    note: str = ""

    def check(self) -> None:
        """Refuse what no page of this software sends."""
        if self.klass not in (*CLASSES, UNSURE):
            raise Refused(f"'{self.klass}' is not a class.")
        if self.mode not in (Mode.VERIFY, Mode.VISUAL):
            raise Refused(f"'{self.mode}' is not a way of judging.")
        if not 0 < len(self.nonce) <= NONCE_LENGTH:
            raise Refused("Each verdict needs a nonce of 1 to 64 characters.")
        if set(self.reasons) - set(REASON_FLAGS):
            raise Refused("Unknown reason.")
        if not (0 <= self.exposure_ms <= MAX_MS and 0 <= self.active_ms <= MAX_MS):
            raise Refused("A time is out of range.")
        if len(self.note) > NOTE_LENGTH:
            raise Refused(f"A note may have {NOTE_LENGTH} characters.")


@dataclass(frozen=True)
class Outcome:
    """What became of one judgement of a page; `code` is 'saved' or the refusal's code."""

    attempt_id: int
    nonce: str
    code: str
    message: str = ""
    verdict_id: int | None = None
    remaining_ms: int = 0


def record_verdict(*, actor, **judgement) -> Verdict:
    """Save one decision; the arguments are Judgement's. A replay of the same nonce returns the first row."""
    return judge(Judgement(**judgement), actor=actor)


def refer(*, actor, attempt_id: int, nonce: str, mode: str = Mode.VERIFY, **rest) -> Verdict:
    """'Unsure': the attempt goes to another reviewer."""
    return judge(Judgement(attempt_id=attempt_id, klass=UNSURE, nonce=nonce, mode=mode, **rest), actor=actor)


def accept_page(*, actor, items: Iterable[Judgement]) -> list[Outcome]:
    """Many judgements in one call; each is saved or refused by itself."""
    return [_outcome(item, actor=actor) for item in items]


def _outcome(item: Judgement, *, actor) -> Outcome:
    try:
        verdict = judge(item, actor=actor)
    except TooEarly as error:
        return Outcome(item.attempt_id, item.nonce, error.code, str(error), remaining_ms=error.remaining_ms)
    except Refused as error:
        return Outcome(item.attempt_id, item.nonce, error.code, str(error))
    return Outcome(item.attempt_id, item.nonce, "saved", verdict_id=verdict.pk)


def judge(judgement: Judgement, *, actor) -> Verdict:
    """One transaction: replay check, lease, file, time, compare-and-swap, verdict row, audit event.

    A file whose stamp has changed is read first, outside of it: that may take long.
    """
    judgement.check()
    try:
        return _saved(judgement, actor)
    except Unread as unread:
        read = read_output(unread.attempt)
    try:
        return _saved(judgement, actor, read)
    except Unread:
        raise FileChanged("its defaced file is being written to") from None


def _saved(judgement: Judgement, actor, read: str = "") -> Verdict:
    try:
        with transaction.atomic():
            return _replayed(judgement, actor) or _judge(judgement, actor, read)
    except IntegrityError:
        replay = _replayed(judgement, actor)
        if replay is None:
            raise
        return replay


def _replayed(judgement: Judgement, actor) -> Verdict | None:
    first = Verdict.objects.filter(user_id=actor.pk, nonce=judgement.nonce).first()
    if first is not None and first.attempt_id != judgement.attempt_id:
        raise Refused("This nonce already belongs to another verdict.")
    return first


def _judge(judgement: Judgement, actor, read: str) -> Verdict:
    if judgement.attempt_id == NOBODYS:
        raise NotLeased(NOBODYS)
    attempt = get_attempt(judgement.attempt_id)
    require_reviewer(actor, attempt.dataset_id)
    lease = _require_lease(attempt, judgement, actor)  # first: whoever holds none is told nothing of the scan
    if not lease.known:
        _require_open(attempt, judgement)
    if judgement.klass == "pass":
        require_output(attempt, read)
    times = _times(attempt, judgement, lease, actor)
    truth = _truth(attempt) if lease.known else ""
    verdict = _row(attempt, judgement, actor, times, known=lease.known, truth=truth)
    if lease.known:
        noted = {"class": judgement.klass, "truth": truth or None, "verdict": verdict.pk}
        record(attempt, "known_case_judged", actor=actor, before=None, after=noted, rows=[verdict])
    elif judgement.klass == UNSURE:
        _doubt(attempt, verdict, actor)
    else:
        _decide(attempt, judgement, verdict, actor)
    Lease.objects.filter(attempt=attempt).delete()
    return verdict


def _truth(attempt: Attempt) -> str:
    """The class of a known case; '' when it was dropped after it had been given."""
    item = KnownCase.objects.filter(attempt=attempt, practice=False).first()
    return item.truth if item else ""


def _require_open(attempt: Attempt, judgement: Judgement) -> None:
    wanted = {Status.VERIFY} if judgement.mode == Mode.VERIFY else JUDGEABLE
    if attempt.state not in wanted:
        raise StaleState(attempt.pk, attempt.status)
    next_status(attempt, _event(judgement.klass))


def _require_lease(attempt: Attempt, judgement: Judgement, actor) -> Lease:
    """An expired lease still counts while nobody else has taken the attempt; it is for one way of judging."""
    lease = Lease.objects.filter(attempt=attempt, user_id=actor.pk, mode=judgement.mode).first()
    if lease is None:
        raise NotLeased(attempt.pk)
    return lease


def _times(attempt: Attempt, judgement: Judgement, lease: Lease, actor) -> clock.Counted:
    """What counts of the times that were claimed; a pass needs the minimum."""
    return clock.spend(
        actor=actor,
        since=lease.granted_at,
        exposure_ms=judgement.exposure_ms,
        active_ms=judgement.active_ms,
        minimum_ms=_minimum(attempt, judgement),
    )


def _minimum(attempt: Attempt, judgement: Judgement) -> int:
    """A pass in verification, and of what waits for verification however it is looked at, asks for the minimum."""
    verifying = judgement.mode == Mode.VERIFY or attempt.state is Status.VERIFY
    return attempt.dataset.min_exposure_ms if verifying and judgement.klass == "pass" else 0


def _event(klass: str) -> Event:
    if klass == UNSURE:
        return Event.DOUBTED
    return Event.JUDGED_PASS if klass == "pass" else Event.JUDGED_FAIL


def _row(
    attempt: Attempt, judgement: Judgement, actor, times: clock.Counted, *, known: bool, truth: str
) -> Verdict:
    triage = TriageRecord.objects.filter(attempt=attempt).select_related("prediction").first()
    unsure = judgement.klass == UNSURE
    return Verdict.objects.create(
        attempt=attempt,
        user=actor,
        kind=Verdict.Kind.DOUBT if unsure else Verdict.Kind.DECISION,
        klass="" if unsure else judgement.klass,
        reasons=list(judgement.reasons),
        note=judgement.note,
        mode=judgement.mode,
        on_known_case=known,
        correct=None if unsure or not truth else judgement.klass == truth,
        status_before=attempt.status,
        active_ms=times.active_ms,
        exposure_ms=times.exposure_ms,
        nonce=judgement.nonce,
        threshold_set_id=triage.threshold_set_id if triage else None,
        model_version_id=triage.prediction.model_version_id if triage and triage.prediction else None,
    )


def _decide(attempt: Attempt, judgement: Judgement, verdict: Verdict, actor) -> None:
    noted = {
        "class": judgement.klass,
        "mode": judgement.mode,
        "verdict": verdict.pk,
        "threshold_set": verdict.threshold_set_id,
        "model_version": verdict.model_version_id,
    }
    advance(attempt, _event(judgement.klass), actor=actor, noted=noted, rows=[verdict])
    if judgement.klass != "pass":
        follow_up(attempt, judgement.klass, actor=actor)


def _doubt(attempt: Attempt, verdict: Verdict, actor) -> None:
    advance(attempt, Event.DOUBTED, actor=actor, noted={"verdict": verdict.pk}, rows=[verdict])
    Referral.objects.get_or_create(attempt=attempt, user=actor, defaults={"verdict": verdict})
