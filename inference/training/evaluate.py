"""Held-out tables of a model: `python -m inference.training.evaluate MODEL DATA [--out docs/model-card-tables.md]`.

Cut-offs are chosen on the calibration people and judged on the test people; neither was trained on.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference import classes
from inference.classifier import CheckpointError, Classifier
from inference.metrics import Interval, Judged, evidence, expected_false, wilson
from inference.regions import REGIONS
from inference.training import shards
from inference.training.evaluation_cases import Case, predictions
from inference.training.over_people import auroc, table
from inference.triage import ThresholdPolicy, predicted_class


def calibration_error(cases: Sequence[Judged], bins: int = 10) -> float:
    """Expected calibration error of p(pass)."""
    p = np.array([c.probabilities["pass"] for c in cases])
    good = np.array([c.truth == "pass" for c in cases])
    bucket = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs(p[bucket == b].mean() - good[bucket == b].mean()) * (bucket == b).mean()
                     for b in range(bins) if (bucket == b).any()))  # fmt: skip


CUTS = np.round(np.arange(0.6, 1.0, 0.005), 3)  # as finely as the Thresholds page moves


def choose_policy(
    cases: Sequence[Judged], false_pass: float = 0.005, accuracy: float = 0.98
) -> ThresholdPolicy:
    """The cut-offs that decide most while false passes, and errors of all decisions, stay within the limits on `cases`.

    Of the passes at most the share `false_pass` may be false both as counted and as the probabilities themselves
    expect: a few people have so few false passes that their count alone says little (decisions/0012).
    """
    shares = np.array([[c.probabilities[name] for name in classes.CLASSES] for c in cases]).reshape(-1, 4)
    truths = np.array([classes.CLASSES.index(c.truth) for c in cases], int)
    verify = verify_cut(shares[:, 0], truths == 0, false_pass)
    passed = shares[:, 0] >= verify
    false = int((truths[passed] != 0).sum())
    undecided = np.flatnonzero(~passed)
    undecided = undecided[np.argsort(shares[undecided, 1:].max(axis=1))]  # the least sure of its kind first
    doubt, surest = 1 - shares[undecided, 0], shares[undecided, 1:].max(axis=1)
    wrong = (shares[undecided, 1:].argmax(axis=1) + 1 != truths[undecided]).astype(float)
    best, most = ThresholdPolicy(verify, float(CUTS[-1]), float(CUTS[-1])), 0
    for fail in CUTS:
        failed = doubt >= fail
        first = np.searchsorted(
            surest[failed], CUTS
        )  # of those from there on one class is at or above each cut
        decided = passed.sum() + failed.sum() - first
        errors = false + from_there_on(wrong[failed])[first]
        within = errors <= (1 - accuracy) * decided
        if within.any() and (count := int(decided[within].max())) > most:
            one = CUTS[within][np.argmax(decided[within])]
            best, most = ThresholdPolicy(verify, float(fail), float(one)), count
    return best


def verify_cut(passing: NDArray[np.float64], good: NDArray[np.bool_], limit: float) -> float:
    """The lowest p(pass), in ten-thousandths, from which on false passes, counted and expected, are within `limit`."""
    order = np.argsort(passing)
    cuts = np.unique(np.maximum(CUTS[0], np.ceil(passing * 10_000) / 10_000))
    first = np.searchsorted(passing[order], cuts)  # from there on p(pass) is at or above each cut
    passed = len(passing) - first
    counted, expected = (from_there_on(v[order])[first] for v in ((~good).astype(float), 1 - passing))
    within = cuts[(passed > 0) & (np.maximum(counted, expected) <= limit * passed)]
    return float(within[0]) if within.size else 1.0


def from_there_on(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N + 1,) sums of `values` (N,) from each on to the last; from behind the last it is 0."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


def by_confidence(cases: Sequence[Case]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(probability of the most probable class, is it right) of every case, the most confident first."""
    top = np.array([max(c.probabilities.values()) for c in cases])
    right = np.array([predicted_class(c.probabilities) == c.truth for c in cases], bool)
    order = np.argsort(-top, kind="stable")
    return top[order], right[order]


