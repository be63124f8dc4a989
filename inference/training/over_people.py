"""Figures of a model with intervals over people: `python -m inference.training.over_people MODEL DATA [--each 15]`.

Attempts on one person's head are alike, so the figures are as uncertain as the people are few, however many attempts
there are. People are drawn with replacement, each with all their attempts; DATA holds shards of the test people.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.classifier import CheckpointError, Classifier
from inference.metrics import evidence
from inference.training import shards
from inference.training.evaluation_cases import Case, predictions
from inference.triage import ThresholdPolicy, predicted_class

DRAWS = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A figure of all people's attempts together, and the 2.5th and 97.5th percentile of it over draws of people."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


@dataclass(frozen=True)
class Person:
    """counts (6,): attempts, right, decided, rightly decided, confident passes, false ones; passing (N,): p(pass)."""

    counts: Floats
    passing: Floats
    good: NDArray[np.bool_]


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve (Mann-Whitney), NaN where one side is empty."""
    from scipy.stats import rankdata

    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def person_of(cases: Sequence[Case], policy: ThresholdPolicy) -> Person:
    """One person's attempts, counted."""
    found = evidence(cases, policy)
    right = sum(predicted_class(c.probabilities) == c.truth for c in cases)
    counts = [len(cases), right, found.coverage.count, found.selective_accuracy.count,
              found.false_pass.total, found.false_pass.count]  # fmt: skip
    return Person(np.array(counts, float), np.array([c.probabilities["pass"] for c in cases]),
                  np.array([c.truth == "pass" for c in cases], bool))  # fmt: skip


def figures(people: Sequence[Person]) -> Floats:
    """(5,) of all these together: raw accuracy, AUROC of pass, coverage, selective accuracy, false passes of the passes."""
    total, right, decided, correct, passes, false = np.sum([p.counts for p in people], axis=0)
    area = auroc(np.concatenate([p.passing for p in people]), np.concatenate([p.good for p in people]))
    with np.errstate(invalid="ignore"):
        return np.array([right / total, area, decided / total, correct / decided, false / passes])


NAMES = (
    "raw accuracy, four classes",
    "AUROC of pass",
    "coverage",
    "selective accuracy",
    "false passes among confident passes",
)


def over_people(
    cases: Sequence[Case], policy: ThresholdPolicy, draws: int = DRAWS, seed: int = 0
) -> dict[str, Spread]:
    """Each figure by its name, with its interval over people."""
    ordered = sorted(cases, key=lambda c: c.person)
    people = [person_of(list(of), policy) for _, of in groupby(ordered, key=lambda c: c.person)]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(people), size=(draws, len(people)))
    found = np.array([figures([people[n] for n in row]) for row in drawn])
    low, high = np.nanpercentile(found, (2.5, 97.5), axis=0)
    return {
        name: Spread(*map(float, three))
        for name, *three in zip(NAMES, figures(people), low, high, strict=True)
    }


def table(cases: Sequence[Case], policy: ThresholdPolicy) -> list[str]:
    """The figures as Markdown."""
    count = len({c.person for c in cases})
    if not count:
        return ["No attempts."]
    title = f"{count} people, {len(cases)} attempts, interval over people"
    return [f"| | {title} |", "|---|---|", *(f"| {k} | {v} |" for k, v in over_people(cases, policy).items())]


def first_of_each(chosen: Sequence[shards.Shard], count: int) -> list[shards.Shard]:
    """The first `count` shards of every person."""
    ordered = sorted(chosen, key=lambda s: (s.person, s.path.name))
    return [one for _, of in groupby(ordered, key=lambda s: s.person) for one in list(of)[:count]]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--each", type=int, default=sys.maxsize, help="ask about the first so many shards of a person"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the answers there, as evaluate does"
    )
    options = parser.parse_args()
    try:
        chosen = first_of_each(shards.split(shards.shards(options.data))["test"], options.each)
        version = Classifier.load(options.model).version
        cases = [c for c in predictions(options.model, chosen, options.keep).cases if c.in_distribution]
    except (shards.ShardError, CheckpointError) as error:
        parser.error(str(error))
    if not cases:
        parser.error(f"{options.data}: no shard of the test people (inference/training/shards.py names them)")
    sys.stdout.write(
        "\n".join([f"Model {version}, start cut-offs.", "", *table(cases, ThresholdPolicy()), ""])
    )


if __name__ == "__main__":
    main()
