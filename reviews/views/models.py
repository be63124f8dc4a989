"""Models: the current one, candidates in the shadow, the frozen test, promotion."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from inference.metrics import Interval
from inference.promotion import FIGURES
from reviews import actions, shadow_comparison
from reviews.models import FrozenSet, ModelVersion
from reviews.views.access import login_required

PERMISSION = "reviews.change_modelversion"
STATES = ("current", "shadow", "candidate", "retired")
MOST = 30


@login_required
@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Every model with its evidence; for administrators."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    found = sorted(ModelVersion.objects.order_by("-created_at")[:MOST], key=lambda m: STATES.index(m.state))
    context = {
        "section": "setup",
        "models": [_shown(model) for model in found],
        "frozen": [_frozen(made) for made in FrozenSet.objects.select_related("dataset", "created_by")],
    }
    return render(request, "reviews/models.html", context)


@login_required
@require_POST
def promote(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a model the current one; undecided scans are classified again."""
    model = get_object_or_404(ModelVersion, pk=pk)
    try:
        waiting = actions.promote_model(actor=request.user, model=model)
    except actions.NotAllowed:
        raise PermissionDenied from None
    except actions.Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, f"{model} is the current model. Undecided scans to be classified again: {waiting}."
        )
    return redirect("models")


def _shown(model: ModelVersion) -> dict:
    beside = model.state == ModelVersion.State.SHADOW
    tested = model.metrics.get("frozen")
    return {
        "model": model,
        "objection": actions.objection_to(model),
        "comparison": shadow_comparison.compare(model, actions.active_thresholds().cutoffs)
        if beside
        else None,
        "tested": tested,
        "rows": _rows(tested) if tested else [],
    }


def _rows(tested: dict) -> list[tuple[str, Interval, Interval]]:
    names = ("Four classes right", "Decided without referral", "Right among those", "False passes")
    return [
        (words, Interval(**tested["candidate"][name]), Interval(**tested["current"][name]))
        for words, name in zip(names, FIGURES, strict=True)
    ]


def _frozen(made: FrozenSet) -> dict:
    truths = list(made.cases.values_list("truth", "adjudicated"))
    return {
        "set": made,
        "cases": len(truths),
        "adjudicated": sum(adjudicated for _, adjudicated in truths),
        "classes": [
            (name, sum(truth == name for truth, _ in truths)) for name in ("pass", "face", "brain", "both")
        ],
    }
