"""The digest of stored rows: the same on both databases, before a row is stored and after it is read.

A column that holds its default is left out, so that a column that comes later changes no earlier digest:
it must come with a default (or null), and defaults of these tables never change. Values go by the name of their
database column: a field can be renamed where its column keeps its name.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache

from django.db import models

from reviews.verify_chain import canonical

KINDS = {
    "verdict": "Verdict",
    "triage": "TriageRecord",
    "prediction": "Prediction",
    "threshold_set": "ThresholdSet",
    "frozen_set": "FrozenSet",
    "frozen_case": "FrozenCase",
}
KIND_OF = {name.lower(): kind for kind, name in KINDS.items()}
MAY_CHANGE = {"threshold_set": ("active",)}


def kind_of(row: models.Model) -> str:
    """How the trail names the table of a row."""
    return KIND_OF[row._meta.model_name]


def columns(model: type[models.Model]) -> list[str]:
    """The columns that count, as `.values()` wants them."""
    return [name for name, *_ in _columns(model)]


def values_of(row: models.Model) -> dict:
    """A row in memory as `.values()` would give it."""
    return {name: getattr(row, name) for name in columns(type(row))}


def digest_of(model: type[models.Model], rows: Iterable[Mapping]) -> str:
    """SHA-256 over the rows in this order, one line of canonical JSON each."""
    found, kind = hashlib.sha256(), KIND_OF[model._meta.model_name]
    for row in rows:
        kept = {}
        for name, column, tell, default in _columns(model):
            value = row[name]
            told = None if value is None else tell(value)
            if told != default:
                kept[column] = told
        found.update(f"{kind}:{canonical(kept)}\n".encode())
    return found.hexdigest()


def spoken_of(rows: Sequence[models.Model]) -> list[list]:
    """What an event keeps of the rows it speaks of: for each kind its ids and one digest over them."""
    kinds: dict[str, list[models.Model]] = {}
    for row in rows:
        kinds.setdefault(kind_of(row), []).append(row)
    return [
        [kind, [row.pk for row in found], digest_of(type(found[0]), map(values_of, found))]
        for kind, found in kinds.items()
    ]


def are_ids(value) -> bool:
    """Whether it is a list of ids that a row can have."""
    return isinstance(value, list) and all(type(pk) is int and -(1 << 63) <= pk < 1 << 63 for pk in value)


def at_the_turn(models_of: Mapping[str, type[models.Model]]) -> dict[str, list]:
    """What rows of each kind were there when events began to speak of rows: last id, digest over all."""
    return {kind: [last_of(model), older_digest(model, last_of(model))] for kind, model in models_of.items()}


def last_of(model: type[models.Model]) -> int:
    """The highest id; 0 where there is no row."""
    return model.objects.aggregate(last=models.Max("pk"))["last"] or 0


def older_digest(model: type[models.Model], last: int) -> str:
    """The digest over all rows up to an id."""
    rows = model.objects.filter(pk__lte=last).order_by("pk").values(*columns(model))
    return digest_of(model, rows.iterator(chunk_size=2000))


@cache
def _columns(model: type[models.Model]) -> list[tuple[str, str, Callable, object]]:
    """Name, column, how its value is told, and the value that is left out."""
    skipped = MAY_CHANGE.get(KIND_OF[model._meta.model_name], ())
    found = []
    for field in model._meta.concrete_fields:
        if field.attname not in skipped:
            tell = next((way for kind, way in WAYS if isinstance(field, kind)), str)
            fixed = field.has_default() and (not callable(field.default) or field.default in (list, dict))
            default = field.get_default() if fixed else None
            found.append((field.attname, field.column, tell, None if default is None else tell(default)))
    return found


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _number(value: float) -> float | int:
    """A whole number is written without a point: a database may give either."""
    value = float(value)
    return int(value) if value.is_integer() else value


def _json(value):
    match value:
        case dict():
            return {str(name): _json(one) for name, one in value.items()}
        case list() | tuple():
            return [_json(one) for one in value]
        case float():
            return _number(value)
        case str():
            return str(value)
    return value


WAYS = (
    (models.DateTimeField, _moment),
    (models.BooleanField, bool),
    (models.FloatField, _number),
    ((models.IntegerField, models.ForeignKey), int),
    (models.JSONField, _json),
)
