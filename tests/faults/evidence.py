"""Reading what is stored once the site is stopped."""

from pathlib import Path

from inference.volumes import content_hash
from tests.faults.counting import Evidence, Happened, Row, Stood
from tests.faults.ledger import Ledger


def collect(ledger: Ledger) -> Evidence:
    """Everything that the counting compares."""
    return Evidence(
        told=list(ledger.told.values()),
        undone=ledger.undone,
        taken=ledger.taken,
        damages=ledger.damages,
        rows=_rows(),
        events=_events(),
        attempts=_attempts(),
        trail=_trail(),
        store=_store(),
    )


def _rows() -> list[Row]:
    from reviews.models import Verdict

    standing = set(Verdict.objects.standing().values_list("pk", flat=True))
    return [
        Row(
            pk=verdict.pk,
            user=verdict.user_id,
            nonce=verdict.nonce,
            attempt=verdict.attempt_id,
            said={"doubt": "unsure", "retraction": "undo"}.get(verdict.kind, verdict.klass),
            standing=verdict.pk in standing,
            known=verdict.on_known_case,
        )
        for verdict in Verdict.objects.exclude(mode="practice")
    ]


def _events() -> list[Happened]:
    from reviews.models import AuditEvent

    fields = ("object_id", "action", "before", "after")
    events = AuditEvent.objects.filter(object_kind="attempt").order_by("seq").values_list(*fields)
    return [
        Happened(
            pk,
            action,
            (before or {}).get("status"),
            (after or {}).get("status"),
            (after or {}).get("verdict"),
        )
        for pk, action, before, after in events
    ]


def _attempts() -> list[Stood]:
    from reviews.models import Attempt

    return [
        Stood(
            pk=attempt.pk,
            scan=attempt.scan_id,
            number=attempt.number,
            status=attempt.status,
            output=attempt.output_path,
            recorded=attempt.output_sha256,
            sha256=_sha256(attempt.output_path) if attempt.status == "passed" else "",
            files=(attempt.scan.original_path, str(attempt.views_path) if attempt.views_dir else ""),
        )
        for attempt in Attempt.objects.select_related("scan")
    ]


def _sha256(path: str) -> str:
    """Of the file as it is now; empty where there is none."""
    return content_hash(path) if Path(path).is_file() else ""


def _trail() -> list[str]:
    """What 'Check the chain' says."""
    from reviews import wholeness

    return wholeness.problems()


def _store() -> list[str]:
    """What the database says of its own file; PostgreSQL is not asked."""
    from django.db import connection

    if connection.vendor != "sqlite":
        return []
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA integrity_check")
        return [line for (line,) in cursor.fetchall() if line != "ok"]
