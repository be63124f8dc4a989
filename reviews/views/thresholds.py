"""The cut-offs: evidence, what they would do to waiting scans, versions."""

import functools
from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from reviews import actions, threshold_evidence
from reviews.forms import PolicyForm
from reviews.models import ThresholdSet
from reviews.models.people import counts_are_hidden
from reviews.views.access import members_only

PERMISSION = "reviews.add_thresholdset"


def exact(view: Callable) -> Callable:
    """A page of exact counts: not for whom known cases are hidden from, unless the cut-offs are theirs to set."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args, **kwargs) -> HttpResponse:
        if counts_are_hidden(request.user):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return members_only(wrapped)


@exact
@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Curve, histograms, sliders and versions."""
    active = actions.active_thresholds()
    cases = threshold_evidence.judged_cases()
    context = {
        "section": "thresholds",
        "active": active,
        "form": PolicyForm.showing(active.cutoffs),
        "versions": ThresholdSet.objects.select_related("created_by")[:50],
        "may_change": request.user.has_perm(PERMISSION),
        "cases": len(cases),
        "plots": {
            "curve": threshold_evidence.risk_coverage(cases),
            "histogram": threshold_evidence.histogram(),
        },
        "outcome": threshold_evidence.outcome(active.cutoffs, cases),
    }
    return render(request, "reviews/thresholds.html", context)


@exact
@require_GET
def consequences(request: HttpRequest) -> HttpResponse:
    """What other cut-offs would do; asked while a slider moves."""
    form = PolicyForm(request.GET)
    context = {"form": form, "outcome": None, "active": actions.active_thresholds()}
    if form.is_valid():
        context["outcome"] = threshold_evidence.outcome(
            form.cleaned_data["policy"], threshold_evidence.judged_cases()
        )
    return render(request, "reviews/parts/consequences.html", context)


@members_only
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Save the cut-offs as a new version; undecided scans are routed anew."""
    form = PolicyForm(request.POST)
    if not form.is_valid():
        messages.error(
            request,
            "Not saved: " + " ".join(str(error) for errors in form.errors.values() for error in errors),
        )
        return redirect("thresholds")
    policy = form.cleaned_data["policy"]
    known = threshold_evidence.summary(policy, threshold_evidence.judged_cases())
    try:
        new = actions.save_thresholds(
            actor=request.user, policy=policy, evidence=known, note=form.cleaned_data["note"]
        )
    except actions.Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Version {new.version} is active; undecided scans were routed anew.")
    return redirect("thresholds")


@members_only
@require_POST
def activate(request: HttpRequest, version: int) -> HttpResponse:
    """Bring an earlier version back into force."""
    earlier = get_object_or_404(ThresholdSet, version=version)
    try:
        actions.activate_thresholds(actor=request.user, threshold_set=earlier)
    except actions.Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Version {version} is active again; undecided scans were routed anew.")
    return redirect("thresholds")
