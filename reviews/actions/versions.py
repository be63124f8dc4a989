"""What an administrator changes for everybody: cut-offs and models; undecided attempts follow."""

from django.db import transaction
from django.db.models import Max

from reviews import audit
from reviews.actions.core import Refused, advance
from reviews.actions.cutoffs import active_thresholds, audit_thresholds, require_permission, switch
from reviews.actions.triage import context_of, probabilities_of, retriage, retriageable
from reviews.models import ModelVersion, Prediction, ThresholdSet
from reviews.states import UNDECIDED, Event
from reviews.thresholds import ThresholdPolicy, what_if


def save_thresholds(*, actor, policy: ThresholdPolicy, evidence=None, note: str = "") -> ThresholdSet:
    """A new version of the cut-offs, active at once; what is undecided is routed anew."""
    require_permission(actor, "reviews.add_thresholdset")
    active_thresholds()
    with transaction.atomic():
        highest = ThresholdSet.objects.aggregate(highest=Max("version"))["highest"]
        new = ThresholdSet.objects.create(
            version=highest + 1,
            policy=policy.to_dict(),
            evidence=evidence or {},
            note=note[:200],
            created_by=actor,
        )
        audit_thresholds(new, "thresholds_saved", actor=actor, before=None)
        switch(new, actor)
    retriage(actor=actor)
    return new


def activate_thresholds(*, actor, threshold_set: ThresholdSet) -> None:
    """Bring an earlier version back into force; what is undecided is routed anew."""
    require_permission(actor, "reviews.add_thresholdset")
    with transaction.atomic():
        switch(threshold_set, actor)
    retriage(actor=actor)


def consequences(policy: ThresholdPolicy) -> dict[str, int]:
    """How many undecided attempts these cut-offs would verify, refer or fail."""
    rows = retriageable().filter(predictions__shadow=False).annotate(latest=Max("predictions__pk"))
    ids = dict(rows.values_list("pk", "latest"))
    predictions = Prediction.objects.filter(pk__in=ids.values()) if len(ids) < 900 else _all_latest()
    pairs = predictions.select_related("model_version", "attempt__dataset").iterator(chunk_size=2000)
    wanted = set(ids.values())
    return what_if(
        (
            (probabilities_of(p, p.attempt.dataset.ears_required), context_of(p.attempt, p))
            for p in pairs
            if p.pk in wanted
        ),
        policy,
    )


def _all_latest():
    return Prediction.objects.filter(shadow=False, attempt__status__in=[status.value for status in UNDECIDED])


@transaction.atomic
def register_model(
    *,
    actor,
    version: str,
    render_version: str,
    class_order: list[str],
    name: str = "",
    metrics=None,
    data_summary=None,
    weights_path: str = "",
) -> ModelVersion:
    """Know a model by the hash of its weights; the first one becomes the current one."""
    first = not ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exists()
    model, created = ModelVersion.objects.get_or_create(
        version=version,
        defaults={
            "name": name,
            "render_version": render_version,
            "class_order": class_order,
            "metrics": metrics or {},
            "data_summary": data_summary or {},
            "weights_path": weights_path,
            "state": ModelVersion.State.CURRENT if first else ModelVersion.State.CANDIDATE,
        },
    )
    if created:
        _audit_model(model, "model_registered", actor=actor, before=None)
    return model


@transaction.atomic
def activate_model(*, actor, model: ModelVersion) -> int:
    """An administrator promotes a model: undecided attempts are classified again; returns how many."""
    require_permission(actor, "reviews.change_modelversion")
    if model.weights_path:
        _require_evidence(model)
    old = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exclude(pk=model.pk).first()
    ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exclude(pk=model.pk).update(
        state=ModelVersion.State.RETIRED
    )
    ModelVersion.objects.filter(pk=model.pk).update(state=ModelVersion.State.CURRENT)
    _audit_model(model, "model_activated", actor=actor, before=old and {"model": old.version})
    waiting = retriageable().filter(status__in=UNDECIDED)
    for attempt in waiting:
        advance(attempt, Event.RECLASSIFIED, actor=actor, noted={"model": model.version})
    return len(waiting)


@transaction.atomic
def shadow_model(*, actor, model: ModelVersion) -> None:
    """A candidate runs beside the current model and routes nothing."""
    require_permission(actor, "reviews.change_modelversion")
    states = (ModelVersion.State.CANDIDATE, ModelVersion.State.RETIRED)
    if ModelVersion.objects.filter(pk=model.pk, state__in=states).update(state=ModelVersion.State.SHADOW):
        _audit_model(model, "model_shadowed", actor=actor, before=None)


def _require_evidence(model: ModelVersion) -> None:
    """A model trained here is promoted only by a frozen test on which it is no worse than the current one."""
    new, old = (model.metrics.get(name) or {} for name in ("frozen_test", "current_on_frozen_test"))
    if not new.get("cases"):
        raise Refused("This model has no figures from a frozen test set, so it cannot be promoted.")
    if new["accuracy"] < old["accuracy"] or new["missed_failures"] > old["missed_failures"]:
        raise Refused(
            f"On {new['cases']} frozen test cases this model is right in {new['accuracy']:.1%} and misses "
            f"{new['missed_failures']} failures; the current one in {old['accuracy']:.1%} and "
            f"{old['missed_failures']}. It cannot be promoted."
        )


def _audit_model(model: ModelVersion, action: str, *, actor, before) -> None:
    audit.append(
        actor=actor,
        action=action,
        dataset=None,
        object_kind="model_version",
        object_id=model.pk,
        before=before or None,
        after={"model": model.version, "render_version": model.render_version},
    )
