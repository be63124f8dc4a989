"""Every page needs a log-in unless it says otherwise; machines' addresses answer 401 themselves. And what nobody
can mean is answered 400 or 404 before a view sees it."""

import logging
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.core.exceptions import BadRequest
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.deprecation import MiddlewareMixin

from reviews import acting
from reviews.plausible import Implausible, names_too_much, require_text

log = logging.getLogger(__name__)

MACHINES = ("/api/", "/metrics")
FORM = "application/x-www-form-urlencoded"


class RequireLogin(LoginRequiredMiddleware):
    def process_view(self, request, view_func, view_args, view_kwargs):
        """Redirect people to the log-in; leave machines to the check at their own address."""
        if request.path.startswith(MACHINES):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)


class BodyLimit(MiddlewareMixin):
    """The first to see a request: what is too large, or of unknown size, is refused before anything of it is read."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """411 and 413; Django never reads beyond the length that is given here."""
        if request.META.get("HTTP_TRANSFER_ENCODING"):
            return self._refused(411, "Say how long the request is (Content-Length).")
        length, upload = (
            request.META.get("CONTENT_LENGTH") or "0",
            request.path_info == settings.UPLOAD_ADDRESS,
        )
        most = settings.MOST_UPLOAD_BYTES if upload else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if not length.isdecimal() or len(length) > 18:
            return self._refused(400, "The Content-Length is no number.")
        if int(length) > most:
            return self._refused(413, f"At most {most >> 20} MiB are taken here.")
        return None

    def _refused(self, status, text):
        return JsonResponse({"detail": text}, status=status)


class KeptByNobody(MiddlewareMixin):
    """No browser or proxy keeps what a view does not allow to be kept. Static files never come here."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Pages and answers hold subjects; pictures of defaced heads say themselves how long they may be kept."""
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class Plausible(MiddlewareMixin):
    """The rule for every address: what reviews/plausible.py does not let through never reaches a view."""

    def process_view(self, request: HttpRequest, view_func, view_args, view_kwargs) -> None:
        """404 for ids that no row can have, 400 for texts that no database takes."""
        if any(names_too_much(value) for value in view_kwargs.values()):
            raise Http404("There is no such number.")
        try:
            require_text([request.path, *texts_of(request.GET), *self._form(request)])
        except Implausible as error:
            raise BadRequest(str(error)) from error

    def _form(self, request):
        """Pages' forms; the interface for machines reads its bodies itself, after it knows who asks."""
        if request.path.startswith(MACHINES) or not request.content_type.startswith((FORM, "multipart/")):
            return []
        try:
            return texts_of(request.POST)
        except UnreadablePostError as error:
            raise BadRequest("The request broke off.") from error

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A number that fits no column, found by the database alone."""
        if isinstance(exception, UnreadablePostError):
            return HttpResponse("The request broke off.", status=400, content_type="text/plain")
        if not isinstance(exception, OverflowError | DataError):
            return None
        log.warning("%s: out of range", request.path, exc_info=exception)
        return HttpResponse("A value is out of range.", status=400, content_type="text/plain")


def texts_of(query) -> list[str]:
    """Names and values of a query or form."""
    return [text for name, values in query.lists() for text in (name, *values)]


def who_acts(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """What is changed while a request is answered is known to be its user's doing."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with acting.during(request):
            return answer(request)

    return middleware