def one_cut(cases: Sequence[Case], accuracy: float = 0.98) -> float:
    """The lowest confidence above which, of `cases`, this share of the most probable classes is right."""
    top, right = by_confidence(cases)
    within = np.flatnonzero(np.cumsum(right) >= accuracy * np.arange(1, len(right) + 1))
    return float(top[within[-1]]) if within.size else 1.0


def at_one_cut(cases: Sequence[Case], cut: float) -> str:
    """What one confidence for everything decides, as a sentence."""
    decided = [c for c in cases if max(c.probabilities.values()) >= cut]
    said = [predicted_class(c.probabilities) for c in decided]
    right = wilson(sum(one == c.truth for one, c in zip(said, decided, strict=True)), len(decided))
    passes = [c.truth == "pass" for one, c in zip(said, decided, strict=True) if one == "pass"]
    return (
        f"One cut-off for every class, {cut:.3f}, the lowest at which the calibration people have 0.98 right: "
        f"coverage {show(wilson(len(decided), len(cases)))}, selective accuracy {show(right)}, "
        f"false passes {passes.count(False)}/{len(passes)}."
    )


def show(interval: Interval) -> str:
    """A share with its bounds; a dash where there was nothing to count."""
    if interval.share is None:
        return "-"
    return f"{interval.share:.3f} ({interval.low:.3f}-{interval.high:.3f})"


def row(name: str, cases: Sequence[Case], policy: ThresholdPolicy) -> str:
    """One line of a table."""
    if not cases:
        return f"| {name} | 0 | | | | | |"
    raw = wilson(sum(predicted_class(c.probabilities) == c.truth for c in cases), len(cases))
    found = evidence(cases, policy)
    area = auroc(
        np.array([c.probabilities["pass"] for c in cases]), np.array([c.truth == "pass" for c in cases])
    )

    passes = f"{found.false_pass.count}/{found.false_pass.total} {show(found.false_pass)}"
    return (f"| {name} | {len(cases)} | {show(raw)} | {area:.4f} | {show(found.coverage)} | "
            f"{show(found.selective_accuracy)} | {passes} |")  # fmt: skip


HEAD = ("| | n | raw accuracy, four classes | AUROC pass | coverage | selective accuracy | false passes among confident "
        "passes |\n|---|---|---|---|---|---|---|")  # fmt: skip


def by(cases: Sequence[Case], attribute: str, policy: ThresholdPolicy) -> list[str]:
    """A table with a line for each value of an attribute."""
    values = sorted({getattr(c, attribute) for c in cases})
    return [HEAD, *(row(v, [c for c in cases if getattr(c, attribute) == v], policy) for v in values)]


def separation(name: str, scores: Sequence[float], positive: Sequence[bool], cut: float) -> str:
    """One line: how many, how many positive, accuracy at `cut`, AUROC."""
    if not scores:
        return f"| {name} | 0 | | | |"
    x, y = np.array(scores), np.array(positive)
    right = wilson(int(((x >= cut) == y).sum()), len(y))
    return f"| {name} | {len(y)} | {int(y.sum())} | {show(right)} | {auroc(x, y):.4f} |"


def by_question(cases: Sequence[Case]) -> list[str]:
    """The two questions, and every region where it is clearly there or clearly gone."""
    lines = ["| | n | there or removed | accuracy | AUROC |", "|---|---|---|---|---|"]
    for name, positive in (("face remains", ("face", "both")), ("brain removed", ("brain", "both"))):
        scores = [c.attributes[name.split()[0]] for c in cases]
        lines.append(separation(name, scores, [c.truth in positive for c in cases], 0.5))
    for region in REGIONS:
        clear = [
            c
            for c in cases
            if classes.side_of(c.kept.get(region, 0.5), classes.KEPT_CLEAR, classes.KEPT_SURE) is not None
        ]
        scores, there = (
            [c.remains[region] for c in clear],
            [c.kept[region] >= classes.KEPT_SURE for c in clear],
        )
        lines.append(separation(region.replace("_", " "), scores, there, classes.KEPT_LIMIT))
    return lines


