"""Reports: the dashboard, exports to download, the audit trail and its check."""

import tempfile
from pathlib import Path

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from reviews import audit, export, originals, reports, wholeness
from reviews.models import AccessLog, AuditEvent, AuditHead, Dataset, Membership
from reviews.plausible import whole_number
from reviews.views.access import get_audited, get_dataset, login_required

TRAIL_PAGE = 100


@login_required
@require_GET
def dashboard(request: HttpRequest) -> HttpResponse:
    """Progress, reviewers, plans; downloads for those who manage or audit."""
    visible = Dataset.objects.visible_to(request.user)
    chosen = request.GET.get("dataset", "")
    datasets = [get_dataset(request.user, chosen)] if chosen else list(visible)
    audited = list(Dataset.objects.audited_by(request.user))
    kept_back = list(Dataset.objects.kept_back_from(request.user))
    datasets = [dataset for dataset in datasets if dataset not in kept_back]
    context = {
        "section": "reports",
        "datasets": visible,
        "chosen": chosen,
        "kept_back": kept_back,
        "audited": audited,
        "standing": list(zip(datasets, reports.standing(datasets).values(), strict=True)),
        "days": reports.days(datasets),
        "attempts_needed": reports.attempts_needed(datasets),
        "plans": reports.plans(datasets),
        "reviewers": reports.reviewers([dataset for dataset in datasets if dataset in audited]),
        "forms": list(export.FORMATS),
        "head": AuditHead.objects.filter(pk=1).first(),
    }
    return render(request, "reviews/reports.html", context)


@login_required
@require_GET
def download(request: HttpRequest, slug: str, kind: str) -> FileResponse:
    """One archive: the export, the audit trail, and the file that checks it."""
    dataset = get_audited(request.user, slug)
    if kind not in export.FORMATS:
        raise Http404(f"There is no export as {kind}.")
    with tempfile.TemporaryDirectory() as folder:
        archive = export.bundle(dataset, kind, Path(folder))
        return FileResponse(archive.open("rb"), as_attachment=True, filename=archive.name)


def audited_by(user) -> QuerySet[Dataset]:
    """The datasets whose trail is this person's to read; refused where there are none."""
    audited = Dataset.objects.audited_by(user)
    if not (user.is_superuser or audited.exists()):
        raise PermissionDenied
    return audited


@login_required
@require_GET
def trail(request: HttpRequest) -> HttpResponse:
    """The events of the datasets this person manages or audits and of their people's accounts, newest first."""
    audited = audited_by(request.user)
    events = AuditEvent.objects.order_by("-seq")
    if not request.user.is_superuser:
        events = events.filter(of_their_datasets(audited))
    before = whole_number(request.GET.get("before", ""))
    if before is not None:
        events = events.filter(seq__lt=before)
    rows = audit.named(list(events[: TRAIL_PAGE + 1]))
    context = {
        "section": "reports",
        "events": rows[:TRAIL_PAGE],
        "more": rows[TRAIL_PAGE - 1].seq if len(rows) > TRAIL_PAGE else None,
    }
    return render(request, "reviews/trail.html", context)


def of_their_datasets(audited: QuerySet[Dataset]) -> Q:
    """What happened in these datasets, and to the accounts of the people who have a role in them."""
    pks = list(audited.values_list("pk", flat=True))
    people = list(Membership.objects.filter(dataset__in=pks).values_list("user_id", flat=True).distinct())
    return Q(dataset__in=pks) | Q(dataset=None, object_kind="user", object_id__in=people)


@login_required
@require_GET
def looks(request: HttpRequest, slug: str) -> HttpResponse:
    """Who looked at which original of a dataset, newest first, and who may."""
    dataset = get_audited(request.user, slug)
    rows = AccessLog.objects.filter(dataset=dataset).select_related("user", "attempt__scan").order_by("-pk")
    before = whole_number(request.GET.get("before", ""))
    if before is not None:
        rows = rows.filter(pk__lt=before)
    rows = list(rows[: TRAIL_PAGE + 1])
    context = {
        "section": "reports",
        "dataset": dataset,
        "looks": rows[:TRAIL_PAGE],
        "more": rows[TRAIL_PAGE - 1].pk if len(rows) > TRAIL_PAGE else None,
        "allowed": dataset.memberships.filter(sees_originals=True).select_related("user"),
        "sealed": originals.last_sealed(dataset.pk),
    }
    return render(request, "reviews/looks.html", context)


@login_required
@require_POST
def check_trail(request: HttpRequest) -> HttpResponse:
    """Go through the whole chain now."""
    audited_by(request.user)
    with wholeness.one_moment():
        head = AuditHead.objects.filter(pk=1).first() or AuditHead()
        found = wholeness.problems()
    for problem in found[:20]:
        messages.error(request, f"The audit trail is broken: {problem}")
    if not found:
        messages.success(
            request,
            f"The audit trail is whole: {head.seq} events up to digest {head.digest}. "
            "Compare it with one you were given before.",
        )
    return redirect("reports")
