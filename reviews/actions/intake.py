"""How a source volume becomes a scan with its first attempt, once."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from django.db import IntegrityError, transaction

from reviews.actions.core import Refused, advance, born, record
from reviews.escalation import STANDARD
from reviews.models import Attempt, Dataset, Scan
from reviews.states import RETRY_EVENT, Event, Status

EXTERNAL = "external"
IDENTITY = ("name", "subject", "session", "acquisition", "run", "suffix")


@dataclass(frozen=True)
class Source:
    """One file to take in. Paths are absolute, without links; hashes SHA-256; shape in voxels, zooms in mm.

    `original_path` is what is defaced again from; empty where only a defaced file is known. `defaced_path` is
    what an external tool made of it; empty where the file is an original still to be defaced. `root` and
    `defaced_root` are the folders they were taken in from; empty for the data folder.
    """

    path: str
    content_hash: str
    name: str
    subject: str
    suffix: str
    session: str = ""
    acquisition: str = ""
    run: str = ""
    original_path: str = ""
    original_hash: str = ""
    original_stamp: str = ""
    defaced_path: str = ""
    defaced_hash: str = ""
    defaced_stamp: str = ""
    root: str = ""
    defaced_root: str = ""
    stamp: str = ""
    shape: Sequence[int] = ()
    zooms: Sequence[float] = ()

    @property
    def start(self) -> Status:
        """Where its first attempt begins."""
        return Status.TO_RENDER if self.defaced_path else Status.TO_DEFACE


@dataclass(frozen=True)
class Taken:
    """What became of one source: 'new', 'known', 'repaired' or 'another attempt'."""

    outcome: str
    attempt: Attempt


def register_scan(*, actor, dataset: Dataset, source: Source) -> Taken:
    """Take one source in; the same content twice in a dataset is one scan. Repairs an earlier broken file."""
    return _once(lambda: _register(actor, dataset, source))


def register_broken(*, actor, dataset: Dataset, source: Source, code: str, text: str) -> Taken:
    """A file that cannot be read: a scan whose attempt stands in ERROR, for people to see."""
    return _once(lambda: _register_broken(actor, dataset, source, code, text))


def _once(register: Callable[[], Taken]) -> Taken:
    try:
        with transaction.atomic():
            return register()
    except IntegrityError:
        with transaction.atomic():
            return register()  # somebody else was first: it is known now


def _register_broken(actor, dataset: Dataset, source: Source, code: str, text: str) -> Taken:
    earlier = _broken_before(dataset, source)
    if earlier is not None and _stands(earlier, code, text):
        return Taken("known", earlier)
    if earlier is None:
        scan = _new_scan(dataset, source)
        earlier = _new_attempt(dataset, scan, source, Status.TO_RENDER, actor, wake=False)
    else:
        _retry_as(earlier, Status.TO_RENDER, actor)
    changes = {"error_from": Status.TO_RENDER.value, "error_code": code, "error_text": text}
    return Taken("new", advance(earlier, Event.BROKE, actor=actor, noted={"code": code}, **changes))


def _register(actor, dataset: Dataset, source: Source) -> Taken:
    scan = Scan.objects.filter(dataset=dataset, content_hash=source.content_hash).first()
    broken = _broken_at(dataset, source.path)
    if scan is None and broken is not None:
        return _repair(actor, broken, source)
    if broken is not None:
        advance(broken, Event.WITHDRAWN, actor=actor)
    if scan is None:
        return Taken("new", _new_attempt(dataset, _new_scan(dataset, source), source, source.start, actor))
    return _known(actor, dataset, scan, source)


def _known(actor, dataset: Dataset, scan: Scan, source: Source) -> Taken:
    if scan.source_path == source.path and scan.source_stamp != source.stamp:
        Scan.objects.filter(pk=scan.pk).update(source_stamp=source.stamp)
    latest = scan.attempts.select_related("scan", "dataset").order_by("-number").first()
    if not source.defaced_hash or scan.attempts.filter(output_sha256=source.defaced_hash).exists():
        return Taken("known", latest)
    if latest.state not in (Status.NEEDS_PERSON, Status.ERROR, Status.WITHDRAWN):
        raise Refused(
            f"another defaced file of this scan is under review (attempt {latest.number}, "
            f"{latest.state.label.lower()}); a new one is taken once that has failed"
        )
    return Taken(
        "another attempt", _new_attempt(dataset, scan, source, source.start, actor, latest.number + 1)
    )


def _repair(actor, broken: Attempt, source: Source) -> Taken:
    """The file at this path was unreadable and is readable now."""
    scan = broken.scan
    before, after = {"content": scan.content_hash}, {"content": source.content_hash}
    for name, value in _scan_fields(source).items():
        setattr(scan, name, value)
    scan.save()
    record(broken, "file_repaired", actor=actor, before=before, after=after)
    _retry_as(broken, source.start, actor, **_attempt_fields(broken.dataset, source))
    return Taken("repaired", broken)


def _retry_as(attempt: Attempt, status: Status, actor, **changes) -> None:
    cleared = {"error_code": "", "error_text": "", "error_from": ""}
    advance(attempt, RETRY_EVENT[status], actor=actor, **cleared, **changes)


def _broken_at(dataset: Dataset, path: str) -> Attempt | None:
    """The attempt of a file at this path that could not be read when it was taken in."""
    found = Attempt.objects.select_related("scan", "dataset").filter(
        scan__dataset=dataset, scan__source_path=path, scan__shape=[], number=1, status=Status.ERROR
    )
    return found.first()


def _broken_before(dataset: Dataset, source: Source) -> Attempt | None:
    """The attempt of this unreadable file, wherever it stands: a manager may have withdrawn it. Locked."""
    found = Attempt.objects.select_related("scan", "dataset").filter(
        scan__dataset=dataset, scan__content_hash=source.content_hash, number=1
    )
    return found.select_for_update(of=("self",)).first()


def _stands(attempt: Attempt, code: str, text: str) -> bool:
    """Whether there is nothing to add: it is in ERROR for this reason, or people moved it on."""
    return attempt.state is not Status.ERROR or (attempt.error_code, attempt.error_text) == (code, text)


def _new_scan(dataset: Dataset, source: Source) -> Scan:
    return Scan.objects.create(dataset=dataset, **_scan_fields(source))


def _scan_fields(source: Source) -> dict:
    fields = {name: value for name, value in asdict(source).items() if name in IDENTITY}
    return fields | {
        "content_hash": source.content_hash,
        "source_path": source.path,
        "source_root": source.root,
        "original_path": source.original_path,
        "original_hash": source.original_hash,
        "original_stamp": source.original_stamp,
        "source_stamp": source.stamp,
        "shape": list(source.shape),
        "zooms": list(source.zooms),
    }


def _attempt_fields(dataset: Dataset, source: Source) -> dict:
    if not source.defaced_path:
        return {"engine": dataset.engine, "plan": STANDARD}
    return {
        "engine": EXTERNAL,
        "output_path": source.defaced_path,
        "output_root": source.defaced_root,
        "output_sha256": source.defaced_hash,
        "output_stamp": source.defaced_stamp,
    }


def _new_attempt(
    dataset: Dataset, scan: Scan, source: Source, status: Status, actor, number: int = 1, *, wake: bool = True
) -> Attempt:
    attempt = Attempt.objects.create(
        scan=scan, dataset=dataset, number=number, status=status, **_attempt_fields(dataset, source)
    )
    if wake:
        born(attempt, actor=actor)
    return attempt
