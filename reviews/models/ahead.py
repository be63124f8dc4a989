"""Time stamps that a clock wrote which was ahead: what is dated beyond its natural length is over."""

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

LONGEST_LEASE = timedelta(hours=1)  # what a dataset may set at most
AHEAD = timedelta(minutes=2)  # clocks of several machines may differ by less


def lease_runs(prefix: str = "") -> Q:
    """Leases that hold now; `prefix` leads to the lease."""
    now = timezone.now()
    return Q(**{f"{prefix}until__gt": now, f"{prefix}until__lte": now + LONGEST_LEASE + AHEAD})


def lease_over(prefix: str = "") -> Q:
    """Leases that have run out, or were made to run longer than any can."""
    now = timezone.now()
    return Q(**{f"{prefix}until__lte": now}) | Q(**{f"{prefix}until__gt": now + LONGEST_LEASE + AHEAD})


def silent(field: str, before) -> Q:
    """Stamped earlier than `before`, or in the future: nobody has stamped it lately."""
    return Q(**{f"{field}__lt": before}) | Q(**{f"{field}__gt": timezone.now() + AHEAD})
