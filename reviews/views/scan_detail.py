"""The life of one scan, and what a manager can do about an attempt."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from reviews import actions, audit, originals
from reviews.escalation import LADDERS, STANDARD
from reviews.forms import KnownForm
from reviews.models import Attempt, AuditEvent, Dataset, KnownCase, Mode, Referral, Scan, Verdict
from reviews.states import Status
from reviews.views import review_items
from reviews.views.access import get_attempt, get_scan, login_required
from reviews.views.pictures import opinion_is_open, views_of

SHOWN_VIEWS = ("front", "oblique_left", "oblique_right", "edge", "sagittal_mid")
PLANS = [STANDARD, *dict.fromkeys(plan for ladder in LADDERS.values() for plan in ladder)]


@login_required
@require_GET
def life(request: HttpRequest, pk: int) -> HttpResponse:
    """Attempts side by side, what changed between them, every event."""
    scan = get_scan(request.user, pk)
    attempts = list(scan.attempts.select_related("dataset").order_by("number"))
    for attempt in attempts:
        attempt.scan = scan
    here = Dataset.objects.filter(pk=scan.dataset_id)
    manages, freely = here.managed_by(request.user).exists(), here.seen_freely_by(request.user).exists()
    rights = originals.rights_of(request.user, scan.dataset_id)
    context = {
        "section": "scans",
        "scan": scan,
        "rights": rights,
        "original": review_items.volumes(attempts[0], rights).get("before") if attempts else "",
        "columns": [
            column(attempt, before, request.user, freely) for before, attempt in with_previous(attempts)
        ],
        "offered": offered(request.user, attempts, manages),
        "events": events_of(scan, attempts, freely),
        "manages": manages,
        "freely": freely,
        "plans": PLANS,
        "known_form": KnownForm(),
        "neighbours": neighbours(request.user, scan),
    }
    return render(request, "reviews/scan.html", context)


def with_previous(attempts: list[Attempt]) -> list[tuple[Attempt | None, Attempt]]:
    """Each attempt with the one before it."""
    return list(zip([None, *attempts], attempts, strict=False))


def column(attempt: Attempt, before: Attempt | None, user, freely: bool) -> dict:
    """One attempt as the page shows it; `freely` for who never judges here: answers to known cases too."""
    views = views_of(attempt)  # none of an original: this page is for looking things up
    verdicts = attempt.verdicts.all() if freely else attempt.verdicts.filter(on_known_case=False)
    return {
        "attempt": attempt,
        "views": [view for view in views if view["name"] in SHOWN_VIEWS],
        "all_views": views,
        "measurements": review_items.measurements(attempt),
        "verdicts": verdicts.select_related("user", "retracted_by").order_by("pk"),
        "opinion": review_items.opinion(attempt) if opinion_is_open(user, attempt) else None,
        "changes": changes(before, attempt) if before else [],
        "answers": known_answers(attempt),
        "known": KnownCase.objects.filter(attempt=attempt).first(),
        "retryable": attempt.state is Status.ERROR,
        "needs_person": attempt.state is Status.NEEDS_PERSON,
    }


def known_answers(attempt: Attempt) -> list[tuple[Verdict, bool]]:
    """What was said of it as a hidden known case, each with whether it counts: the first answer, and any pass."""
    first = set(Verdict.objects.first_answers().filter(attempt=attempt).values_list("pk", flat=True))
    said = attempt.verdicts.filter(on_known_case=True, retracts__isnull=True).exclude(mode=Mode.PRACTICE)
    return [
        (verdict, verdict.pk in first or verdict.klass == "pass")
        for verdict in said.select_related("user").order_by("pk")
    ]


def offered(user, attempts: list[Attempt], manages: bool) -> set[int]:
    """The attempts this person may choose to judge now; see lease_one: managers may choose more."""
    waiting = [attempt for attempt in attempts if attempt.judgeable]
    if manages or not waiting:
        return {attempt.pk for attempt in waiting}
    here = Dataset.objects.filter(pk=waiting[0].dataset_id)
    closed = {mode for mode in (Mode.VERIFY, Mode.VISUAL) if not here.open_to(user, mode).exists()}
    doubted = set(
        Referral.objects.filter(user_id=user.pk, attempt__in=waiting).values_list("attempt", flat=True)
    )
    open_here = [attempt for attempt in waiting if attempt.state is not Status.VERIFY]
    return {a.pk for a in open_here if a.pk not in doubted and not closed & actions.queues_of(a)}


def changes(before: Attempt, attempt: Attempt) -> list[dict]:
    """What the second run did otherwise: plan, engine, parameters."""
    old = {"plan": before.plan, "engine": before.engine, "version": before.engine_version} | before.parameters
    new = {
        "plan": attempt.plan,
        "engine": attempt.engine,
        "version": attempt.engine_version,
    } | attempt.parameters
    names = list(dict.fromkeys([*old, *new]))
    return [
        {"name": name, "old": old.get(name, "–"), "new": new.get(name, "–")}
        for name in names
        if old.get(name) != new.get(name) and (old.get(name) or new.get(name))
    ]


def events_of(scan: Scan, attempts: list[Attempt], freely: bool = False) -> list[AuditEvent]:
    """The scan's part of the trail; hidden checks and practice stay hidden from everybody who may judge here."""
    of_attempts = AuditEvent.objects.filter(object_kind="attempt", object_id__in=[a.pk for a in attempts])
    of_scan = AuditEvent.objects.filter(object_kind="scan", object_id=scan.pk)
    shown = of_attempts | of_scan
    if not freely:
        shown = shown.exclude(audit.ON_KNOWN_CASES)
    return audit.named(list(shown.order_by("seq")))


