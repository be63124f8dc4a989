"""What people's verdicts say of an attempt, and who may be learnt from: read only, no writing, no network.

Subjects are put by a hash of their name into training, calibration or the tests, always into the same part:
who is in the tests has never been trained on, whatever was judged or frozen when.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Prefetch

from reviews.models import Attempt, AuditEvent, Dataset, FrozenCase, Mode, Verdict

FACE_FLAGS = frozenset({"eyes", "nose", "mouth"})
EAR_FLAGS = frozenset({"left ear", "right ear"})
CHUNK = 1000
TENTHS = {"test": 2, "calibration": 2}  # of the subjects; the others are trained on


@dataclass(frozen=True)
class Agreed:
    """The class people's standing verdicts come to; `adjudicated` when more than one person has looked."""

    klass: str
    reasons: frozenset[str]
    adjudicated: bool


def agreed(verdicts: Sequence[Verdict]) -> Agreed | None:
    """Two readers who agree count; where readers disagree the latest, who saw it again, decides.

    `verdicts` are standing decisions; of one reader only the last word counts.
    """
    last = {verdict.user_id: verdict for verdict in sorted(verdicts, key=lambda verdict: verdict.pk)}
    if not last:
        return None
    ordered = sorted(last.values(), key=lambda verdict: verdict.pk)
    (klass, count), *others = Counter(verdict.klass for verdict in ordered).most_common()
    if count < 2 or (others and others[0][1] == count):
        klass = ordered[-1].klass
    reasons = frozenset(flag for verdict in ordered if verdict.klass == klass for flag in verdict.reasons)
    return Agreed(klass, reasons, len(ordered) > 1)


def attributes_of(klass: str, reasons: frozenset[str], *, ears_required: bool) -> tuple[int, int, int]:
    """(face, ears, brain) as 1, 0 or -1 where the class under the dataset's standard does not tell."""
    brain = int(klass in ("brain", "both"))
    if klass not in ("face", "both"):
        return 0, 0 if ears_required else -1, brain
    ears = 1 if reasons & EAR_FLAGS else -1
    face = 1 if not ears_required or reasons & FACE_FLAGS else -1
    return face, ears, brain


def subject_of(attempt: Attempt) -> str:
    """A subject's name that is the same in every round."""
    return f"{attempt.dataset_id}/{attempt.scan.subject}"


def rank_of(subject: str) -> int:
    """A number that only the name decides."""
    return int(hashlib.sha256(subject.encode()).hexdigest(), 16)


def part_of(subject: str) -> str:
    """The part a subject belongs to for good: test, calibration or train."""
    tenth = rank_of(subject) % 10
    if tenth < TENTHS["test"]:
        return "test"
    return "calibration" if tenth < TENTHS["test"] + TENTHS["calibration"] else "train"


def judged(
    datasets: Sequence[Dataset] = (), counts: Callable[[Verdict], bool] = lambda verdict: True
) -> Iterator[tuple[Attempt, Agreed]]:
    """Attempts with pictures that people have decided, known cases and practice left out; all datasets without.

    counts: whether a verdict is to be heard.
    """
    decisions = Verdict.objects.standing().filter(kind=Verdict.Kind.DECISION, on_known_case=False)
    decisions = decisions.exclude(mode=Mode.PRACTICE)
    rows = Attempt.objects.filter(Exists(decisions.filter(attempt=OuterRef("pk"))), known_case__isnull=True)
    rows = rows.exclude(views_dir="").select_related("scan", "dataset").order_by("pk")
    if datasets:
        rows = rows.filter(dataset__in=datasets)
    rows = rows.prefetch_related(Prefetch("verdicts", decisions, to_attr="decisions"))
    for attempt in rows.iterator(chunk_size=CHUNK):
        found = agreed([verdict for verdict in attempt.decisions if counts(verdict)])
        if found is not None:
            yield attempt, found


def to_learn_from(datasets: Sequence[Dataset] = ()) -> Iterator[tuple[Attempt, Agreed, str]]:
    """Judged attempts with their part ('train' or 'calibration'): no subject held back for tests or ever frozen."""
    frozen = frozen_subjects()
    for attempt, found in judged(datasets):
        subject = subject_of(attempt)
        part = part_of(subject)
        if part != "test" and subject not in frozen:
            yield attempt, found, part


def frozen_subjects() -> set[str]:
    """Every subject of whom an attempt is frozen."""
    rows = FrozenCase.objects.values_list("attempt__dataset_id", "attempt__scan__subject").distinct()
    return {f"{dataset}/{subject}" for dataset, subject in rows}


def frozen_digest() -> str:
    """One hash over all frozen sets; '' while there is none."""
    digests = list(FrozenCase.objects.values_list("frozen_set__digest", flat=True).distinct())
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest() if digests else ""


def ears_counted(dataset: Dataset) -> Callable[[datetime], bool]:
    """Whether ears had to be removed too at a given time."""
    rows = AuditEvent.objects.filter(action="dataset_configured", dataset=dataset.pk).order_by("seq")
    settings = [(datetime.fromisoformat(at), before) for at, before in rows.values_list("at", "before")]

    def counted(when: datetime) -> bool:
        later = (before["ears_required"] for at, before in settings if at > when)
        return next(later, dataset.ears_required)

    return counted
