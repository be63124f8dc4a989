"""A person's own page: shortcuts, log-in, what they may do where."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from reviews import keymap
from reviews.models import Membership
from reviews.models.preferences import Preference, own_keys
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
    context = {"section": "account", "shortcuts": keymap.rows(keys), "memberships": memberships}
    return render(request, "reviews/account.html", context)
