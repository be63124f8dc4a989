"""A frozen test set: cases that models are tested on, fixed on one day and never trained on."""

import hashlib
from collections.abc import Sequence

from django.db import transaction

from reviews import audit
from reviews.actions.core import Refused, require_role
from reviews.labels import ears_counted, judged, part_of, rank_of, subject_of
from reviews.models import Attempt, Dataset, FrozenCase, FrozenSet, KnownCase, Role, Verdict

LEAST_CASES = 10


@transaction.atomic
def freeze_testset(
    *, actor, dataset: Dataset, share: float = 0.2, single_readings: bool = False
) -> FrozenSet:
    """Freeze the adjudicated cases of a share of the judged subjects, out of those that are held back.

    Adjudicated is what more than one person has read, or a known case whose class a manager declared;
    `single_readings` takes what one person has read too. Refuses where too few cases are found.
    """
    require_role(actor, dataset.pk, [Role.ADMIN])
    if not 0 < share <= 0.2:
        raise Refused(
            "A share above 0 and up to 0.2 is needed: a fifth of the subjects is held back for tests."
        )
    known = _known(dataset)
    chosen = _subjects(known, share)
    fresh = [
        case for case in known if subject_of(case.attempt) in chosen and (case.adjudicated or single_readings)
    ]
    if len(fresh) < LEAST_CASES:
        raise Refused(_too_few(known, chosen, len(fresh)))
    return _frozen(actor, dataset, share, fresh)


def _known(dataset: Dataset) -> list[FrozenCase]:
    """Every case with a class under today's standard that is not yet frozen."""
    counted = ears_counted(dataset)

    def of_today(made: Verdict | KnownCase) -> bool:
        return counted(made.created_at) == dataset.ears_required

    cases = [
        FrozenCase(attempt=attempt, truth=found.klass, adjudicated=found.adjudicated)
        for attempt, found in judged([dataset], of_today)
    ]
    items = KnownCase.objects.filter(attempt__dataset=dataset).exclude(attempt__views_dir="")
    for item in items.select_related("attempt__scan", "attempt__dataset").order_by("attempt_id"):
        if of_today(item):
            cases.append(FrozenCase(attempt=item.attempt, truth=item.truth, adjudicated=True))
    taken = set(FrozenCase.objects.filter(attempt__dataset=dataset).values_list("attempt_id", flat=True))
    return [case for case in cases if case.attempt_id not in taken]


def _subjects(known: Sequence[FrozenCase], share: float) -> set[str]:
    """So many of the subjects, by rank, and of the held-back part alone."""
    subjects = {subject_of(case.attempt) for case in known}
    held_back = sorted((name for name in subjects if part_of(name) == "test"), key=rank_of)
    return set(held_back[: max(1, round(share * len(subjects)))])


def _too_few(known: Sequence[FrozenCase], chosen: set[str], found: int) -> str:
    single = sum(subject_of(case.attempt) in chosen and not case.adjudicated for case in known)
    return (
        f"{found} adjudicated cases of {len(chosen)} held-back subjects were found, at least {LEAST_CASES} are "
        f"needed; {single} more were read by one person only."
    )


def _frozen(actor, dataset: Dataset, share: float, cases: list[FrozenCase]) -> FrozenSet:
    for case in cases:
        attempt: Attempt = case.attempt
        case.output_sha256 = attempt.output_sha256
    lines = sorted(f"{case.attempt_id} {case.output_sha256} {case.truth}" for case in cases)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    made = FrozenSet.objects.create(
        dataset=dataset,
        share=share,
        ears_required=dataset.ears_required,
        digest=digest,
        created_by=actor,
    )
    for case in cases:
        case.frozen_set = made
    FrozenCase.objects.bulk_create(cases)
    audit.append(
        actor=actor,
        action="testset_frozen",
        dataset=dataset.pk,
        object_kind="frozen_set",
        object_id=made.pk,
        before=None,
        after={
            "cases": len(cases),
            "adjudicated": sum(case.adjudicated for case in cases),
            "subjects": len({subject_of(case.attempt) for case in cases}),
            "share": share,
            "digest": digest,
        },
        rows=[made, *cases],
    )
    return made
