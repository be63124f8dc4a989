"""What the model said routes an attempt by the cut-offs; new cut-offs or standards route anew what is undecided."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from inference.classes import EAR_REGIONS, class_of, still_there
from inference.problems import Problem, code_of
from inference.triage import (
    CLASSES,
    FAILURES,
    NOTHING_KNOWN,
    Context,
    Route,
    ThresholdPolicy,
    Triage,
    sound,
    triage,
    with_ears,
)
from reviews import audit
from reviews.actions.core import StaleState, active_thresholds, advance, follow_up, record
from reviews.models import Attempt, Lease, ModelVersion, Prediction, Referral, ThresholdSet, TriageRecord
from reviews.models.ahead import lease_runs
from reviews.states import UNDECIDED, Event, Status
from reviews.wording import problems_words

EVENT_OF = {
    Route.VERIFY: Event.TRIAGED_VERIFY,
    Route.REFER: Event.TRIAGED_REFER,
    Route.FAIL: Event.TRIAGED_FAIL,
}
STATUS_OF = {Route.VERIFY: Status.VERIFY, Route.REFER: Status.REFER}
SALIENCY = "saliency_"
CHUNK = 50


@dataclass(frozen=True)
class Finding:
    """What the model said about one attempt; `probabilities` None when it could say nothing.

    `with_ears` are the class probabilities under the standard that asks for ears too, where the model has them.
    """

    probabilities: Mapping[str, float] | None
    with_ears: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, float] = field(default_factory=dict)
    remains: Mapping[str, float] = field(default_factory=dict)
    in_distribution: bool = False
    render_version: str = ""


@transaction.atomic
def record_prediction(
    *, actor, attempt: Attempt, model: ModelVersion, finding: Finding, saliency: Sequence[str] = ()
) -> Attempt:
    """Save what the model said and route the attempt by the active cut-offs; `saliency` names its pictures."""
    attempt.dataset.refresh_from_db(fields=["ears_required"])  # the standard may have changed since the claim
    count_ears(attempt)
    prediction = _save_prediction(attempt, model, finding)
    where = {"claimed_by": attempt.claimed_by}
    attempt.view_names = [name for name in attempt.view_names if not name.startswith(SALIENCY)] + [*saliency]
    return route(attempt, prediction, active_thresholds(), actor=actor, where=where, made=[prediction])


@transaction.atomic
def record_no_prediction(*, actor, attempt: Attempt) -> Attempt:
    """The model could not be used: a person has to look."""
    cutoffs = active_thresholds()
    decision = triage(None, cutoffs.cutoffs, NOTHING_KNOWN)
    kept = _keep(attempt, None, cutoffs, decision)
    changes = {"route": decision.route.value, "route_reason": decision.reason.value, "confidence": 0.0}
    noted = {"threshold_set": cutoffs.version, "reason": decision.reason.value}
    where = {"claimed_by": attempt.claimed_by}
    return advance(
        attempt, Event.TRIAGED_REFER, actor=actor, where=where, noted=noted, rows=[kept], **changes
    )


@transaction.atomic
def record_shadow(*, actor, attempt: Attempt, model: ModelVersion, finding: Finding) -> Prediction:
    """Save what a model in the shadow said; it routes nothing."""
    said = _save_prediction(attempt, model, finding, shadow=True)
    record(attempt, "shadow_predicted", actor=actor, before=None, after={"model": model.version}, rows=[said])
    return said


def route(
    attempt: Attempt, prediction: Prediction, cutoffs: ThresholdSet, *, actor, where=None, made=()
) -> Attempt:
    """Triage one attempt inside the caller's transaction; a confident failure gets its next attempt.

    `made` are the kept rows that were made just before it.
    """
    decision = decide(attempt, prediction, cutoffs.cutoffs)
    rows = [*made, _keep(attempt, prediction, cutoffs, decision)]
    noted = {"prediction": prediction.pk, "threshold_set": cutoffs.version, "reason": decision.reason.value}
    changes = {
        "route": decision.route.value,
        "route_reason": decision.reason.value,
        "confidence": confidence_of(attempt, prediction),
        "triaged_under": cutoffs,
        "view_names": attempt.view_names,
        "measurements": attempt.measurements,
        "problems": attempt.problems,
    }
    advance(attempt, EVENT_OF[decision.route], actor=actor, where=where, noted=noted, rows=rows, **changes)
    standard = probabilities_of(prediction, attempt.dataset.ears_required)
    if decision.route is Route.FAIL and standard:
        follow_up(attempt, max(FAILURES, key=standard.__getitem__), actor=actor)
    return attempt


def count_ears(attempt: Attempt) -> None:
    """What was measured against the original, told again under the dataset's standard of today; not saved."""
    measured, ears = attempt.measurements, attempt.dataset.ears_required
    kept = measured.get("kept", {})
    of_ears = still_there(kept, EAR_REGIONS)
    attempt.problems = [found for found in attempt.problems if not _of_ears(found, of_ears)]
    attempt.problems += of_ears if ears else []
    if measured.get("brain_removed_ml") is not None:
        klass = class_of(measured["brain_removed_ml"], kept, ears=ears)
        attempt.measurements = measured | {"class": klass}


