"""What is known about cut-offs from judged scans, and what they would mean for the waiting ones."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from statistics import median

import numpy as np
from django.db.models import Case, IntegerField, OuterRef, Q, Subquery, When

from inference.classes import CLASSES
from inference.metrics import Judged, Outlook, Waiting, what_if
from inference.metrics import evidence as figures
from inference.triage import Context, ThresholdPolicy, predicted_class, sound
from reviews.actions.triage import retriageable, under_standard
from reviews.labels import ears_counted
from reviews.models import Attempt, Dataset, Mode, ModelVersion, Prediction, Verdict
from reviews.states import UNDECIDED

MOST_CASES = 5000
BINS = 40
DEFAULT_SECONDS = {Mode.VERIFY: 2.5, Mode.VISUAL: 20.0}
RECENT = 2000
SAID = [*(f"p_{name}" for name in CLASSES), "with_ears", "attributes"]
BESIDE = [  # in the order of Context
    "in_distribution",
    "model_version__class_order",
    "model_version__render_version",
    "render_version",
]


def judged_cases() -> list[Judged]:
    """The latest scans with both a person's verdict and a sound prediction; the person is the truth.

    The last verdict on an attempt counts alone. The prediction is the one under the standard it was judged by, beside
    what else the route rests on: doubts about the prediction, problems that the physical checks found.
    """
    latest = Prediction.objects.filter(attempt=OuterRef("attempt_id"), shadow=False).order_by("-pk")
    fields = [*SAID, *BESIDE]
    columns = {f"said_{name.replace('__', '_of_')}": Subquery(latest.values(name)[:1]) for name in fields}
    decisions = (
        Verdict.objects.standing().filter(kind="decision", on_known_case=False).exclude(mode=Mode.PRACTICE)
    )
    facts = ("attempt_id", "klass", "created_at", "attempt__dataset", "attempt__problems", *columns)
    standards = {dataset.pk: ears_counted(dataset) for dataset in Dataset.objects.all()}
    rows = decisions.annotate(**columns).order_by("-pk").values_list(*facts)[:MOST_CASES]
    cases = []
    for klass, when, dataset, problems, *row in _newest(rows):
        shares = _said(row[: len(SAID)], ears=standards[dataset](when))
        if shares and sound(shares):
            cases.append(Judged(shares, klass, Context(*row[len(SAID) :], problems)))
    return cases


def _newest(rows: Iterable[tuple]) -> Iterator[tuple]:
    """Of (attempt, …), newest first: the first row of each attempt, without its attempt."""
    seen = set()
    for attempt, *facts in rows:
        if attempt not in seen:
            seen.add(attempt)
            yield tuple(facts)


def _said(values: list, *, ears: bool) -> Mapping[str, float] | None:
    """The four classes from (p of each class, with_ears, attributes), as asked for."""
    *chances, stored, attributes = values
    shares = dict(zip(CLASSES, chances, strict=True))
    if not ears or None in chances:
        return shares
    return under_standard(shares, stored, attributes)


def risk_coverage(cases: list[Judged]) -> dict[str, list[float]]:
    """Share decided against the error among the decided, as the confidence asked for falls."""
    ranked = sorted(cases, key=lambda case: -max(case.probabilities.values()))
    coverage, risk, wrong = [], [], 0
    for count, case in enumerate(ranked, start=1):
        wrong += predicted_class(case.probabilities) != case.truth
        coverage.append(round(count / len(ranked), 4))
        risk.append(round(wrong / count, 4))
    step = max(1, len(ranked) // 400)
    return {"coverage": coverage[::step], "risk": risk[::step]}


def histogram() -> dict[str, list]:
    """Waiting scans by the model's p(pass): bin edges and counts."""
    waiting = Attempt.objects.filter(status__in=[status.value for status in UNDECIDED])
    counts = [0] * BINS
    for confidence in waiting.values_list("confidence", flat=True).iterator(chunk_size=5000):
        counts[min(BINS - 1, max(0, int(confidence * BINS)))] += 1
    return {"edges": [index / BINS for index in range(BINS)], "counts": counts}


