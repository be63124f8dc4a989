"""Triage of calibrated probabilities, and the figures that say how good a set of cut-offs is. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from inference.truth import CLASSES

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FAILURES = ("face", "brain", "both")
SUM_TOLERANCE = 1e-3
Z95 = 1.959963984540054


class Route(StrEnum):
    """Where triage sends an attempt."""

    VERIFY = "verify"
    REFER = "refer"
    FAIL = "fail"


class Reason(StrEnum):
    """Why triage chose the route."""

    CONFIDENT_PASS = "confident_pass"
    CONFIDENT_FAIL = "confident_fail"
    BETWEEN_CUTOFFS = "between_cutoffs"
    NO_PREDICTION = "no_prediction"
    BAD_PROBABILITIES = "bad_probabilities"
    CLASS_ORDER_MISMATCH = "class_order_mismatch"
    RENDER_VERSION_MISMATCH = "render_version_mismatch"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    PHYSICAL_CHECK = "physical_check"

    @property
    def sentence(self) -> str:
        """The reason in the words shown on screen."""
        return REASON_SENTENCES[self]


REASON_SENTENCES = {
    Reason.CONFIDENT_PASS: "The model is confident that this passes.",
    Reason.CONFIDENT_FAIL: "The model is confident that this fails.",
    Reason.BETWEEN_CUTOFFS: "The model is not confident enough either way.",
    Reason.NO_PREDICTION: "The model gave no prediction.",
    Reason.BAD_PROBABILITIES: "The model's probabilities are missing, not finite or do not add up to one.",
    Reason.CLASS_ORDER_MISMATCH: "The model's classes are not those of this software.",
    Reason.RENDER_VERSION_MISMATCH: "The pictures were made by another renderer version than the model's.",
    Reason.OUT_OF_DISTRIBUTION: "The scan does not look like what the model was made for.",
    Reason.PHYSICAL_CHECK: "A measurement against the original found a problem.",
}


@dataclass(frozen=True)
class ThresholdPolicy:
    """Verify at p(pass) >= verify_min; fail at 1 - p(pass) >= fail_min with one class >= class_min.

    The start values: verify as the shipped model's calibration people ask for (0.9904, rounded up to a step of the
    Thresholds page), fail more strictly than they do (0.925 and 0.81), since what is failed is defaced again without a
    person (docs/model-card.md).
    """

    verify_min: float = 0.991
    fail_min: float = 0.95
    class_min: float = 0.95

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{field.name} must be a finite number, not {value!r}")
            if not 0.5 < value <= 1:
                raise ValueError(f"{field.name} must be above 0.5 and at most 1, not {value}")

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """A policy from stored numbers; an unknown name is an error."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown cut-offs: {', '.join(sorted(unknown))}")
        return cls(**values)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, float]:
        """The numbers, ready to be stored."""
        return asdict(self)


@dataclass(frozen=True)
class Triage:
    """A route and why."""

    route: Route
    reason: Reason


@dataclass(frozen=True)
class Context:
    """What triage must know beside the probabilities; every doubt in it refers."""

    in_distribution: bool = True
    class_order: Sequence[str] = CLASSES
    model_render_version: str = ""
    attempt_render_version: str = ""
    problems: Sequence[str] = ()


def sound(probabilities: Mapping[str, float] | None) -> bool:
    """Whether these are four finite probabilities that add up to one."""
    if not probabilities or set(probabilities) != set(CLASSES):
        return False
    values = list(probabilities.values())
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return False
    return all(0 <= value <= 1 + SUM_TOLERANCE for value in values) and abs(sum(values) - 1) <= SUM_TOLERANCE


def doubt(probabilities: Mapping[str, float] | None, context: Context) -> Reason | None:
    """The first reason not to trust the prediction at all, if any."""
    if probabilities is None:
        return Reason.NO_PREDICTION
    if tuple(context.class_order) != CLASSES:
        return Reason.CLASS_ORDER_MISMATCH
    if context.model_render_version != context.attempt_render_version:
        return Reason.RENDER_VERSION_MISMATCH
    if not sound(probabilities):
        return Reason.BAD_PROBABILITIES
    if context.in_distribution is not True:
        return Reason.OUT_OF_DISTRIBUTION
    return None


def triage(
    probabilities: Mapping[str, float] | None, policy: ThresholdPolicy, context: Context | None = None
) -> Triage:
    """Route one attempt; whatever is not beyond doubt is referred.

    A failed physical check forbids the confident pass; it does not hold back a confident failure.
    """
    context = context or Context()
    reason = doubt(probabilities, context)
    if reason is not None or probabilities is None:
        return Triage(Route.REFER, reason or Reason.NO_PREDICTION)
    decision = by_cutoffs(probabilities, policy)
    if context.problems and decision.route is Route.VERIFY:
        return Triage(Route.REFER, Reason.PHYSICAL_CHECK)
    return decision


