"""How a model did on the frozen test sets, and whether a candidate may take over. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inference.metrics import Judged, evidence, wilson
from inference.triage import Context, ThresholdPolicy, predicted_class

Figures = dict[str, Any]
FIGURES = ("accuracy", "coverage", "selective_accuracy", "false_pass")


@dataclass(frozen=True)
class Answer:
    """What a model says of a frozen case, under the standard that its truth is of; doubtful is referred."""

    probabilities: Mapping[str, float]
    truth: str
    in_distribution: bool


def figures(answers: Sequence[Answer], policy: ThresholdPolicy) -> Figures:
    """Four-class accuracy of every answer, then coverage, selective accuracy and false passes under the cut-offs.

    Each is {count, total, low, high}: a share with its 95 % Wilson interval.
    """
    right = sum(predicted_class(answer.probabilities) == answer.truth for answer in answers)
    routed = [Judged(a.probabilities, a.truth, Context.of_network_alone(a.in_distribution)) for a in answers]
    return {"cases": len(answers), "accuracy": asdict(wilson(right, len(answers)))} | {
        name: asdict(interval) for name, interval in vars(evidence(routed, policy)).items()
    }


def objection(new: Figures, old: Figures) -> str:
    """Why `new` must not take over from `old`, measured on the same cases; '' when it may.

    The upper bound of the candidate's false-pass rate must not be above the current model's upper bound, and
    its selective accuracy must not be below the lower bound of the current model's.
    """
    if not new["selective_accuracy"]["total"]:
        return "it decides none of the frozen cases"
    bound, limit = new["false_pass"]["high"], old["false_pass"]["high"]
    if bound > limit:
        return f"its false-pass rate may be as high as {bound:.1%}, the current model's {limit:.1%}"
    share = new["selective_accuracy"]["count"] / new["selective_accuracy"]["total"]
    least = old["selective_accuracy"]["low"]
    if old["selective_accuracy"]["total"] and share < least:
        return f"it decides {share:.1%} rightly, the current model at least {least:.1%}"
    return ""
