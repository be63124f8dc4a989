"""How a model in the shadow compares with the one that routes: read only."""

from dataclasses import dataclass, field

from django.db.models import OuterRef, Subquery

from inference.triage import Route, ThresholdPolicy, predicted_class, sound
from reviews.actions.triage import decide, probabilities_of
from reviews.models import ModelVersion, Prediction

MOST = 2000


@dataclass
class Comparison:
    """Counts over the latest attempts that both models have seen; routes by (current's, candidate's)."""

    seen: int = 0
    both_usable: int = 0
    same_class: int = 0
    same_route: int = 0
    routes: dict[tuple[str, str], int] = field(
        default_factory=lambda: {(one.value, other.value): 0 for one in Route for other in Route}
    )

    @property
    def rows(self) -> list[tuple[str, list[int]]]:
        """For each route of the current model, how many the candidate would send where."""
        return [(one.value, [self.routes[one.value, other.value] for other in Route]) for one in Route]


def compare(model: ModelVersion, policy: ThresholdPolicy) -> Comparison:
    """The candidate's answers beside those that routed, under the cut-offs given."""
    routed = Prediction.objects.filter(attempt=OuterRef("attempt_id"), shadow=False).order_by("-pk")
    said = Prediction.objects.filter(model_version=model, shadow=True).order_by("-pk")
    said = said.select_related("model_version", "attempt__dataset")
    rows = list(said.annotate(beside=Subquery(routed.values("pk")[:1]))[:MOST])
    others = Prediction.objects.select_related("model_version").in_bulk([row.beside for row in rows])
    found, known = Comparison(), set()
    for row in rows:
        other = others.get(row.beside)
        if other is None or row.attempt_id in known:
            continue  # classified more than once: the latest answer counts
        known.add(row.attempt_id)
        _count(found, row, other, policy)
    return found


def _count(found: Comparison, row: Prediction, other: Prediction, policy: ThresholdPolicy) -> None:
    attempt = row.attempt
    one, two = decide(attempt, other, policy).route, decide(attempt, row, policy).route
    found.seen += 1
    found.same_route += one is two
    found.routes[one.value, two.value] += 1
    ears = attempt.dataset.ears_required
    first, second = probabilities_of(other, ears), probabilities_of(row, ears)
    if first and second and sound(first) and sound(second):
        found.both_usable += 1
        found.same_class += predicted_class(first) == predicted_class(second)