def seconds_per_item() -> dict[str, float]:
    """Median active seconds of a recent verdict, by mode; a stated guess while there are too few."""
    found = {}
    for mode, guess in DEFAULT_SECONDS.items():
        recent = Verdict.objects.standing().filter(mode=mode, active_ms__gt=0).order_by("-pk")
        times = list(recent.values_list("active_ms", flat=True)[:RECENT])
        found[mode] = median(times) / 1000 if len(times) >= 20 else guess
    return found


def outcome(policy: ThresholdPolicy, cases: list[Judged]) -> dict:
    """Waiting scans by route, the errors and hours to expect, and the figures on judged scans."""
    outlook = consequences(policy)
    routes = outlook.routes
    seconds = seconds_per_item()
    known = figures(cases, policy)
    work = routes["verify"] * seconds[Mode.VERIFY] + routes["refer"] * seconds[Mode.VISUAL]
    most = known.false_pass.high if known.false_pass.total else None
    return {
        "routes": routes,
        "total": sum(routes.values()),
        "hours": work / 3600,
        "seconds": seconds,
        "known": known,
        "false_passes": None if most is None else most * routes["verify"],
        "expected_false": outlook.expected_false,
    }


def summary(policy: ThresholdPolicy, cases: list[Judged]) -> dict:
    """The evidence kept with a new version."""
    return {"cases": len(cases), **asdict(figures(cases, policy))}


CHUNK = 10_000


PICKED = ("pk", "predictions__pk", "trusted", "clean")


SHARES = tuple(f"predictions__p_{name}" for name in CLASSES)


def consequences(policy: ThresholdPolicy) -> Outlook:
    """How many undecided attempts these cut-offs would verify, refer or fail, and what to expect of those to verify."""
    return what_if(waiting(), policy)


def waiting() -> Waiting:
    """Undecided attempts with what the model that counts said last of each."""
    with_ears = list(Dataset.objects.filter(ears_required=True).values_list("pk", flat=True))
    said = _predictions()
    plain = said.exclude(dataset__in=with_ears).values_list(*PICKED, *SHARES)
    strict = said.filter(dataset__in=with_ears)
    rows = np.concatenate([_array(plain.iterator(CHUNK)), _array(_with_ears(strict))])
    rows = rows[np.lexsort((-rows[:, 1], rows[:, 0]))]
    latest = rows[np.diff(rows[:, 0], prepend=-1) != 0]
    return Waiting(shares=latest[:, 4:], trusted=latest[:, 2] == 1, problems=latest[:, 3] == 0)


def _predictions():
    """Two flags beside the probabilities: nothing in the context to doubt (see `context_of`), no problem found."""
    trusted = Q(pk__in=[])
    for model in ModelVersion.objects.all():
        if tuple(model.class_order) == CLASSES:
            trusted |= Q(predictions__model_version=model, predictions__render_version=model.render_version)
    trusted &= Q(predictions__in_distribution=True)
    said = retriageable().filter(predictions__shadow=False).order_by()
    return said.annotate(trusted=_flag(trusted), clean=_flag(Q(problems=[])))


def _flag(condition: Q) -> Case:
    """1 or 0: a number needs no conversion row by row."""
    return Case(When(condition, then=1), default=0, output_field=IntegerField())


def _with_ears(predictions) -> Iterator[tuple]:
    """Rows under the standard that asks for ears too, whose probabilities are not in the columns."""
    columns = predictions.values_list(*PICKED, *SHARES, "predictions__with_ears", "predictions__attributes")
    for row in columns.iterator(CHUNK):
        numbers, stored, attributes = row[:-2], row[-2], row[-1]
        plain = numbers[len(PICKED) :]
        said = None if None in plain else dict(zip(CLASSES, plain, strict=True))
        shares = under_standard(said, stored, attributes) or {}
        known = set(shares) == set(CLASSES)
        yield (*numbers[: len(PICKED)], *(shares[name] if known else None for name in CLASSES))


def _array(rows: Iterator[tuple]) -> np.ndarray:
    """Rows of numbers as (N, 8) float64; None becomes NaN."""
    parts = [np.empty((0, len(PICKED) + len(SHARES)))]
    while part := list(islice(rows, CHUNK)):
        parts.append(np.array(part, dtype=np.float64))
    return np.concatenate(parts)
