"""Looks at originals: each is checked and written down in one step, and every hour the trail gets their digest."""

from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from reviews import audit, originals
from reviews.actions.core import NotAllowed
from reviews.models import AccessLog, Attempt, AuditEvent, AuditHead, Dataset

SAME_LOOK = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def require_sight(actor, dataset_id: int, *, download: bool = False) -> None:
    """Refuse who may not see, or download, the originals of a dataset."""
    rights = originals.rights_of(actor, dataset_id)
    if not (rights.downloads if download else rights.sees):
        raise NotAllowed(originals.CLOSED)


def look_at_original(*, actor, attempt: Attempt, what: str, download: bool = False) -> None:
    """Whoever is sent something of an original is in the log first; the same again within a minute is one look."""
    require_sight(actor, attempt.dataset_id, download=download)
    how = AccessLog.How.DOWNLOADED if download else AccessLog.How.SHOWN
    now = datetime.now(UTC)
    same = AccessLog.objects.filter(user_id=actor.pk, attempt_id=attempt.pk, what=what, how=how)
    if not download and same.filter(at__gt=moment(now - SAME_LOOK), at__lte=moment(now)).exists():
        return
    AccessLog.objects.create(
        user_id=actor.pk,
        dataset_id=attempt.dataset_id,
        attempt_id=attempt.pk,
        what=what,
        how=how,
        at=moment(now),
    )


def moment(at: datetime) -> str:
    """As it is stored: UTC, so that texts sort as times do."""
    return at.isoformat(timespec="milliseconds")


def seal_looks(*, every: timedelta = HOUR) -> int:
    """Put the digest of the new rows of each dataset into the audit trail; returns the number of events."""
    newest = AuditEvent.objects.filter(action=originals.SEALED).order_by("-seq").first()
    if newest and abs(datetime.now(UTC) - datetime.fromisoformat(newest.at)) < every:
        return 0
    end = _settled()
    return sum(_seal(pk, end) for pk in Dataset.objects.order_by("pk").values_list("pk", flat=True))


@transaction.atomic
def _settled() -> int:
    """The last row below which no row can appear any more: what is being written is waited for."""
    if connection.vendor == "postgresql":  # elsewhere one transaction writes at a time
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {AccessLog._meta.db_table} IN SHARE MODE")
    return AccessLog.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _seal(dataset_id: int, end: int) -> int:
    """One event for the rows of a dataset up to `end`; 0 when there are none, or another process was first."""
    after = originals.last_sealed(dataset_id)
    mine = AccessLog.objects.filter(dataset_id=dataset_id, pk__gt=after, pk__lte=end)
    last = mine.order_by("-pk").values_list("pk", flat=True).first()
    if last is None:
        return 0
    seal = originals.seal_of(dataset_id, after, last)
    with transaction.atomic():
        AuditHead.objects.select_for_update().filter(pk=1).first()
        if originals.last_sealed(dataset_id) != after:
            return 0
        audit.append(
            actor=None,
            action=originals.SEALED,
            dataset=dataset_id,
            object_kind="access_log",
            object_id=last,
            before=None,
            after=seal,
        )
    return 1
