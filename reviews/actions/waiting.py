"""What cut-offs would do to everything undecided, read in one go: the database gives numbers, numpy counts."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from django.db.models import Case, IntegerField, Q, When

from reviews.actions.triage import retriageable, under_standard
from reviews.models import Dataset, ModelVersion
from reviews.thresholds import CLASSES, Outlook, ThresholdPolicy, Waiting, what_if

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
