"""What the web process does with a file that is handed in, keep its bytes, and what the job does: read it."""

import fcntl
import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Q

from inference.volumes import VolumeError
from reviews import actions, ingest
from reviews.bids import split_extension
from reviews.models import Attempt, Intake, Scan
from reviews.stored_files import data_folder

AT_ONCE = BoundedSemaphore(4)  # of the threads of one web process
EXTENSIONS = "The file's name must end in .nii, .nii.gz, .mgz or .mgh."


class Turn:
    """The right to upload now: one at a time for each user, over all processes of the site."""

    def __init__(self, user_id: int) -> None:
        self.held: int | None = None
        folder = Path(settings.DATA_DIR) / "uploads" / ".turns"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not AT_ONCE.acquire(blocking=False):
            return
        try:
            self.held = self._locked(folder / str(user_id))
        finally:
            if self.held is None:  # also where a full disk makes no file
                AT_ONCE.release()

    def _locked(self, path: Path) -> int | None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except OSError:
            os.close(handle)
            return None
        return handle

    def end(self) -> None:
        """Let the next one in."""
        if self.held is not None:
            os.close(self.held)
            self.held = None
            AT_ONCE.release()


def keep(file: UploadedFile, folder: Path) -> tuple[Path, str]:
    """The upload below `folder`, named by its content, and its SHA-256; its own name is cleaned."""
    name = clean(file.name or "")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as out:
        temporary = Path(out.name)
        try:
            for chunk in file.chunks():
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            target = folder / digest.hexdigest() / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            if not target.exists():
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return target, digest.hexdigest()


def clean(name: str) -> str:
    """A harmless file name with the extension of a volume; ValueError without one."""
    stem, extension = split_extension(re.split(r"[/\\]", name)[-1])
    if not extension:
        raise ValueError(EXTENSIONS)
    harmless = re.sub(r"[^A-Za-z0-9._-]", "_", stem).strip("._-")[:120] or "upload"
    return harmless + extension.lower()


def discard(kept: Path) -> None:
    """Remove one upload, unless a scan or another intake goes by it."""
    path = str(kept)
    used = Scan.objects.filter(Q(source_path=path) | Q(original_path=path)).exists()
    waits = Intake.objects.filter(path=path).exclude(state=Intake.State.REFUSED)
    if used or waits.exists() or Attempt.objects.filter(output_path=path).exists():
        return
    kept.unlink(missing_ok=True)
    with suppress(OSError):
        kept.parent.rmdir()


def allowed(text: str) -> Path | None:
    """A regular file below an intake folder, links resolved; anything else is not told apart."""
    try:
        found = Path(text).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    roots = [Path(root).resolve() for root in settings.INTAKE_ROOTS]
    ours = data_folder() in found.parents  # what another dataset handed in is nobody's to hand in again
    return found if not ours and found.is_file() and any(root in found.parents for root in roots) else None


# --- the job ----------------------------------------------------------------------------------------


def take_in(intake_id: int) -> bool:
    """Read one file that was handed in and register it; True when this run did it."""
    intake = actions.claim_intake(intake_id)
    if intake is None:
        return False
    line = taken(intake)
    scan = scan_of(line, intake) if line.outcome != "failed" or line.attempt_id else None
    settled = actions.settle_intake(intake, outcome=line.outcome, reason=line.reason, scan=scan)
    if settled and line.outcome == "failed" and intake.sha256:
        discard(Path(intake.path))
    return settled


def taken(intake: Intake) -> ingest.Line:
    """What becomes of it; an upload that is no volume is refused, a file in its place stays visible as broken."""
    found = candidate(intake)
    if intake.sha256:
        try:
            if ingest.opened(found.path, found).sha256 != intake.sha256:
                return ingest.Line(found.path, "failed", "it is not the file that was handed in")
        except VolumeError as error:
            return ingest.Line(found.path, "failed", error.reason)
    elif any(allowed(str(path)) != path for path in (found.path, found.key_path)):
        return ingest.Line(found.path, "failed", "it is no longer a file below an intake folder")
    return ingest.take(found, intake.dataset, actor=intake.user)


def candidate(intake: Intake) -> ingest.Candidate:
    """With its folders' names, which may say subject and session."""
    found, original = Path(intake.path), Path(intake.original_path) if intake.original_path else None
    source = original or found
    parts = source.parts[-4:] if source.parent != Path("/") else (source.name,)
    roots = () if intake.sha256 else tuple(map(Path, settings.INTAKE_ROOTS))
    return ingest.Candidate(found, parts, original, intake.defaced, roots)


def scan_of(line: ingest.Line, intake: Intake) -> Scan:
    """The scan a line is about; an unchanged file is known by its path."""
    if line.attempt_id is not None:
        return Scan.objects.get(attempts__pk=line.attempt_id)
    source = ingest.resolved(Path(intake.original_path or intake.path))
    return Scan.objects.filter(dataset=intake.dataset, source_path=str(source)).latest("pk")
