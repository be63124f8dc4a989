"""What shows a head as it was before defacing, who may see it, and whether the log of it is whole.

The one place that knows: every picture, slice and volume that is sent asks here.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from reviews.models import AccessLog, Attempt, AuditEvent, Membership

REMOVED = "removed_"
LAYERS = ("before", "removed")
SLICES = ("sagittal_", "axial_", "coronal_")
SEALED = "access_logged"
COLUMNS = ("id", "user", "dataset", "attempt", "what", "how", "at")
CLOSED = "Originals are shown only to whom an administrator of the dataset gave that right."


@dataclass(frozen=True)
class Rights:
    """What a person may do with the originals of one dataset; nothing until it is said."""

    sees: bool = False
    downloads: bool = False


NONE = Rights()


def rights_of(user, dataset_id: int) -> Rights:
    """By the membership alone: no role brings it, nor being a superuser."""
    own = Membership.objects.filter(user_id=user.pk, dataset_id=dataset_id)
    found = own.values_list("sees_originals", "downloads_originals").first()
    return Rights(*found) if found else NONE


def shown_in(attempt: Attempt, view: str) -> bool:
    """Whether a picture shows anything of the original.

    A picture of slices that was made before the plain one and the one with the removed voxels were two shows both.
    """
    if view.startswith(REMOVED):
        return True
    apart = REMOVED + view in attempt.view_names
    return view.startswith(SLICES) and not apart and any(n.startswith(REMOVED) for n in attempt.view_names)


def rows(dataset_id: int, after: int = 0, last: int | None = None) -> Iterator[dict]:
    """The log of one dataset in order, from behind the row `after` (0: from the start) to the row `last`."""
    found = AccessLog.objects.filter(dataset_id=dataset_id).order_by("pk")
    if after:
        found = found.filter(pk__gt=after)
    if last is not None:
        found = found.filter(pk__lte=last)
    return found.values(*COLUMNS).iterator(chunk_size=2000)


def line(row: dict) -> str:
    """A row as it is exported and as its digest is taken."""
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n"


def seal_of(dataset_id: int, after: int, last: int) -> dict:
    """What the audit trail keeps of the rows behind `after` up to `last`: how many, which, SHA-256 of their lines."""
    digest, count = hashlib.sha256(), 0
    for row in rows(dataset_id, after, last):
        digest.update(line(row).encode())
        count += 1
    return {"after": after, "last": last, "count": count, "digest": digest.hexdigest()}


def last_sealed(dataset_id: int) -> int:
    """The row up to which the audit trail knows the log."""
    seals = AuditEvent.objects.filter(action=SEALED, dataset=dataset_id).order_by("-seq")
    return max((end_of(seal) for seal in seals.values_list("after", flat=True)[:1]), default=0)


def end_of(seal) -> int:
    """The last row that a seal speaks of; 0 where somebody wrote something else."""
    last = seal.get("last") if isinstance(seal, dict) else None
    return last if type(last) is int and 0 <= last < 1 << 63 else 0


def problems() -> list[str]:
    """Where the log is not what the audit trail says it was; nothing when it is whole."""
    ends: dict[int, int] = {}
    found = []
    seals = AuditEvent.objects.filter(action=SEALED).order_by("seq")
    for seq, dataset, seal in seals.values_list("seq", "dataset", "after"):
        start, end = ends.get(dataset, 0), end_of(seal)
        if seal != seal_of(dataset, start, end):
            found.append(f"event {seq}: the log of looks at originals was changed")
        ends[dataset] = end
    return found
