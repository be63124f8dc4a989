"""The files behind scans and attempts, and the stamps by which they are known again."""

from functools import partial

from reviews.models import Attempt, Scan
from reviews.stored_files import StoredFile


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


def renew_original(stamp: str, *, scan_id: int, seen: str) -> bool:
    """The same content was found under another stamp; no event, for nothing that counts has changed."""
    return Scan.objects.filter(pk=scan_id, original_stamp=seen).update(original_stamp=stamp) == 1


def renew_output(stamp: str, *, attempt_id: int, seen: str) -> bool:
    """As `renew_original`, for a defaced file."""
    return Attempt.objects.filter(pk=attempt_id, output_stamp=seen).update(output_stamp=stamp) == 1
