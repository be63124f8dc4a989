"""Who is at work: the person whose request is answered, a command, or the software itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ANONYMOUS = "anonymous"
_request: ContextVar = ContextVar("request", default=None)
_command: ContextVar[str] = ContextVar("command", default="")


@contextmanager
def during(request) -> Iterator[None]:
    """What happens inside is done by the request's user, as they are when it happens."""
    before = _request.set(request)
    try:
        yield
    finally:
        _request.reset(before)


def by_command(name: str) -> None:
    """What this process does from now on outside of requests is done by a command."""
    _command.set(name)


def now():
    """A user, 'anonymous' in a request of nobody who is logged in, 'command:NAME', or None for the software itself."""
    request = _request.get()
    if request is None:
        name = _command.get()
        return f"command:{name}"[:64] if name else None
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else ANONYMOUS
