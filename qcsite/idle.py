"""A log-in ends when nobody has been there for a while, and after its full length whoever is there."""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse

SEEN, BEGUN = "person_seen_at", "begun_at"  # kept in the session, in seconds
NOTED_EVERY = 60  # a person at work writes to the session once a minute
UNATTENDED = "X-Unattended"  # what a page asks by itself, for instance to send again what was kept


def end_idle_sessions(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Log out who sent no request of their own for QC_IDLE_MINUTES; what a page keeps waits there for the next log-in."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            attend(request, int(time.time()))
        return answer(request)

    return middleware


def attend(request: HttpRequest, now: int) -> None:
    """End the session, or note that a person is there."""
    session = request.session
    begun, seen = session.get(BEGUN, now), session.get(SEEN, now)
    if now - seen >= 60 * settings.IDLE_MINUTES or now - begun >= settings.SESSION_COOKIE_AGE:
        logout(request)
        return
    by_person = UNATTENDED not in request.headers
    ahead = seen > now + NOTED_EVERY  # noted by a clock that went wrong
    if SEEN not in session or ahead or (by_person and now - seen >= NOTED_EVERY):
        session[BEGUN], session[SEEN] = min(begun, now), now
