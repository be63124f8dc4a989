"""Pure figures: Wilson interval, coverage, selective accuracy, false-pass rate, and what cut-offs would mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from inference.classes import CLASSES
from inference.triage import (
    FAILURES,
    SUM_TOLERANCE,
    Context,
    Flags,
    Floats,
    Route,
    ThresholdPolicy,
    predicted_class,
    triage,
)


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


@lru_cache(maxsize=4096)
def wilson(count: int, total: int) -> Interval:
    """95 % Wilson score interval of `count` of `total`; of nothing it is 0 to 1."""
    from scipy.stats import binomtest  # half a second that a page without intervals need not wait for

    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} is not a share")
    if total == 0:
        return Interval(0, 0, 0.0, 1.0)
    found = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Interval(count, total, max(0.0, float(found.low)), min(1.0, float(found.high)))


class Routed(Protocol):
    """What can be routed and was judged."""

    @property
    def probabilities(self) -> Mapping[str, float]: ...

    @property
    def truth(self) -> str: ...

    @property
    def context(self) -> Context: ...


@dataclass(frozen=True)
class Judged:
    """One case of known class: the network's probabilities, the truth, and what else its route rests on."""

    probabilities: Mapping[str, float]
    truth: str
    context: Context


@dataclass(frozen=True)
class Evidence:
    """How cut-offs do on judged cases."""

    coverage: Interval
    selective_accuracy: Interval
    false_pass: Interval


def evidence(cases: Sequence[Routed], policy: ThresholdPolicy) -> Evidence:
    """Coverage, accuracy of what was decided, and false passes among confident passes: by the whole route."""
    decided = correct = passes = false_passes = 0
    for case in cases:
        route = triage(case.probabilities, policy, case.context).route
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
