"""The overview of all scans: search, filter, sort, table or wall; pages by key, so 235,000 rows cost no more."""

from datetime import datetime
from urllib.parse import urlencode

from django.db.models import BigIntegerField, ExpressionWrapper, F, Q, Value
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from reviews import alarms
from reviews.forms import ScanFilter
from reviews.models import Attempt, Dataset
from reviews.states import Status
from reviews.views.access import login_required
from reviews.views.pictures import picture_url

PAGE = 60
OVER = (Status.FAILED.value, Status.WITHDRAWN.value)
DOWN, UP = True, False
# sort -> (field, its direction, the direction of ids among equals): each is the order of an index
SORTS = {
    "newest": ("pk", DOWN, DOWN),
    "subject": ("scan__subject", UP, UP),
    "confidence": ("confidence", DOWN, UP),
    "doubtful": ("confidence", UP, DOWN),
    "changed": ("updated_at", DOWN, DOWN),
}


@login_required
@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    """The page, or only its results when the filter asks by htmx."""
    form = ScanFilter(request.GET, datasets=Dataset.objects.visible_to(request.user))
    wanted = form.cleaned_data if form.is_valid() else {}
    datasets = shown_datasets(request.user, wanted)
    found = filtered(Attempt.objects.all(), wanted)
    sort = wanted.get("sort") or "newest"
    rows, following = page(within(found, datasets), sort, request.GET.get("after", ""))
    context = {
        "section": "scans",
        "form": form,
        "rows": [{"attempt": attempt, "picture": thumbnail(attempt)} for attempt in rows],
        "more": link(request, following) if following else "",
        "wall": wanted.get("show") == "wall",
        "total": None if request.GET.get("after") else found.filter(dataset__in=datasets).count(),
        "first": not request.GET.get("after"),
    }
    template = "reviews/scans.html"
    if request.htmx:
        template = "reviews/parts/scan_results.html" if context["first"] else "reviews/parts/scan_rows.html"
    return render(request, template, context)


def shown_datasets(user, wanted: dict) -> list[int]:
    """The one asked for, or all that this person may see."""
    if wanted.get("dataset"):
        return [wanted["dataset"].pk]
    return list(Dataset.objects.visible_to(user).values_list("pk", flat=True))


def within(attempts, datasets: list[int]):
    """Only attempts of these datasets, in words no index answers: one that has the order is used instead.

    Asked plainly, a database without statistics collects whole datasets and sorts them for a page of sixty.
    """
    place = ExpressionWrapper(F("dataset_id") + Value(0), output_field=BigIntegerField())
    return attempts.alias(place=place).filter(place__in=datasets)


def filtered(attempts, wanted: dict):
    """The attempts that fit the filter, of any dataset; without a status the current attempt of each scan."""
    status = wanted.get("status")
    if status:
        attempts = attempts.filter(status=status)
    elif not wanted.get("history"):
        attempts = attempts.exclude(status__in=OVER)
    if wanted.get("modality"):
        attempts = attempts.filter(scan__suffix=wanted["modality"])
    if wanted.get("again"):
        attempts = attempts.filter(number__gt=1)
    if wanted.get("doubted"):
        attempts = alarms.doubted_by_all(attempts)
    return searched(attempts, wanted.get("q") or "")


def searched(attempts, words: str):
    """Subject, file name or the beginning of a content hash."""
    words = words.strip().removeprefix("sub-")
    if not words:
        return attempts
    found = Q(scan__subject__icontains=words) | Q(scan__name__icontains=words)
    if len(words) >= 8:
        found |= Q(scan__content_hash__startswith=words.lower())
    return attempts.filter(found)


def page(attempts, sort: str, after: str) -> tuple[list[Attempt], str]:
    """One page behind the cursor `after`, and the cursor of the next page ('' at the end)."""
    field, *directions = SORTS.get(sort, SORTS["newest"])
    attempts = behind(attempts, field, *directions, after)
    names = [field] if field == "pk" else [field, "pk"]
    order = ["-" + name if down else name for name, down in zip(names, directions, strict=False)]
    rows = list(attempts.select_related("scan", "dataset").order_by(*order)[: PAGE + 1])
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    return rows, cursor(rows[-1], field) if more else ""


def behind(attempts, field: str, down: bool, ties_down: bool, after: str):
    """Only what comes after the cursor in this order."""
    value, _, pk = after.rpartition("~")
    if not pk.isdecimal():
        return attempts
    op, tie = ("lt" if down else "gt"), ("lt" if ties_down else "gt")
    if field == "pk":
        return attempts.filter(**{f"pk__{op}": int(pk)})
    try:
        typed = typed_value(field, value)
    except ValueError:
        return attempts
    # The first bound lets the index seek; the second part settles ties by id.
    bound = attempts.filter(**{f"{field}__{op}e": typed})
    return bound.filter(Q(**{f"{field}__{op}": typed}) | Q(**{field: typed, f"pk__{tie}": int(pk)}))


def typed_value(field: str, value: str):
    """A cursor's text as the field's type."""
    if field == "confidence":
        return float(value)
    return datetime.fromisoformat(value) if field == "updated_at" else value


def cursor(attempt: Attempt, field: str) -> str:
    """Where the next page begins."""
    if field == "pk":
        return f"~{attempt.pk}"
    value = attempt.scan.subject if field == "scan__subject" else getattr(attempt, field)
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"{text}~{attempt.pk}"


def link(request: HttpRequest, following: str) -> str:
    """This page's address with the next cursor."""
    query = {name: value for name, value in request.GET.items() if name != "after" and value}
    return "?" + urlencode(query | {"after": following})


def thumbnail(attempt: Attempt) -> str:
    """The front view, where there is one."""
    return picture_url(attempt, "front", small=True) if "front" in attempt.view_names else ""
