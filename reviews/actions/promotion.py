"""A candidate is tested on the frozen sets, and takes over only when it is no worse than the current model."""

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from inference.volumes import content_hash
from reviews import audit
from reviews.actions.core import NotAllowed, Refused
from reviews.actions.cutoffs import active_thresholds, require_permission
from reviews.actions.versions import classify_anew, switch_model
from reviews.learning import frozen_digest
from reviews.models import ModelVersion
from reviews.promotion import FIGURES, Figures, objection

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
        switch_model(actor, stored)
    return classify_anew(actor, stored)