def _of_ears(found: Problem | str, of_ears: list[Problem]) -> bool:
    """Whether a stored problem is an ear that is left; one from before there were codes is known by its sentence."""
    if isinstance(found, str):
        return found in problems_words(of_ears)
    return code_of(found) == "region_left" and found.get("region") in EAR_REGIONS


def confidence_of(attempt: Attempt, prediction: Prediction) -> float:
    """p(pass) under the dataset's standard; 0 where it is not known."""
    standard = probabilities_of(prediction, attempt.dataset.ears_required)
    return standard["pass"] if standard and sound(standard) else 0.0


def decide(attempt: Attempt, prediction: Prediction, policy: ThresholdPolicy) -> Triage:
    """The pure triage of a stored prediction."""
    return triage(
        probabilities_of(prediction, attempt.dataset.ears_required), policy, context_of(attempt, prediction)
    )


def context_of(attempt: Attempt, prediction: Prediction) -> Context:
    """What triage must know beside the probabilities."""
    return Context(
        in_distribution=prediction.in_distribution,
        class_order=tuple(prediction.model_version.class_order),
        model_render_version=prediction.model_version.render_version,
        attempt_render_version=prediction.render_version,
        problems=tuple(attempt.problems),
    )


def probabilities_of(prediction: Prediction, ears_required: bool) -> Mapping[str, float] | None:
    """The four classes under the dataset's standard; None where they are not known."""
    if not ears_required:
        return prediction.probabilities
    return under_standard(prediction.probabilities, prediction.with_ears, prediction.attributes)


def under_standard(
    probabilities: Mapping[str, float] | None, stored: Mapping[str, float], attributes: Mapping[str, float]
) -> Mapping[str, float] | None:
    """The four classes where ears count too: as the model gave them, or reckoned from its word on the ears."""
    if probabilities is None:
        return None
    if stored:
        return stored
    ears = attributes.get("ears")
    return None if ears is None else with_ears(probabilities, ears)


def retriageable():
    """Undecided attempts that nobody looks at now and that no person has doubted."""
    held = Lease.objects.filter(lease_runs(), attempt=OuterRef("pk"))
    doubted = Referral.objects.filter(attempt=OuterRef("pk"))
    undecided = Attempt.objects.filter(status__in=[status.value for status in UNDECIDED])
    return undecided.filter(~Exists(held), ~Exists(doubted)).select_related("scan", "dataset")


def retriage(*, actor=None) -> dict[str, int]:
    """Route undecided attempts under the active cut-offs and today's standard; repeatable, resumes after an interruption.

    In short transactions: reviewers go on judging meanwhile.
    """
    cutoffs = active_thresholds()
    counts = {"verify": 0, "refer": 0, "fail": 0, "unchanged": 0}
    last = 0
    behind = Q(triaged_under__isnull=True) | ~Q(triaged_under=cutoffs)
    while chunk := list(retriageable().filter(behind, pk__gt=last).order_by("pk")[:CHUNK]):
        last = chunk[-1].pk
        with transaction.atomic():
            staying = []
            for attempt, prediction in _with_predictions(chunk):
                count_ears(attempt)
                decision = decide(attempt, prediction, cutoffs.cutoffs)
                if STATUS_OF.get(decision.route) == attempt.state:
                    staying.append((attempt, prediction, decision))
                else:
                    counts[_reroute(attempt, prediction, cutoffs, actor)] += 1
            _stay(staying, cutoffs, actor)
            counts["unchanged"] += len(staying)
    return counts


