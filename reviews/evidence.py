"""What is known about cut-offs from judged scans, and what they would mean for the waiting ones."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from statistics import median

from django.db.models import OuterRef, Subquery

from inference.truth import CLASSES
from reviews.actions import consequences
from reviews.actions.triage import under_standard
from reviews.models import Attempt, Dataset, Mode, Prediction, Verdict
from reviews.standard import ears_counted
from reviews.states import UNDECIDED
from reviews.thresholds import Judged, ThresholdPolicy, predicted_class, sound
from reviews.thresholds import evidence as figures

MOST_CASES = 5000
BINS = 40
DEFAULT_SECONDS = {Mode.VERIFY: 2.5, Mode.VISUAL: 20.0}
RECENT = 2000


def judged_cases() -> list[Judged]:
    """The latest scans with both a person's verdict and a sound prediction; the person is the truth.

    The last verdict on an attempt counts alone. The prediction is the one under the standard it was judged by.
    """
    latest = Prediction.objects.filter(attempt=OuterRef("attempt_id"), shadow=False).order_by("-pk")
    fields = [*(f"p_{name}" for name in CLASSES), "with_ears", "attributes"]
    columns = {f"said_{name}": Subquery(latest.values(name)[:1]) for name in fields}
    decisions = Verdict.objects.standing().filter(kind="decision", gold=False).exclude(mode=Mode.PRACTICE)
    facts = ("attempt_id", "klass", "created_at", "attempt__dataset", *columns)
    standards = {dataset.pk: ears_counted(dataset) for dataset in Dataset.objects.all()}
    rows = decisions.annotate(**columns).order_by("-pk").values_list(*facts)[:MOST_CASES]
    cases = []
    for klass, when, dataset, *said in _newest(rows):
        shares = _said(said, ears=standards[dataset](when))
        if shares and sound(shares):
            cases.append(Judged(shares, klass))
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
