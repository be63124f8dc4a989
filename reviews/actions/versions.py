"""What an administrator changes for everybody: cut-offs and models; undecided attempts follow."""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, Subquery

from reviews import audit, queue
from reviews.actions.core import NotAllowed, StaleState, advance
from reviews.actions.cutoffs import SAVED, active_thresholds, audit_thresholds, require_permission, switch
from reviews.actions.triage import retriage, retriageable
from reviews.models import AuditEvent, ModelVersion, Prediction, ThresholdSet, TriageRecord
from reviews.states import Event
from reviews.thresholds import ThresholdPolicy

AT_ONCE = 200


def save_thresholds(*, actor, policy: ThresholdPolicy, evidence=None, note: str = "") -> ThresholdSet:
    """A new version of the cut-offs, active at once; what is undecided is routed anew."""
    require_permission(actor, "reviews.add_thresholdset")
    active_thresholds()
    with transaction.atomic():
        ThresholdSet.objects.select_for_update().filter(active=True).first()  # versions are given one by one
        highest = ThresholdSet.objects.aggregate(highest=Max("version"))["highest"]
        new = ThresholdSet.objects.create(
            version=highest + 1,
            policy=policy.to_dict(),
            evidence=evidence or {},
            note=note[:200],
            created_by=actor,
        )
        audit_thresholds(new, SAVED, actor=actor, before=None)
        switch(new, actor)
    route_anew(new, actor)
    return new


def activate_thresholds(*, actor, threshold_set: ThresholdSet) -> None:
    """Bring an earlier version back into force; what is undecided is routed anew."""
    require_permission(actor, "reviews.add_thresholdset")
    with transaction.atomic():
        switch(threshold_set, actor)
    route_anew(threshold_set, actor)


def route_anew(cutoffs: ThresholdSet, actor) -> None:
    """A few attempts at once, many in the background; requeue_stalled goes on where that was cut off."""
    if retriageable()[: AT_ONCE + 1].count() <= AT_ONCE:
        retriage(actor=actor)
    else:
        queue.enqueue(queue.ROUTE_ANEW, cutoffs.pk)


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
    """Know a model by the hash of its weights; the first that comes with the software becomes the current one."""
    first = not weights_path and not ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exists()
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


def adopt_model(*, actor, model: ModelVersion) -> int:
    """Weights that come with the software take over from older ones; never from a model trained here."""
    trained_here = ModelVersion.objects.exclude(weights_path="")
    if actor is not None or trained_here.filter(state=ModelVersion.State.CURRENT).exists():
        raise NotAllowed("A model is promoted by an administrator, on evidence.")
    if model.weights_path:
        raise NotAllowed("This model does not come with the software.")
    with transaction.atomic():
        switch_model(actor, model)
    return classify_anew(actor, model)


def switch_model(actor, model: ModelVersion) -> None:
    """Inside the caller's transaction: one model becomes the current one in place of another."""
    old = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exclude(pk=model.pk).first()
    ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exclude(pk=model.pk).update(
        state=ModelVersion.State.RETIRED
    )
    ModelVersion.objects.filter(pk=model.pk).update(state=ModelVersion.State.CURRENT)
    _audit_model(model, "model_activated", actor=actor, before=old and {"model": old.version})


def classify_anew(actor, model: ModelVersion) -> int:
    """A few undecided attempts at once, many in the background; returns how many. requeue_stalled finds the rest."""
    waiting = _of_another_model().count()
    if waiting <= AT_ONCE:
        return reclassify(actor=actor)
    queue.enqueue(queue.CLASSIFY_ANEW, model.pk)
    return waiting


def reclassify(*, actor=None) -> int:
    """Send undecided attempts to the current model again, in short steps; what it has seen stays."""
    done = last = 0
    while chunk := list(_of_another_model().filter(pk__gt=last).order_by("pk")[:AT_ONCE]):
        last = chunk[-1].pk
        with transaction.atomic():
            current = ModelVersion.objects.get(state=ModelVersion.State.CURRENT)
            for attempt in chunk:
                try:
                    advance(attempt, Event.RECLASSIFIED, actor=actor, noted={"model": current.version})
                except StaleState:
                    continue  # decided meanwhile
                done += 1
    return done


def _of_another_model():
    """Undecided attempts, free to be moved, that the current model has neither classified nor failed to classify."""
    current = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).first()
    if current is None:
        return retriageable().none()
    said = Prediction.objects.filter(attempt=OuterRef("pk"), shadow=False).order_by("-pk")
    rows = retriageable().annotate(seen_by=Subquery(said.values("model_version")[:1]))
    failed = TriageRecord.objects.filter(attempt=OuterRef("pk"), prediction=None)
    return rows.filter(
        Q(seen_by__isnull=True) | ~Q(seen_by=current.pk),
        ~Exists(failed.filter(created_at__gte=_since(current))),
    )


def _since(model: ModelVersion) -> datetime:
    """When the current model became it; without usable weights it is not asked twice for the same attempt."""
    events = AuditEvent.objects.filter(
        object_kind="model_version", object_id=model.pk, action="model_activated"
    )
    last = events.order_by("-seq").first()
    return datetime.fromisoformat(last.at) if last else model.created_at


@transaction.atomic
def shadow_model(*, actor, model: ModelVersion) -> None:
    """A candidate runs beside the current model and routes nothing."""
    require_permission(actor, "reviews.change_modelversion")
    states = (ModelVersion.State.CANDIDATE, ModelVersion.State.RETIRED)
    if ModelVersion.objects.filter(pk=model.pk, state__in=states).update(state=ModelVersion.State.SHADOW):
        _audit_model(model, "model_shadowed", actor=actor, before=None)


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