def _with_predictions(attempts: list[Attempt]) -> list[tuple[Attempt, Prediction]]:
    """Each attempt with its latest prediction of a model that counts."""
    found = Prediction.objects.filter(attempt__in=attempts, shadow=False).select_related("model_version")
    latest = {prediction.attempt_id: prediction for prediction in found.order_by("pk")}
    return [(attempt, latest[attempt.pk]) for attempt in attempts if attempt.pk in latest]


def _reroute(attempt: Attempt, prediction: Prediction, cutoffs: ThresholdSet, actor) -> str:
    try:
        with transaction.atomic():
            route(attempt, prediction, cutoffs, actor=actor)
    except StaleState:
        return "unchanged"
    return attempt.route


def _keep(
    attempt: Attempt, prediction: Prediction | None, cutoffs: ThresholdSet, decision: Triage
) -> TriageRecord:
    kept = _kept(attempt, prediction, cutoffs, decision)
    kept.save()
    return kept


def _kept(
    attempt: Attempt, prediction: Prediction | None, cutoffs: ThresholdSet, decision: Triage
) -> TriageRecord:
    return TriageRecord(
        attempt=attempt,
        prediction=prediction,
        threshold_set=cutoffs,
        route=decision.route.value,
        reason=decision.reason.value,
    )


def _stay(staying: list[tuple[Attempt, Prediction, Triage]], cutoffs: ThresholdSet, actor) -> None:
    """The routes are the same; the new cut-offs, the reasons and what the standard changes are kept with them."""
    rows = TriageRecord.objects.bulk_create(_kept(*pair, cutoffs, decision) for *pair, decision in staying)
    _audit_kept(rows, cutoffs, actor)
    for attempt, prediction, decision in staying:
        attempt.triaged_under, attempt.route_reason = cutoffs, decision.reason.value
        attempt.confidence = confidence_of(attempt, prediction)
    undecided = Attempt.objects.filter(status__in=UNDECIDED)
    changed = ["triaged_under", "route_reason", "confidence", "measurements", "problems"]
    undecided.bulk_update([attempt for attempt, *_ in staying], changed)


def _audit_kept(rows: list[TriageRecord], cutoffs: ThresholdSet, actor) -> None:
    """One event for each dataset about all its routes that stay as they were."""
    for dataset in sorted({row.attempt.dataset_id for row in rows}):
        audit.append(
            actor=actor,
            action="routes_kept",
            dataset=dataset,
            object_kind="dataset",
            object_id=dataset,
            before=None,
            after={"threshold_set": cutoffs.version},
            rows=[row for row in rows if row.attempt.dataset_id == dataset],
        )


def _save_prediction(
    attempt: Attempt, model: ModelVersion, finding: Finding, *, shadow: bool = False
) -> Prediction:
    return Prediction.objects.create(
        attempt=attempt,
        model_version=model,
        with_ears=_finite(finding.with_ears),
        attributes=_finite(finding.attributes),
        remains=_finite(finding.remains),
        in_distribution=finding.in_distribution is True,
        render_version=finding.render_version,
        shadow=shadow,
        **{f"p_{name}": value for name, value in _columns(finding.probabilities).items()},
    )


def _columns(probabilities: Mapping[str, float] | None) -> dict[str, float | None]:
    """What can be stored: all four, or nothing when one is missing or not finite."""
    values = [(probabilities or {}).get(name) for name in CLASSES]
    if any(not isinstance(value, int | float) or not math.isfinite(value) for value in values):
        return dict.fromkeys(CLASSES)
    return dict(zip(CLASSES, values, strict=True))


def _finite(attributes: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in attributes.items() if math.isfinite(value)}
