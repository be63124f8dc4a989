"""The study: coarse synthetic heads, most of them ready to be judged, the others left to the site's own workers."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

from inference import demo_heads
from tests.faults.ledger import Ledger

MM = 4.0
MODELS = 2
LABEL = slice(148, 228)  # the free text of a NIfTI header: it makes the content another one, not the picture
SURE = {"pass": 0.999, "face": 0.0004, "brain": 0.0003, "both": 0.0003}
UNCLEAR = {"pass": 0.6, "face": 0.3, "brain": 0.05, "both": 0.05}
FACE = {"pass": 0.01, "face": 0.97, "brain": 0.01, "both": 0.01}
EVERY_VISUAL = 5
KNOWN = 3


class Stock:
    """Writes scans below `sources` and takes them in; `pairs` are what was written, in the order of the queue."""

    def __init__(self, dataset, sources: Path, heads: Path, ledger: Ledger) -> None:
        self.dataset, self.sources, self.ledger = dataset, sources, ledger
        self.models = _models(heads)
        self.pairs: list[tuple[Path, Path | None]] = []

    def prepare(self, count: int) -> None:
        """Scans that wait for people; a few of them are known cases."""
        from reviews import actions, queue
        from reviews.jobs import classifier, known_model

        folders = _pictures(Path(os.environ["QC_DATA_DIR"]))
        with queue.without():
            model = known_model(classifier())
            for number in range(count):
                line = self.take(defaced=True)
                said = UNCLEAR if number % EVERY_VISUAL == 0 else self._surest(number)
                _bring(line.attempt_id, folders[number % len(folders)], model, said)
            for _ in range(KNOWN):
                line = self.take(defaced=True)
                _bring(line.attempt_id, folders[0], model, FACE)
                actions.declare_known_case(actor=None, attempt_id=line.attempt_id, truth="face")

    def take(self, *, defaced: bool):
        """Write one more scan and take it in; what was told is kept."""
        from reviews import ingest

        number = len(self.pairs) + 1
        name = f"sub-{number:05d}/anat/sub-{number:05d}_T1w.nii.gz"
        whole, cut = self.models[number % len(self.models)]
        original = _write(self.sources / "rawdata" / name, whole, number)
        other = _write(self.sources / "defaced" / name, cut, number) if defaced else None
        self.pairs.append((original, other))
        parts = tuple(name.split("/"))
        candidate = ingest.Candidate(other or original, parts, original if defaced else None, defaced=defaced)
        line = ingest.take(candidate, self.dataset, actor=None)
        if line.outcome == "failed":
            raise RuntimeError(f"{line.path}: {line.reason}")
        self.ledger.taken.add(line.attempt_id)
        return line

    def _surest(self, number: int) -> dict[str, float]:
        """Less sure with every scan, so that the queue has the order of the files."""
        less = number * 1e-7
        return SURE | {"pass": SURE["pass"] - less, "face": SURE["face"] + less}


def _models(heads: Path) -> list[tuple[bytes, bytes]]:
    """(original, defaced) of some people as the bytes of .nii files; kept in `heads` for the next run."""
    whole_voxels = dict(demo_heads.VOXELS_MM)
    demo_heads.VOXELS_MM.update(dict.fromkeys(demo_heads.VOXELS_MM, (MM, MM, MM)))
    try:
        people = [person for person in demo_heads.people(12) if person.fault == "none"][:MODELS]
        paths = [demo_heads.make(person, heads) for person in people]
    finally:
        demo_heads.VOXELS_MM.update(whole_voxels)
    return [tuple(gzip.decompress(path.read_bytes()) for path in pair) for pair in paths]


def _write(path: Path, content: bytes, number: int) -> Path:
    """One scan whose content no other has."""
    label = f"scan {number}".encode().ljust(LABEL.stop - LABEL.start, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content[: LABEL.start] + label + content[LABEL.stop :], 1, mtime=0))
    return path


def _pictures(data: Path) -> list[str]:
    """Folders with painted pictures, below the data folder."""
    from reviews.views.pictures import VIEW_LABELS
    from tests.painted import paint

    names = [f"views/stock-{number}" for number in range(MODELS)]
    (data / "views").mkdir(exist_ok=True)
    for name in names:
        paint(data / name, list(VIEW_LABELS))
    return names


def _bring(attempt_id: int, views: str, model, said: dict[str, float]) -> None:
    """Rendered and classified, by the actions that jobs use."""
    from inference.projections import RENDER_VERSION
    from reviews import actions
    from reviews.states import Status
    from reviews.views.pictures import VIEW_LABELS

    attempt = actions.claim(attempt_id, Status.TO_RENDER, worker="stock")
    actions.finish_render(
        actor=None,
        attempt=attempt,
        views_dir=views,
        view_names=list(VIEW_LABELS),
        render_version=RENDER_VERSION,
        measurements={},
        problems=[],
    )
    finding = actions.Finding(probabilities=said, in_distribution=True, render_version=RENDER_VERSION)
    actions.record_prediction(actor=None, attempt=attempt, model=model, finding=finding)


def feed(stock: Stock, enough: Callable[[], bool], stop, every: float) -> None:
    """Take a new undefaced scan in now and then, while the workers have little to do; a site in trouble refuses."""
    from django.db import DatabaseError, close_old_connections

    while not stop.wait(every):
        try:
            if not enough():
                stock.take(defaced=False)
        except (DatabaseError, OSError, RuntimeError):
            pass  # nothing was told; the file lies there untaken
        finally:
            close_old_connections()
