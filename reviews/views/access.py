"""Who may see what: each helper returns the object or ends in 404."""

import functools
from collections.abc import Callable

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404

from reviews.actions import Refused
from reviews.models import Attempt, Dataset, Given, Mode, Scan, Verdict
from reviews.models.people import belongs
from reviews.plausible import read_json

MOST_JSON_BYTES = 1_000_000
PICTURE_FIELDS = ("views_dir", "view_names", "render_version", "output_sha256", "status", "dataset_id")


def json_view(view: Callable) -> Callable:
    """POST of a JSON object by a person who is logged in; refusals become JSON with their reason."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args, **kwargs) -> JsonResponse:
        if not request.user.is_authenticated:
            return problem(
                401, "logged_out", "You are logged out. Log in again in another tab; verdicts are kept."
            )
        if request.method != "POST":
            return problem(405, "method", "This address takes POST only.")
        try:
            return view(request, body_of(request), *args, **kwargs)
        except ValueError as error:
            return problem(400, "bad_request", str(error))
        except Refused as error:
            return problem(409, error.code, str(error))

    wrapped.login_required = False  # answers 401 itself instead of a redirect
    return wrapped


def members_only(view: Callable) -> Callable:
    """A page of the whole site: for those with a role in some dataset or a permission of the site."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args, **kwargs):
        if not belongs(request.user):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return login_required(wrapped)


def body_of(request: HttpRequest) -> dict:
    """The JSON object in the body; ValueError for anything else."""
    if len(request.body) > MOST_JSON_BYTES:
        raise ValueError("The request is too large.")
    body = read_json(request.body or b"{}")
    if not isinstance(body, dict):
        raise ValueError("The request is not a JSON object.")
    return body


def problem(status: int, code: str, message: str) -> JsonResponse:
    """A refusal that the page can show as it is."""
    return JsonResponse({"code": code, "message": message}, status=status)


def words(values: object, most: int = 500) -> list[str]:
    """A list of handles sent by a page."""
    if not isinstance(values, list) or len(values) > most:
        raise ValueError(f"A list of at most {most} handles is needed.")
    if not all(isinstance(value, str) for value in values):
        raise ValueError("A handle is a word.")
    return values


def number(value: object, low: int, high: int) -> int:
    """A whole number sent by a page, within its limits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"A number from {low} to {high} is needed.")
    return int(value)


def get_dataset(user, slug: str) -> Dataset:
    """A dataset the user is a member of."""
    return get_object_or_404(Dataset.objects.visible_to(user), slug=slug)


def get_managed(user, slug: str) -> Dataset:
    """A dataset the user manages."""
    return get_object_or_404(Dataset.objects.managed_by(user), slug=slug)


def get_audited(user, slug: str) -> Dataset:
    """A dataset whose exports are the user's to read."""
    return get_object_or_404(Dataset.objects.audited_by(user), slug=slug)


def get_queue(user, slug: str, mode: str) -> Dataset:
    """A dataset whose queue of this mode is open to the user; practice is for those who judge."""
    if mode not in Mode.values:
        raise Http404
    return get_object_or_404(Dataset.objects.open_to(user, mode), slug=slug)


def get_judged(user, slug: str, mode: str) -> Dataset:
    """A dataset whose queue of this mode is open to the user, or one they manage: managers judge chosen scans."""
    managed = Dataset.objects.managed_by(user) if mode in Mode.values else Dataset.objects.none()
    return managed.filter(slug=slug).first() or get_queue(user, slug, mode)


def get_attempt(user, pk: int) -> Attempt:
    """An attempt of a dataset the user is a member of, with its scan and dataset."""
    rows = Attempt.objects.visible_to(user).select_related("scan", "dataset")
    return get_object_or_404(rows, pk=pk)


def get_pictured(user, pk: int) -> Attempt:
    """An attempt with no more than its pictures need: this is asked many times a page."""
    return get_object_or_404(Attempt.objects.visible_to(user).only(*PICTURE_FIELDS), pk=pk)


def get_many_given(user, handles: list[str]) -> dict[str, Given]:
    """By handle: what this person was given and holds now, has judged, or practises on; others stand for nothing."""
    judged = Verdict.objects.filter(user_id=user.pk, attempt=OuterRef("attempt"))
    at_hand = Q(attempt__lease__user_id=user.pk) | Q(mode=Mode.PRACTICE, attempt__known_case__practice=True)
    rows = Given.objects.filter(at_hand | Exists(judged), user_id=user.pk, handle__in=handles)
    rows = rows.filter(attempt__dataset__in=Dataset.objects.visible_to(user))
    return {row.handle: row for row in rows.select_related("attempt__scan", "attempt__dataset")}


def get_given(user, name: str) -> Given:
    """What stands for one handle, or for `HANDLE.2`: attempt 2 of the same scan, which verification never shows."""
    handle, _, other = name.partition(".")
    row = get_many_given(user, [handle]).get(handle)
    if row is None:
        raise Http404("This scan is not reserved for you.")
    if other:
        earlier = Attempt.objects.filter(scan=row.attempt.scan_id, number__lt=row.attempt.number)
        wanted = Q(number=int(other)) if other.isdecimal() and len(other) < 5 else Q(pk__in=[])
        if row.mode == Mode.VERIFY:
            raise Http404("There is no such attempt here.")
        row.attempt = get_object_or_404(earlier.select_related("scan", "dataset"), wanted)
    return row


def get_scan(user, pk: int) -> Scan:
    """A scan of a dataset the user is a member of."""
    return get_object_or_404(Scan.objects.visible_to(user).select_related("dataset"), pk=pk)


__all__ = [
    "get_attempt",
    "get_audited",
    "get_dataset",
    "get_given",
    "get_managed",
    "get_many_given",
    "get_pictured",
    "get_queue",
    "get_scan",
    "json_view",
    "login_required",
    "members_only",
    "number",
    "problem",
    "words",
]
