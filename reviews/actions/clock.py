"""One clock for each person: every second they can have looked is counted once, over all tabs, requests and modes."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from reviews.actions.core import TooEarly
from reviews.models import SpentTime

MOST_SPANS = 32
MOST_AHEAD_MS = 60_000
PRACTICE_MS = 3600 * 1000
Spans = list[list[int]]  # [start, end) in milliseconds since 1970, in order, never touching


@dataclass(frozen=True)
class Counted:
    """What of a claim the server's clock allows, in milliseconds; this is what is stored."""

    exposure_ms: int = 0
    active_ms: int = 0


def spend(*, actor, since: datetime, exposure_ms: int, active_ms: int, minimum_ms: int = 0) -> Counted:
    """Take what was claimed out of the person's own time since `since`; refuse where the minimum is not there.

    Call it in the verdict's transaction: the person's row stays locked until that ends, and a refusal spends nothing.
    """
    if not (exposure_ms or active_ms or minimum_ms):
        return Counted()
    spent = locked(actor)
    start, end = milliseconds(since), milliseconds(timezone.now())
    exposure, shown = taken_from(spent.exposure, start, end, exposure_ms)
    if shown < minimum_ms:
        raise TooEarly(minimum_ms - shown)
    active, worked = taken_from(spent.active, start, end, active_ms)
    SpentTime.objects.filter(pk=spent.pk).update(exposure=exposure, active=active)
    return Counted(shown, worked)


def spend_practising(*, actor, active_ms: int) -> int:
    """The same for practice, where nothing is lent: since the cases were handed out, an hour at most."""
    spent = locked(actor)
    if spent.practising_since is None:
        return 0
    end = milliseconds(timezone.now())
    start = max(milliseconds(spent.practising_since), end - PRACTICE_MS)
    active, worked = taken_from(spent.active, start, end, active_ms)
    SpentTime.objects.filter(pk=spent.pk).update(active=active)
    return worked


def hand_out_practice(*, actor) -> None:
    """Note when practice cases were handed out; cases fetched ahead within the hour change nothing."""
    spent, now = locked(actor), timezone.now()
    since = spent.practising_since
    if since is None or not 0 <= milliseconds(now) - milliseconds(since) <= PRACTICE_MS:
        SpentTime.objects.filter(pk=spent.pk).update(practising_since=now)


def locked(actor) -> SpentTime:
    """The person's row; whoever else spends this person's time waits until the transaction ends."""
    return SpentTime.objects.select_for_update().get_or_create(user=actor)[0]


def taken_from(busy: Spans, start: int, end: int, wanted: int, most: int = MOST_SPANS) -> tuple[Spans, int]:
    """Use up to `wanted` of what is free in [start, end), the earliest first; the new spans and how much it was.

    The earliest first leaves the most for what was lent later, whatever order verdicts arrive in. Beyond `most`
    spans the oldest gap counts as spent.
    """
    busy = without_future(busy, end)
    used, left, at = [], wanted, start
    for first, last in [*busy, [end, end]]:
        if left and at < first:
            got = min(left, first - at)
            used.append([at, at + got])
            left -= got
        at = max(at, last)
    spans = joined(busy + used)
    while len(spans) > most:
        spans[:2] = [[spans[0][0], spans[1][1]]]
    return spans, wanted - left


def without_future(busy: Spans, end: int) -> Spans:
    """A clock that went far back makes what lies ahead of it worthless; a little ahead is another server's clock."""
    if not busy or busy[-1][1] <= end + MOST_AHEAD_MS:
        return busy
    return [[first, min(last, end)] for first, last in busy if first < end]


def joined(spans: Spans) -> Spans:
    """In order, with those that touch made one."""
    result: Spans = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1]:
            result[-1][1] = max(result[-1][1], last)
        else:
            result.append([first, last])
    return result


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return int(moment.timestamp() * 1000)