BITES_ML = (0.0, classes.BRAIN_CLEAR_ML, classes.BRAIN_SURE_ML, 4, 8, 16, 40, np.inf)
SHARES = (0.0, 0.1, classes.KEPT_CLEAR, classes.KEPT_SURE, 0.75, 0.85, 0.95, 1.0)


def by_amount(cases: Sequence[Case]) -> list[str]:
    """'Was brain removed' answered at one half, by how much was."""
    told = [(c.brain_ml, (c.attributes["brain"] >= 0.5) == (c.truth in ("brain", "both"))) for c in cases]
    return in_steps("ml of brain removed", told, BITES_ML)


def by_share(cases: Sequence[Case]) -> list[str]:
    """'Does a face remain' answered at one half, by how much is left of the region of which most is."""
    most = [max((c.kept[r] for r in classes.FACE_REGIONS if r in c.kept), default=np.nan) for c in cases]
    right = [(c.attributes["face"] >= 0.5) == (c.truth in ("face", "both")) for c in cases]
    return in_steps(
        "share left of the region of which most is left", list(zip(most, right, strict=True)), SHARES
    )


def in_steps(title: str, told: Sequence[tuple[float, bool]], steps: Sequence[float]) -> list[str]:
    """How often an answer is right, by the amount that was asked about; told: (amount, right) of each case."""
    lines = [f"| {title} | n | right |", "|---|---|---|"]
    for low, high in itertools.pairwise((-np.inf, *steps)):
        within = [right for amount, right in told if low < amount <= high]
        if not within:
            continue
        name = "none" if high == 0 else f"over {low:g}" if np.isinf(high) else f"{low:g} to {high:g}"
        lines.append(f"| {name} | {len(within)} | {show(wilson(sum(within), len(within)))} |")
    return lines


def risk_coverage(cases: Sequence[Case]) -> list[str]:
    """Error among the most confident share of cases, for the whole range of shares."""
    _, right = by_confidence(cases)
    errors = np.cumsum(~right) / np.arange(1, len(right) + 1)
    lines = ["| coverage | error |", "|---|---|"]
    if not cases:
        return lines
    for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0):
        lines.append(f"| {share:.2f} | {errors[max(0, round(share * len(right)) - 1)]:.4f} |")
    return lines


def confusion(cases: Sequence[Case]) -> list[str]:
    """Truth by row, prediction by column."""
    lines = ["| truth | " + " | ".join(classes.CLASSES) + " |", "|---" * 5 + "|"]
    for name in classes.CLASSES:
        of = [predicted_class(c.probabilities) for c in cases if c.truth == name]
        lines.append(f"| {name} | " + " | ".join(str(of.count(p)) for p in classes.CLASSES) + " |")
    return lines


def by_cut(cases: Sequence[Case], tuned: Sequence[Case], policy: ThresholdPolicy) -> list[str]:
    """What other cut-offs for verifying would do, on the test people and, for false passes, on the calibration people."""
    out = [
        "| verify at | coverage | selective accuracy | false passes | expected | of the calibration people | expected |",
        "|---|---|---|---|---|---|---|",
    ]
    for cut in sorted({0.95, 0.97, 0.98, 0.985, 0.99, 0.995, policy.verify_min}):
        other = replace(policy, verify_min=cut)
        found = evidence(cases, other)
        beside = evidence(tuned, other).false_pass
        passes = f"{false_passes(found.false_pass, cases, cut)} | {false_passes(beside, tuned, cut)}"
        out.append(f"| {cut} | {show(found.coverage)} | {show(found.selective_accuracy)} | {passes} |")
    return out


