"""Known cases: hidden in the verification queue to measure the catch rate, or shown in practice."""

from collections.abc import Collection

from django.db import transaction
from django.db.models import Max, Q

from inference.triage import CLASSES
from reviews.actions import clock
from reviews.actions.core import Refused, get_attempt, record, require_manager, require_reviewer
from reviews.models import Attempt, Dataset, Given, KnownCase, Mode, Verdict
from reviews.models.decisions import random_handle
from reviews.states import WORKING, Status

UNFIT = WORKING | {Status.ERROR, Status.VERIFY, Status.REFER}


@transaction.atomic
def declare_known_case(
    *, actor, attempt_id: int, truth: str, practice: bool = False, explanation: str = ""
) -> KnownCase:
    """Declare the true class of a decided attempt; it then serves as hidden check or as practice."""
    attempt = get_attempt(attempt_id)
    require_manager(actor, attempt.dataset_id)
    if truth not in CLASSES:
        raise Refused(f"'{truth}' is not a class.")
    if not practice and attempt.state in UNFIT:
        raise Refused("Only an attempt that is decided can serve as a known case.")
    item, _ = KnownCase.objects.update_or_create(
        attempt=attempt, defaults={"truth": truth, "practice": practice, "explanation": explanation}
    )
    noted = {"truth": truth, "practice": practice}
    record(attempt, "known_case_declared", actor=actor, before=None, after=noted)
    return item


@transaction.atomic
def drop_known_case(*, actor, attempt_id: int) -> None:
    """The attempt no longer serves as a known case."""
    attempt = get_attempt(attempt_id)
    require_manager(actor, attempt.dataset_id)
    if KnownCase.objects.filter(attempt=attempt).delete()[0]:
        record(attempt, "known_case_dropped", actor=actor, before=None, after=None)


@transaction.atomic
def practice_batch(*, actor, dataset: Dataset, count: int, exclude: Collection[int] = ()) -> list[Attempt]:
    """Practice cases with pictures, those this person has not or least recently practised first; each is given a handle."""
    require_reviewer(actor, dataset.pk)
    clock.hand_out_practice(actor=actor)
    mine = Q(verdicts__user_id=actor.pk, verdicts__mode=Mode.PRACTICE)
    cases = Attempt.objects.filter(dataset=dataset, known_case__practice=True).exclude(views_dir="")
    ordered = cases.annotate(practised=Max("verdicts__pk", filter=mine)).select_related("scan", "known_case")
    found = sorted(ordered, key=lambda attempt: (attempt.practised or 0, attempt.pk * 7919 % 1009))[:count]
    found = [attempt for attempt in found if attempt.pk not in set(exclude)]
    for attempt in found:
        attempt.given = random_handle()
    Given.objects.bulk_create(
        [Given(handle=attempt.given, attempt=attempt, user=actor, mode=Mode.PRACTICE) for attempt in found]
    )
    return found


@transaction.atomic
def record_practice(*, actor, attempt_id: int, klass: str, nonce: str, active_ms: int = 0) -> Verdict:
    """An answer in practice: kept with whether it was right, changes no scan."""
    replay = Verdict.objects.filter(user_id=actor.pk, nonce=nonce).first()
    if replay is not None and replay.attempt_id != attempt_id:
        raise Refused("This nonce already belongs to another verdict.")
    if replay is not None:
        return replay
    attempt = get_attempt(attempt_id)
    require_reviewer(actor, attempt.dataset_id)
    item = KnownCase.objects.filter(attempt=attempt, practice=True).first()
    if item is None:
        raise Refused("This scan is not a practice case.")
    if klass not in CLASSES:
        raise Refused(f"'{klass}' is not a class.")
    verdict = Verdict.objects.create(
        attempt=attempt,
        user=actor,
        klass=klass,
        mode=Mode.PRACTICE,
        on_known_case=True,
        correct=klass == item.truth,
        status_before=attempt.status,
        active_ms=clock.spend_practising(actor=actor, active_ms=active_ms),
        nonce=nonce,
    )
    noted = {"class": klass, "truth": item.truth, "verdict": verdict.pk}
    record(attempt, "practised", actor=actor, before=None, after=noted, rows=[verdict])
    return verdict