def by_cutoffs(probabilities: Mapping[str, float], policy: ThresholdPolicy) -> Triage:
    """Route sound probabilities by the cut-offs alone."""
    if probabilities["pass"] >= policy.verify_min:
        return Triage(Route.VERIFY, Reason.CONFIDENT_PASS)
    failing = max(probabilities[name] for name in FAILURES)
    if 1 - probabilities["pass"] >= policy.fail_min and failing >= policy.class_min:
        return Triage(Route.FAIL, Reason.CONFIDENT_FAIL)
    return Triage(Route.REFER, Reason.BETWEEN_CUTOFFS)


def predicted_class(probabilities: Mapping[str, float]) -> str:
    """The likeliest class; a tie goes to the failure."""
    return max(reversed(CLASSES), key=lambda name: probabilities[name])


def with_ears(probabilities: Mapping[str, float], ears: float) -> dict[str, float]:
    """The four classes where the standard asks for ears too: what kept only ears now keeps a 'face'."""
    return {
        "pass": probabilities["pass"] * (1 - ears),
        "face": probabilities["face"] + probabilities["pass"] * ears,
        "brain": probabilities["brain"] * (1 - ears),
        "both": probabilities["both"] + probabilities["brain"] * ears,
    }


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % Wilson interval; `count` of `total`."""

    count: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share itself; None of nothing."""
        return self.count / self.total if self.total else None


def wilson(count: int, total: int, z: float = Z95) -> Interval:
    """Wilson score interval of `count` of `total`; of nothing it is 0 to 1."""
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} is not a share")
    if total == 0:
        return Interval(0, 0, 0.0, 1.0)
    share, square = count / total, z * z
    middle = share + square / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    scale = 1 + square / total
    low = 0.0 if count == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if count == total else min(1.0, (middle + spread) / scale)
    return Interval(count, total, low, high)


@dataclass(frozen=True)
class Judged:
    """One case of known class: the model's probabilities and the truth."""

    probabilities: Mapping[str, float]
    truth: str


@dataclass(frozen=True)
class Evidence:
    """How cut-offs do on judged cases."""

    coverage: Interval
    selective_accuracy: Interval
    false_pass: Interval


def evidence(cases: Sequence[Judged], policy: ThresholdPolicy) -> Evidence:
    """Coverage, accuracy of what was decided, and false passes among confident passes."""
    decided = correct = passes = false_passes = 0
    for case in cases:
        route = triage(case.probabilities, policy).route
        if route is Route.REFER:
            continue
        decided += 1
        answer = "pass" if route is Route.VERIFY else predicted_class(case.probabilities)
        correct += answer == case.truth
        passes += route is Route.VERIFY
        false_passes += route is Route.VERIFY and case.truth != "pass"
    return Evidence(wilson(decided, len(cases)), wilson(correct, decided), wilson(false_passes, passes))


@dataclass(frozen=True)
class Waiting:
    """Many attempts at once, as `triage` would be told of them one by one.

    `shares` (N, 4) in the order of CLASSES, NaN where the model said nothing; `trusted` (N,) bool, the context
    gives no doubt; `problems` (N,) bool, a physical check found one.
    """

    shares: Floats
    trusted: Flags
    problems: Flags


def sound_rows(shares: Floats) -> Flags:
    """`sound` for each row of (N, 4)."""
    total = shares[:, 0] + shares[:, 1] + shares[:, 2] + shares[:, 3]
    within = ((shares >= 0) & (shares <= 1 + SUM_TOLERANCE)).all(axis=1)  # a NaN is not within
    sound_row: Flags = within & (np.abs(total - 1) <= SUM_TOLERANCE)
    return sound_row


@dataclass(frozen=True)
class Outlook:
    """Waiting attempts by route, and how many of those to verify the model itself expects to be no pass, at most."""

    routes: Mapping[str, int]
    expected_false: float


def expected_false(passing: Floats) -> float:
    """How many of these are no pass if each p(pass) holds what it says.

    It was fitted to attempts of which seven in ten fail: where fewer do, this is an upper bound.
    """
    return float((1 - passing).sum())


def what_if(waiting: Waiting, policy: ThresholdPolicy) -> Outlook:
    """Where the cut-offs would send the waiting attempts: `triage` of all of them at once."""
    passing = shares_of(waiting, "pass")
    failing = np.maximum.reduce([shares_of(waiting, name) for name in FAILURES])
    with np.errstate(invalid="ignore"):
        sure = waiting.trusted & sound_rows(waiting.shares)
        passes = sure & (passing >= policy.verify_min)
        fails = sure & ~passes & (1 - passing >= policy.fail_min) & (failing >= policy.class_min)
    verified = passes & ~waiting.problems
    verify, fail = int(verified.sum()), int(fails.sum())
    routes = {
        Route.VERIFY.value: verify,
        Route.REFER.value: len(waiting.shares) - verify - fail,
        Route.FAIL.value: fail,
    }
    return Outlook(routes, expected_false(passing[verified]))


def shares_of(waiting: Waiting, name: str) -> Floats:
    """One class's column."""
    return waiting.shares[:, CLASSES.index(name)]