def neighbours(user, scan: Scan) -> dict:
    """The scans before and after this one in its dataset."""
    same = Scan.objects.visible_to(user).filter(dataset_id=scan.dataset_id)
    return {
        "before": same.filter(pk__lt=scan.pk).order_by("-pk").values_list("pk", flat=True).first(),
        "after": same.filter(pk__gt=scan.pk).order_by("pk").values_list("pk", flat=True).first(),
    }


def _do(request: HttpRequest, pk: int, action, words: str, **arguments) -> HttpResponse:
    """Run one action on an attempt and go back to its scan, saying what happened."""
    attempt = get_attempt(request.user, pk)
    try:
        action(actor=request.user, attempt_id=pk, **arguments)
    except actions.Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, words)
    if request.POST.get("next_page") == "failures":
        return redirect("failures")
    return redirect("scan", attempt.scan_id)


@login_required
@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Try an attempt in ERROR again."""
    return _do(request, pk, actions.retry, "It is tried again.")


@login_required
@require_POST
def again(request: HttpRequest, pk: int) -> HttpResponse:
    """Order another defacing where the plans were exhausted."""
    plan = request.POST.get("plan", "")
    if plan not in PLANS:
        messages.error(request, f"There is no plan '{plan}'.")
        return redirect("scan", get_attempt(request.user, pk).scan_id)
    return _do(request, pk, actions.order_redeface, "Another defacing is ordered.", plan=plan)


@login_required
@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """Set an attempt aside."""
    return _do(request, pk, actions.withdraw, "The attempt is withdrawn.")


@login_required
@require_POST
def known(request: HttpRequest, pk: int) -> HttpResponse:
    """Declare the true class of an attempt, or take the declaration back."""
    if request.POST.get("drop"):
        return _do(request, pk, actions.drop_known_case, "It is no known case any more.")
    form = KnownForm(request.POST)
    if not form.is_valid():
        messages.error(request, "A known case needs its true class.")
        return redirect("scan", get_attempt(request.user, pk).scan_id)
    return _do(request, pk, actions.declare_known_case, "It is a known case now.", **form.cleaned_data)
