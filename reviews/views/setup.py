"""Set-up: datasets, people and rights, models, workers and failures."""

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from reviews import actions, workers
from reviews.forms import AssignForm, DatasetForm, GrantForm, NewDatasetForm
from reviews.models import Assignment, Attempt, Dataset, ModelVersion
from reviews.states import Status
from reviews.views.access import get_managed, login_required, members_only

MOST_FAILURES = 200


@members_only
@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    """What there is and whether the machine runs."""
    datasets = Dataset.objects.visible_to(request.user)
    context = {
        "section": "setup",
        "datasets": datasets,
        "managed": set(Dataset.objects.managed_by(request.user).values_list("pk", flat=True)),
        "models": ModelVersion.objects.order_by("-created_at"),
        "workers": workers.state(),
        "errors": Attempt.objects.filter(dataset__in=datasets, status=Status.ERROR).count(),
    }
    return render(request, "reviews/setup.html", context)


@members_only
@require_http_methods(["GET", "POST"])
def new_dataset(request: HttpRequest) -> HttpResponse:
    """Make a study; only for those who may administer this site."""
    if not request.user.has_perm("reviews.add_dataset"):
        messages.error(request, "Only an administrator of this site can make a dataset.")
        return redirect("setup")
    form = NewDatasetForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = actions.create_dataset(actor=request.user, **form.cleaned_data)
        except actions.Refused as error:
            form.add_error(None, str(error))
        else:
            return redirect("dataset", made.slug)
    return render(request, "reviews/dataset_new.html", {"section": "setup", "form": form})


@login_required
@require_http_methods(["GET", "POST"])
def dataset(request: HttpRequest, slug: str) -> HttpResponse:
    """One dataset: its settings, its people, its queues."""
    found = get_managed(request.user, slug)
    form = DatasetForm(request.POST or None, instance=found)
    if request.method == "POST" and form.is_valid():
        found = get_managed(request.user, slug)
        if attempt_action(request, actions.configure_dataset, "Saved.", dataset=found, **form.cleaned_data):
            return redirect("dataset", slug)
    context = {
        "section": "setup",
        "dataset": found,
        "form": form,
        "memberships": found.memberships.select_related("user").order_by("user__username"),
        "assignments": found.assignments.select_related("user", "team"),
        "grant_form": GrantForm(),
        "assign_form": AssignForm(),
    }
    return render(request, "reviews/dataset.html", context)


def attempt_action(request: HttpRequest, action, words: str, **arguments) -> bool:
    """Run one action and say what came of it; True when it was done."""
    try:
        action(actor=request.user, **arguments)
    except actions.Refused as error:
        messages.error(request, str(error))
        return False
    messages.success(request, words)
    return True


@login_required
@require_POST
def grant(request: HttpRequest, slug: str) -> HttpResponse:
    """Give a person a role."""
    found = get_managed(request.user, slug)
    form = GrantForm(request.POST)
    if form.is_valid():
        attempt_action(request, actions.grant, "The right is given.", dataset=found, **form.cleaned_data)
    else:
        messages.error(request, "A right needs a person and a role.")
    return redirect("dataset", slug)


@login_required
@require_POST
def revoke(request: HttpRequest, slug: str, user_pk: int) -> HttpResponse:
    """Take a person's role away."""
    found = get_managed(request.user, slug)
    person = get_object_or_404(get_user_model(), pk=user_pk)
    attempt_action(request, actions.revoke, "The right is taken away.", dataset=found, user=person)
    return redirect("dataset", slug)


@login_required
@require_POST
def assign(request: HttpRequest, slug: str) -> HttpResponse:
    """Give a queue to one reviewer or team."""
    found = get_managed(request.user, slug)
    form = AssignForm(request.POST)
    if form.is_valid():
        attempt_action(request, actions.assign, "The queue is assigned.", dataset=found, **form.cleaned_data)
    else:
        messages.error(request, "An assignment needs a queue and a reviewer or a team.")
    return redirect("dataset", slug)


@login_required
@require_POST
def unassign(request: HttpRequest, pk: int) -> HttpResponse:
    """Open a queue to everybody again."""
    managed = Dataset.objects.managed_by(request.user)
    assignment = get_object_or_404(Assignment.objects.select_related("dataset"), pk=pk, dataset__in=managed)
    attempt_action(request, actions.unassign, "The queue is open again.", assignment=assignment)
    return redirect("dataset", assignment.dataset.slug)


@members_only
@require_GET
def failures(request: HttpRequest) -> HttpResponse:
    """Attempts in ERROR: file, reason, retry."""
    rows = Attempt.objects.visible_to(request.user).filter(status=Status.ERROR)
    context = {
        "section": "setup",
        "rows": rows.select_related("scan", "dataset").order_by("-updated_at")[:MOST_FAILURES],
        "total": rows.count(),
        "managed": set(Dataset.objects.managed_by(request.user).values_list("pk", flat=True)),
    }
    return render(request, "reviews/failures.html", context)


@members_only
@require_POST
def retry_all(request: HttpRequest) -> HttpResponse:
    """Try everything in ERROR again, in the datasets this person manages."""
    managed = Dataset.objects.managed_by(request.user)
    ids = Attempt.objects.filter(dataset__in=managed, status=Status.ERROR).values_list("pk", flat=True)
    done = 0
    for pk in list(ids):
        try:
            actions.retry(actor=request.user, attempt_id=pk)
        except actions.Refused:
            continue  # somebody else was first, or the file must be taken in again
        done += 1
    messages.success(request, f"{done} attempts are tried again.")
    return redirect("failures")
