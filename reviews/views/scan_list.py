"""The overview of all scans: search, filter, sort, table or wall; pages by key, so 235,000 rows cost no more."""

from datetime import datetime
from urllib.parse import urlencode

from django.db.models import BigIntegerField, ExpressionWrapper, F, Q, Value
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET
from django_htmx.http import HttpResponseClientRedirect, push_url

from reviews import alarms, keymap
from reviews.forms import ScanFilter
from reviews.models import Attempt, Dataset, Scan
from reviews.models.preferences import own_keys
from reviews.models.scans import judged_by
from reviews.plausible import whole_number
from reviews.states import Status
from reviews.views.access import login_required
from reviews.views.pictures import picture_url

PAGE = 60
NEAR = 400
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
    """The page, or only its results when the filter asks by htmx; a search that was submitted may open its only hit."""
    form = ScanFilter(request.GET, datasets=Dataset.objects.visible_to(request.user))
    wanted = form.cleaned_data if form.is_valid() else {}
    datasets = shown_datasets(request.user, wanted)
    found = filtered(Attempt.objects.all(), wanted)
    sort = wanted.get("sort") or "newest"
    start = wanted.get("start", "") if sort == "subject" else ""
    after = request.GET.get("after") or beginning(start)
    found = in_sight(request.user, found, datasets)
    rows, following = page(within(found, datasets), sort, after)
    jumping = "jump" in request.GET
    if jumping and wanted.get("q") and not following and len({attempt.scan_id for attempt in rows}) == 1:
        return jumped(request, reverse("scan", args=[rows[0].scan_id]))
    if jumping and not request.htmx:
        return redirect(reverse("scans") + link(request))
    context = {
        "section": "scans",
        "form": form,
        "rows": [{"attempt": attempt, "picture": thumbnail(attempt)} for attempt in rows],
        "more": link(request, after=following) if following else "",
        "wall": wanted.get("show") == "wall",
        "start": start,
        "search_keys": keymap.merged(own_keys(request.user))["search"],
        "total": None if request.GET.get("after") else found.filter(dataset__in=datasets).count(),
        "first": not request.GET.get("after"),
        "limited": Dataset.objects.judged_only_by(request.user).filter(pk__in=datasets).exists(),
    }
    response = render(request, template_for(request, context["first"]), context)
    return push_url(response, reverse("scans") + link(request)) if jumping else response


def template_for(request: HttpRequest, first: bool) -> str:
    """The whole page, its results, or the rows to put below them."""
    if not request.htmx:
        return "reviews/scans.html"
    return "reviews/parts/scan_results.html" if first else "reviews/parts/scan_rows.html"


def jumped(request: HttpRequest, address: str) -> HttpResponse:
    """Open the address, whoever asked: the script or the browser itself."""
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)


def shown_datasets(user, wanted: dict) -> list[int]:
    """The one asked for, or all that this person may see."""
    if wanted.get("dataset"):
        return [wanted["dataset"].pk]
    return list(Dataset.objects.visible_to(user).values_list("pk", flat=True))


def in_sight(user, attempts, datasets: list[int]):
    """Of datasets in which this person only judges, what they have judged: a look here must tell no known case."""
    limited = list(Dataset.objects.judged_only_by(user).filter(pk__in=datasets).values_list("pk", flat=True))
    return attempts.filter(~Q(dataset__in=limited) | Q(scan__in=judged_by(user))) if limited else attempts


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
    ordered = attempts.select_related("scan", "dataset").order_by(*order)
    rows = nearby(ordered, after) if field == "scan__subject" else None
    rows = list(ordered[: PAGE + 1]) if rows is None else rows
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    return rows, cursor(rows[-1], field) if more else ""


def beginning(start: str) -> str:
    """The cursor before the first subject from this one on; '' is the beginning."""
    start = start.strip().removeprefix("sub-")
    return f"{start}~0" if start else ""


def nearby(attempts, after: str) -> list[Attempt] | None:
    """The page by subject from the next few scans of the subjects' index; None where too few of them fit.

    Asked at once, a database without statistics joins and sorts every attempt for a page of sixty.
    """
    subject, _, pk = after.rpartition("~")
    scans = Scan.objects.filter(subject__gte="" if whole_number(pk) is None else subject).order_by("subject")
    scans = list(scans.values_list("pk", "subject")[:NEAR])
    if len(scans) == NEAR:  # the last subject may go on behind them
        scans = [(pk, subject) for pk, subject in scans if subject != scans[-1][1]]
    rows = list(attempts.filter(scan__in=[pk for pk, _ in scans])[: PAGE + 1])
    return rows if len(rows) > PAGE else None


def behind(attempts, field: str, down: bool, ties_down: bool, after: str):
    """Only what comes after the cursor in this order."""
    value, _, text = after.rpartition("~")
    if (pk := whole_number(text)) is None:
        return attempts
    op, tie = ("lt" if down else "gt"), ("lt" if ties_down else "gt")
    if field == "pk":
        return attempts.filter(**{f"pk__{op}": pk})
    try:
        typed = typed_value(field, value)
    except (ValueError, OverflowError):
        return attempts
    # The first bound lets the index seek; the second part settles ties by id.
    bound = attempts.filter(**{f"{field}__{op}e": typed})
    return bound.filter(Q(**{f"{field}__{op}": typed}) | Q(**{field: typed, f"pk__{tie}": pk}))


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


def link(request: HttpRequest, **more: str) -> str:
    """This page's address, with the next cursor; whoever gets it sees the list, so the wish to jump is left out."""
    query = {name: value for name, value in request.GET.items() if name not in ("after", "jump") and value}
    return "?" + urlencode(query | more)


def thumbnail(attempt: Attempt) -> str:
    """The front view, where there is one."""
    return picture_url(attempt, "front", small=True) if "front" in attempt.view_names else ""
