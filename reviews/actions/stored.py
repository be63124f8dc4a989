"""The files behind scans and attempts, and the stamps by which they are known again."""

from functools import partial

from inference.opening import stamp_of
from inference.volumes import VolumeError
from reviews.actions.core import FileChanged
from reviews.models import Attempt, Scan
from reviews.stored_files import StoredFile


class Unread(Exception):
    """A file bears another stamp: it must be read before more can be said, and not within a transaction."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(f"the defaced file of attempt {attempt.pk} bears another stamp")
        self.attempt = attempt


def original_of(scan: Scan) -> StoredFile:
    """The original that is defaced; only for a scan that has one."""
    return StoredFile(
        scan.original_path,
        scan.source_root,
        scan.original_hash,
        scan.original_stamp,
        partial(renew_original, scan_id=scan.pk, seen=scan.original_stamp),
    )


def output_of(attempt: Attempt) -> StoredFile:
    """The defaced file of an attempt."""
    return StoredFile(
        attempt.output_path,
        attempt.output_root,
        attempt.output_sha256,
        attempt.output_stamp,
        partial(renew_output, attempt_id=attempt.pk, seen=attempt.output_stamp),
    )


def require_output(attempt: Attempt, read: str = "") -> None:
    """Refuse where the defaced file is not the one that was taken in; `read` is the stamp it was just read under.

    Raises Unread where only reading it tells.
    """
    try:
        found = output_of(attempt).seen()
    except VolumeError as error:
        raise FileChanged(error.reason) from error
    if found not in (attempt.output_stamp, read):
        raise Unread(attempt)


def read_output(attempt: Attempt) -> str:
    """Read the defaced file; the stamp under which it holds what was taken in."""
    try:
        with output_of(attempt).open() as file:
            return stamp_of(file, own=True)
    except VolumeError as error:
        raise FileChanged(error.reason) from error


def renew_original(stamp: str, *, scan_id: int, seen: str) -> bool:
    """The same content was found under another stamp; no event, for nothing that counts has changed."""
    return Scan.objects.filter(pk=scan_id, original_stamp=seen).update(original_stamp=stamp) == 1


def renew_output(stamp: str, *, attempt_id: int, seen: str) -> bool:
    """As `renew_original`, for a defaced file."""
    return Attempt.objects.filter(pk=attempt_id, output_stamp=seen).update(output_stamp=stamp) == 1
