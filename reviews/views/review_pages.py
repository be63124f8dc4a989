"""The pages where people look: verification, visual QC, practice. The scripts do the rest."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from reviews import keymap, originals
from reviews.models import Attempt, Dataset, Mode, Verdict
from reviews.models.decisions import CLASS_LABELS, REASON_FLAGS
from reviews.models.preferences import own_keys
from reviews.templatetags.qc import LETTERS
from reviews.views.access import get_attempt, get_judged, get_queue, login_required


@login_required
@require_GET
def verify(request: HttpRequest, slug: str) -> HttpResponse:
    """The grid of confident passes."""
    dataset = get_queue(request.user, slug, Mode.VERIFY)
    return review_page(request, "reviews/verify.html", dataset, Mode.VERIFY)


@login_required
@require_GET
def visual(request: HttpRequest, slug: str) -> HttpResponse:
    """One referred attempt after the other."""
    dataset = get_queue(request.user, slug, Mode.VISUAL)
    return review_page(request, "reviews/visual.html", dataset, Mode.VISUAL)


@login_required
@require_GET
def visual_one(request: HttpRequest, pk: int) -> HttpResponse:
    """One chosen attempt first, then the queue."""
    attempt = get_attempt(request.user, pk)
    dataset = get_judged(request.user, attempt.dataset.slug, Mode.VISUAL)
    return review_page(request, "reviews/visual.html", dataset, Mode.VISUAL, first=attempt)


@login_required
@require_GET
def practice(request: HttpRequest, slug: str) -> HttpResponse:
    """Known cases with feedback; nothing in it changes a scan."""
    dataset = get_queue(request.user, slug, Mode.PRACTICE)
    return review_page(request, "reviews/visual.html", dataset, Mode.PRACTICE)


def review_page(
    request: HttpRequest, template: str, dataset: Dataset, mode: str, first: Attempt | None = None
) -> HttpResponse:
    """The shell of a review page with what its script needs to know."""
    page = keymap.VERIFY if mode == Mode.VERIFY else keymap.VISUAL
    rights = originals.rights_of(request.user, dataset.pk)
    context = {
        "dataset": dataset,
        "mode": mode,
        "mode_words": Mode(mode).label,
        "reasons": REASON_FLAGS,
        "shortcuts": keymap.rows(own_keys(request.user), page),
        "sees_originals": rights.sees,
        "config": config(request.user, dataset, mode, first)
        | {"closed": "" if rights.sees else originals.CLOSED},
    }
    response = render(request, template, context)
    response["Cache-Control"] = "private, no-store"
    return response


def config(user, dataset: Dataset, mode: str, first: Attempt | None) -> dict:
    """Addresses, keys and limits for the page's script."""
    items = reverse("review-items", args=[dataset.slug, mode])
    return {
        "mode": mode,
        "owner": user.pk,
        "keys": keymap.merged(own_keys(user)),
        "marks": marks(),
        "reasons": list(REASON_FLAGS),
        "min_exposure_ms": dataset.min_exposure_ms,
        "lease_seconds": dataset.lease_seconds,
        "made_today": made_today(user, dataset, mode),
        "rounded": mode == Mode.VERIFY
        and Dataset.objects.kept_back_from(user).filter(pk=dataset.pk).exists(),
        "urls": {
            "items": items,
            "first": reverse("review-one", args=[first.pk]) if first else "",
            "verdicts": reverse("review-verdicts"),
            "undo": reverse("review-undo", args=[dataset.slug, mode]),
            "pictures": reverse("review-pictures"),
            "renew": reverse("review-renew"),
            "release": reverse("review-release"),
            "practise": reverse("review-practise"),
        },
    }


def marks() -> dict[str, dict[str, str]]:
    """Letter and words of each mark."""
    classes = {name: {"letter": LETTERS[name], "words": words} for name, words in CLASS_LABELS.items()}
    return classes | {"unsure": {"letter": "U", "words": "Unsure, to another reviewer"}}


def made_today(user, dataset: Dataset, mode: str) -> int:
    """Standing verdicts of this person in this queue since midnight UTC."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    mine = Verdict.objects.standing().by(user).filter(created_at__gte=midnight, mode=mode)
    return mine.filter(attempt__dataset=dataset).count()
