"""Taking files in: find volumes below a folder, pair them with originals, read each, register it."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from django.conf import settings

from inference.opening import stamp_of
from inference.volumes import VolumeError, bytes_of, read_volume
from reviews import actions
from reviews.bids import entities_of, pair_keys, split_extension
from reviews.models import Dataset, Scan
from reviews.stored_files import open_volume, root_of

# Looks like an image but is not a volume this software reads; silence would hide a lost scan.
FOREIGN = (".img", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".par", ".nii.bz2", ".nii.zip")
DICOM = (".dcm", ".ima")
NAME_LENGTH = 255
NOT_UTF8 = "the name is not UTF-8; rename the file or its folder"


@dataclass(frozen=True)
class Candidate:
    """A file to take in. `path` is the file found; `original` its original where one is known.

    `roots` are the folders they are taken in from; the intake folders of the site are such folders too.
    """

    path: Path
    parts: tuple[str, ...]
    original: Path | None = None
    defaced: bool = False
    roots: tuple[Path, ...] = ()

    @property
    def key_path(self) -> Path:
        """The source volume: the original of a pair, otherwise the file itself."""
        return self.original or self.path

    @property
    def source_path(self) -> Path:
        """Where the source volume lies, links resolved."""
        return resolved(self.key_path)


@dataclass(frozen=True)
class Line:
    """What became of one file: new, known, repaired, another attempt, failed or skipped, and why."""

    path: Path
    outcome: str
    reason: str = ""
    attempt_id: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", printable(self.path))


def printable(path: Path) -> Path:
    """The path with bytes that are not UTF-8 escaped (\\xfc), as screens and databases take it."""
    return Path(os.fsencode(path).decode(errors="backslashreplace"))


def resolved(path: Path) -> Path:
    """The path without links; it need not lead to a file."""
    return Path(os.path.realpath(path))


def walk(root: Path, failed: Callable[[OSError], None]) -> Iterator[Path]:
    """Files below a folder in a fixed order without hidden ones; an unreadable folder is told, not fatal."""
    for folder, folders, names in os.walk(root, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def find(
    root: Path, *, originals: Path | None, defaced: bool, tell: Callable[[Line], None]
) -> list[Candidate]:
    """What to take in below `root`, told what is skipped and what cannot be.

    With `originals` every file in `root` is a defaced one and pairs with a file there. Without, a file whose
    name says that it was defaced pairs with its original in the same tree.
    """
    files = _volumes(root, tell)
    if originals is not None:
        known = _by_key(_volumes(originals, tell))
        found = [candidate for file in files if (candidate := _paired(file, known, tell)) is not None]
    elif defaced:
        found = [Candidate(path, parts, defaced=True) for path, parts in files]
    else:
        found = _self_paired(files)
    roots = (root,) if originals is None else (root, originals)
    return [replace(candidate, roots=roots) for candidate in found]


def _volumes(root: Path, tell: Callable[[Line], None]) -> list[tuple[Path, tuple[str, ...]]]:
    def failed(error: OSError) -> None:
        tell(Line(Path(error.filename or root), "failed", f"the folder cannot be read ({error.strerror})"))

    found, slices = [], set()
    for path in walk(root, failed):
        parts = path.relative_to(root).parts
        if path.name.lower().endswith(DICOM):
            slices.add(path.parent)
        elif path.name.lower().endswith(FOREIGN):
            found.append((path, parts))  # reading it says what is wrong, where people see it
        elif split_extension(path.name)[1]:
            entities = entities_of(parts)
            if entities.is_anatomy:
                found.append((path, parts))
            else:
                tell(Line(path, "skipped", f"'{entities.suffix}' shows no head to deface"))
    for folder in sorted(slices):
        tell(Line(folder, "failed", "holds DICOM files; convert them to .nii.gz first"))
    return found


def _by_key(files: list[tuple[Path, tuple[str, ...]]]) -> dict[tuple[str, ...], list[Path]]:
    known: dict[tuple[str, ...], list[Path]] = {}
    for path, parts in files:
        for key in pair_keys(parts):
            known.setdefault(key, []).append(path)
    return known


def _paired(
    file: tuple[Path, tuple[str, ...]], known: dict, tell: Callable[[Line], None]
) -> Candidate | None:
    path, parts = file
    for key in pair_keys(parts):
        matches = known.get(key, [])
        if len(matches) == 1:
            return Candidate(path, parts, matches[0], defaced=True)
        if matches:
            names = ", ".join(printable(match).name for match in matches[:3])
            tell(Line(path, "failed", f"several originals fit: {names}"))
            return None
    tell(Line(path, "failed", "no original of this name was found"))
    return None


def _self_paired(files: list[tuple[Path, tuple[str, ...]]]) -> list[Candidate]:
    def is_defaced(parts: tuple[str, ...]) -> bool:
        found = entities_of(parts)
        return found.is_defaced or "_defaced" in split_extension(parts[-1])[0].lower()

    sources = _by_key([file for file in files if not is_defaced(file[1])])
    pairs = {}
    for path, parts in files:
        if is_defaced(parts):
            originals = next((sources[key] for key in pair_keys(parts) if key in sources), [])
            pairs[path] = Candidate(path, parts, originals[0] if len(originals) == 1 else None, defaced=True)
    used = {pair.original for pair in pairs.values()}
    return [
        pairs.get(path) or Candidate(path, parts)
        for path, parts in files
        if path in pairs or path not in used
    ]


def take(candidate: Candidate, dataset: Dataset, *, actor) -> Line:
    """Read one file and register it; a broken one is registered in ERROR with the reason."""
    path = candidate.path
    for name in (path, candidate.key_path, resolved(path), candidate.source_path):
        if printable(name) != name:
            return Line(name, "failed", NOT_UTF8)
    stamp = _stamp(candidate)
    if stamp and _unchanged(candidate, dataset, stamp):
        return Line(path, "known", "unchanged")
    try:
        source = _source(candidate, stamp)
    except VolumeError as error:
        text = f"{Path(error.path).name}: {error.reason}"
        broken = _broken_source(candidate, stamp)
        taken = actions.register_broken(actor=actor, dataset=dataset, source=broken, code="volume", text=text)
        return Line(Path(error.path), "failed", error.reason, taken.attempt.pk)
    try:
        taken = actions.register_scan(actor=actor, dataset=dataset, source=source)
    except actions.Refused as error:
        return Line(path, "failed", str(error))
    same = taken.attempt.scan.source_path
    note = f"same content as {same}" if taken.outcome == "known" and same != source.path else ""
    return Line(path, taken.outcome, note, taken.attempt.pk)


def _unchanged(candidate: Candidate, dataset: Dataset, stamp: str) -> bool:
    same = Scan.objects.filter(dataset=dataset, source_path=str(candidate.source_path), source_stamp=stamp)
    return same.exclude(shape=[]).exists()


def _stamp(candidate: Candidate) -> str:
    """Size and modification time of the files, to pass over what has not changed; empty when unknown."""
    try:
        stats = [path.stat() for path in (candidate.path, candidate.original) if path is not None]
    except OSError:
        return ""
    return " ".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats)


def _identity(candidate: Candidate, stamp: str) -> dict:
    entities = entities_of(candidate.parts).source
    return {
        "path": str(candidate.source_path),
        "name": candidate.key_path.name[:NAME_LENGTH],
        "subject": entities.subject[:128],
        "session": entities.session[:128],
        "acquisition": entities.acquisition[:128],
        "run": entities.run[:32],
        "suffix": entities.suffix[:64],
        "stamp": stamp,
    }


@dataclass(frozen=True)
class Opened:
    """A file that was opened once and read: where it lies without links, below which root, what it holds."""

    path: str
    root: str
    sha256: str
    stamp: str
    shape: list[int]
    zooms: list[float]


def opened(path: Path, candidate: Candidate) -> Opened:
    """Open, hash and read one file of a candidate; raises VolumeError for one that is no volume."""
    real = resolved(path)
    try:
        root = root_of(real, [*(candidate.roots or (path.parent,)), *map(Path, settings.INTAKE_ROOTS)])
        with open_volume(real, root) as file:
            stamp, content = stamp_of(file, own=not root), bytes_of(real, file)
        volume = read_volume(real, file=BytesIO(content))
    except VolumeError as error:
        raise VolumeError(path, error.reason) from error
    shape = [int(count) for count in volume.data.shape]
    zooms = [round(float(zoom), 4) for zoom in volume.zooms]
    return Opened(str(real), root, hashlib.sha256(content).hexdigest(), stamp, shape, zooms)


def _source(candidate: Candidate, stamp: str) -> actions.Source:
    """Everything about a readable candidate; raises VolumeError for one that is not."""
    own = opened(candidate.path, candidate)
    original = opened(candidate.original, candidate) if candidate.original is not None else None
    if not candidate.defaced:
        original = own
    source = original or own
    known = {} if original is None else _fields("original", original)
    made = _fields("defaced", own) | {"defaced_root": own.root} if candidate.defaced else {}
    return actions.Source(
        **_identity(candidate, stamp),
        **known,
        **made,
        root=source.root,
        content_hash=source.sha256,
        shape=own.shape,
        zooms=own.zooms,
    )


def _fields(kind: str, file: Opened) -> dict[str, str]:
    return {f"{kind}_path": file.path, f"{kind}_hash": file.sha256, f"{kind}_stamp": file.stamp}


def _broken_source(candidate: Candidate, stamp: str) -> actions.Source:
    """A file without content worth hashing is known by its path."""
    path = str(candidate.source_path)
    return actions.Source(
        **_identity(candidate, stamp), content_hash=hashlib.sha256(f"unreadable {path}".encode()).hexdigest()
    )
