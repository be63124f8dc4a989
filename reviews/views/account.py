"""A person's own page: shortcuts, log-in, keys to the API, what they may do where."""

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from reviews import actions, keymap
from reviews.actions.keys import USUAL_DAYS
from reviews.models import ApiToken, Membership
from reviews.models.people import has_use_for_keys
from reviews.models.preferences import Preference, own_keys
from reviews.plausible import whole_number
from reviews.views.access import login_required


@login_required
@require_http_methods(["GET", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Show and change one's own shortcuts."""
    keys = own_keys(request.user)
    if request.method == "POST":
        keys = {name: request.POST.get(f"key-{name}", "").strip() for name in keymap.SHORTCUTS}
        keys = {name: key.lower() if len(key) == 1 else key for name, key in keys.items() if key}
        problem = keymap.problem_with(keys)
        if problem is None:
            Preference.objects.update_or_create(user=request.user, defaults={"keys": keys})
            messages.success(request, "Your keys are saved.")
            return redirect("account")
        messages.error(request, problem)
    memberships = Membership.objects.filter(user_id=request.user.pk).select_related("dataset")
    tokens = ApiToken.objects.working().filter(user_id=request.user.pk).order_by("pk")
    context = {
        "section": "account",
        "shortcuts": keymap.rows(keys),
        "memberships": memberships,
        "tokens": tokens,
        "may_have_keys": has_use_for_keys(request.user),
        "usual_days": min(USUAL_DAYS, settings.API_KEY_MOST_DAYS),
        "most_days": settings.API_KEY_MOST_DAYS,
    }
    return render(request, "reviews/account.html", context)


@login_required
@require_POST
def new_token(request: HttpRequest) -> HttpResponse:
    """A key to the API, shown on this answer and never again."""
    if not has_use_for_keys(request.user):
        raise PermissionDenied
    name = request.POST.get("name", "").strip()[:64]
    if not name:
        messages.error(request, "Say what the key is for.")
        return redirect("account")
    days = whole_number(request.POST.get("days", ""))
    try:
        raw = actions.issue_token(actor=request.user, user=request.user, name=name, days=days)
    except actions.Refused as error:
        messages.error(request, str(error))
        return redirect("account")
    answer = render(request, "reviews/token.html", {"section": "account", "name": name, "raw": raw})
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_POST
def end_token(request: HttpRequest, pk: int) -> HttpResponse:
    """One of the person's own keys stops working."""
    token = get_object_or_404(ApiToken, pk=pk, user_id=request.user.pk)
    actions.revoke_token(actor=request.user, token=token)
    messages.success(request, f"The key “{token.name}” no longer works.")
    return redirect("account")
