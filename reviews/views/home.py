"""Home: what waits, the two large actions, my day, alarms. And the help."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from reviews import alarms, keymap, reports
from reviews.models import Dataset, Mode
from reviews.models.preferences import own_keys
from reviews.views.access import login_required


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """One bar per dataset, and where to go on."""
    datasets = list(Dataset.objects.visible_to(request.user))
    mine = {
        mode: set(Dataset.objects.open_to(request.user, mode).values_list("pk", flat=True)) for mode in Mode
    }
    stands = reports.standing(datasets)
    rounded = set(Dataset.objects.kept_back_from(request.user).values_list("pk", flat=True))
    rows = [
        {
            "dataset": dataset,
            "stand": stands[dataset.pk],
            "rounded": dataset.pk in rounded,
            "left": reports.left(request.user, dataset, Mode.VERIFY)
            if dataset.pk in rounded
            else stands[dataset.pk].verify,
            "visual_left": reports.left(request.user, dataset, Mode.VISUAL)
            if dataset.pk in rounded
            else stands[dataset.pk].visual,
            "verify": dataset.pk in mine[Mode.VERIFY],
            "visual": dataset.pk in mine[Mode.VISUAL],
        }
        for dataset in datasets
    ]
    context = {
        "section": "home",
        "rows": rows,
        "day": reports.my_day(request.user),
        "ending": [token for token in request.user.api_tokens.working() if token.ends_soon],
        "alarms": alarms.alarms(request.user, datasets),
        "practice": reports.practice_counts([d for d in datasets if d.pk in mine[Mode.PRACTICE]]),
    }
    return render(request, "reviews/home.html", context)


@login_required
@require_GET
def help_page(request: HttpRequest) -> HttpResponse:
    """The keys and the classes."""
    return render(request, "reviews/help.html", {"shortcuts": keymap.rows(own_keys(request.user))})
