"""What an administrator changes for everybody: cut-offs and models; undecided attempts follow."""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils import timezone

from inference.promotion import FIGURES, Figures, objection
from inference.volumes import content_hash
from reviews import audit, queue
from reviews.actions.core import (
    AT_ONCE,
    NotAllowed,
    Refused,
    StaleState,
    active_thresholds,
    advance,
    require_permission,
)
from reviews.actions.triage import retriageable
from reviews.labels import frozen_digest
from reviews.models import AuditEvent, ModelVersion, Prediction, TriageRecord
from reviews.states import Event


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
        switch_model(model, actor=actor)
    return classify_anew(model, actor=actor)


def switch_model(model: ModelVersion, *, actor) -> None:
    """Inside the caller's transaction: one model becomes the current one in place of another."""
    old = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exclude(pk=model.pk).first()
    ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).exclude(pk=model.pk).update(
        state=ModelVersion.State.RETIRED
    )
    ModelVersion.objects.filter(pk=model.pk).update(state=ModelVersion.State.CURRENT)
    _audit_model(model, "model_activated", actor=actor, before=old and {"model": old.version})


def classify_anew(model: ModelVersion, *, actor) -> int:
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


TESTED = "frozen"  # the key in ModelVersion.metrics


SHIPPED = settings.BASE_DIR / "inference" / "weights" / "default.onnx"  # the web process imports no network


@transaction.atomic
def record_frozen_test(
    *, actor, model: ModelVersion, figures: Figures, current: ModelVersion, current_figures: Figures
) -> None:
    """Keep with a candidate how it and the current model did on all frozen cases under the active cut-offs."""
    tested = {
        "at": timezone.now().isoformat(timespec="seconds"),
        "digest": frozen_digest(),
        "thresholds": active_thresholds().version,
        "candidate": figures,
        "current": {"model": current.version, **current_figures},
    }
    stored = ModelVersion.objects.select_for_update().get(pk=model.pk)
    stored.metrics = {**stored.metrics, TESTED: tested}
    stored.save(update_fields=["metrics"])
    model.metrics = stored.metrics
    counts = {name: [figures[name]["count"], figures[name]["total"]] for name in FIGURES}
    audit.append(
        actor=actor,
        action="model_tested",
        dataset=None,
        object_kind="model_version",
        object_id=model.pk,
        before=None,
        after={"model": model.version, "digest": tested["digest"], "cases": figures["cases"], **counts},
    )


def objection_to(model: ModelVersion) -> str:
    """Why this model may not be promoted now; '' when it may. What has served before may serve again."""
    if model.state == ModelVersion.State.CURRENT:
        return "it is the current model"
    if not model.weights_path and model.version != shipped_version():
        return "its weights came with another version of the software and are not here any more"
    if model.state == ModelVersion.State.RETIRED:
        return ""
    tested = model.metrics.get(TESTED)
    if not tested:
        return "it has no result from a frozen test set"
    if tested["digest"] != frozen_digest():
        return "cases have been frozen since it was tested; test it again"
    if tested["thresholds"] != active_thresholds().version:
        return "the cut-offs have changed since it was tested; test it again"
    if not ModelVersion.objects.filter(
        version=tested["current"]["model"], state=ModelVersion.State.CURRENT
    ).exists():
        return "another model has become current since it was tested; test it again"
    return objection(tested["candidate"], tested["current"])


def shipped_version() -> str:
    """The version of the weights that come with the software, as a worker knows it; '' where the file is missing."""
    if not SHIPPED.is_file():
        return ""
    return content_hash(SHIPPED)[:16]


def promote_model(*, actor, model: ModelVersion) -> int:
    """An administrator makes a model the current one; returns how many undecided attempts are classified again.

    Refused without a result on the frozen test sets of today that is no worse than the current model's.
    """
    if actor is None:
        raise NotAllowed("A model is promoted by an administrator, not by the software.")
    require_permission(actor, "reviews.change_modelversion")
    with transaction.atomic():
        stored = ModelVersion.objects.select_for_update().get(pk=model.pk)
        reason = objection_to(stored)
        if reason:
            raise Refused(f"{stored} cannot be promoted: {reason}.")
        switch_model(stored, actor=actor)
    return classify_anew(stored, actor=actor)