def false_passes(found: Interval, cases: Sequence[Case], cut: float) -> str:
    """Two cells: false passes as counted, and the share that the probabilities from `cut` on expect themselves."""
    passing = np.array([c.probabilities["pass"] for c in cases])
    expected = f"{expected_false(passing[passing >= cut]) / found.total:.4f}" if found.total else "-"
    return f"{found.count}/{found.total} {show(found)} | {expected}"


def apart(
    cases: Sequence[Case], without: Sequence[str], names: Sequence[str], policy: ThresholdPolicy
) -> list[str]:
    """Some kinds of mask, fillings and contrasts and, in one row, all else: what a training left out, or `names`."""
    shown = without or names
    if not shown:
        return []
    of = {n: [c for c in cases if n in (c.family, c.fill, c.contrast)] for n in shown}
    rest = [c for c in cases if not any(c in part for part in of.values())]
    title = "Left out of the training" if without else "Apart"
    rows = [row(n, part, policy) for n, part in of.items()]
    return ["", f"## {title}", "", HEAD, *rows, row("none of these", rest, policy)]


def report(
    classifier: Classifier,
    parts: dict[str, list[shards.Shard]],
    names: Sequence[str] = (),
    keep: Path | None = None,
) -> str:
    """All tables, as Markdown; `parts` as in `dataset.split`, `names` as in `apart`, `keep` as in `judged.said`."""
    tuned = [c for c in predictions(classifier.path, parts["calibration"], keep).cases if c.in_distribution]
    answers = predictions(classifier.path, parts["test"], keep)
    cases, odd = answers.cases, answers.odd
    usable = [c for c in cases if c.in_distribution]
    policy = choose_policy(tuned)
    taken = wilson(sum(odd), len(odd))
    lines = [
        f"Model {classifier.version}, projections {classifier.render_version}. Cut-offs chosen on the calibration people: "
        f"verify at {policy.verify_min}, fail at {policy.fail_min} with one class at {policy.class_min}.",
        "", f"Calibration people: {', '.join(sorted({c.person for c in tuned}))}. "
        f"Test people: {', '.join(sorted({c.person for c in cases}))}.",
        "", "## People never trained on", "", HEAD, row("test people", usable, policy),
        row("calibration people", tuned, policy), row("test people, start cut-offs", usable, ThresholdPolicy()),
        "", "At the start cut-offs, with intervals over people:", "", *table(usable, ThresholdPolicy()),
        "", at_one_cut(usable, one_cut(tuned)),
        "", *by_cut(usable, tuned, policy),
        "", f"Calibration error of p(pass): {calibration_error(usable):.4f}.",
        "", f"Referred as unlike a head: {len(cases) - len(usable)} of {len(cases)} heads; {len(odd) - sum(odd)} of "
        f"{len(odd)} things that are no defaced head (taken for one: {taken.count}, at most {taken.high:.3f}).",
        "", *confusion(usable), "", "## By question and region", "", *by_question(usable), "", *by_amount(usable),
        "", *by_share(usable),
        *apart(usable, classifier.facts.data.get("without", ()), names, policy),
        "", "## By contrast", "", *by(usable, "contrast", policy),
        "", "## By kind of mask", "", *by(usable, "family", policy), "", "## By filling", "", *by(usable, "fill", policy),
        "", "## By person", "", *by(usable, "person", policy), "", "## Risk and coverage", "", *risk_coverage(usable), "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--apart", nargs="+", default=(), metavar="NAME",
                        help="kinds of mask, fillings and contrasts to set against all else")  # fmt: skip
    parser.add_argument("--keep", type=Path, metavar="FOLDER",
                        help="keep the answers there: an interrupted run goes on, another asks nothing again")  # fmt: skip
    options = parser.parse_args()
    try:
        parts = shards.split(shards.shards(options.data))
        for part in ("calibration", "test"):
            if not parts[part]:
                parser.error(
                    f"{options.data}: no shard of the {part} people (inference/training/shards.py names them)"
                )
        text = report(Classifier.load(options.model), parts, options.apart, options.keep)
    except (shards.ShardError, CheckpointError) as error:
        parser.error(str(error))
    if options.out:
        options.out.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
