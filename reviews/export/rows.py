"""One row an attempt: what it is, what the model said, what people decided, under which versions."""

from collections.abc import Callable, Iterator
from datetime import datetime

from django.db.models import Prefetch

from inference.classes import CLASSES
from reviews.actions.triage import probabilities_of
from reviews.labels import ears_counted
from reviews.models import Attempt, Dataset, Prediction, TriageRecord, Verdict
from reviews.wording import problem_codes, problems_words

CHUNK = 500
COLUMNS = (
    "dataset",
    "subject",
    "session",
    "acquisition",
    "run",
    "suffix",
    "file",
    "source_sha256",
    "attempt",
    "status",
    "engine",
    "engine_version",
    "plan",
    "output_sha256",
    "render_version",
    "model",
    "p_pass",
    "p_face",
    "p_brain",
    "p_both",
    "in_distribution",
    "thresholds",
    "route",
    "route_reason",
    "measured_class",
    "brain_removed_ml",
    "verdict",
    "verdict_by",
    "verdict_at",
    "verdict_mode",
    "verdict_reasons",
    "active_seconds",
    "decisions",
    "problems",
    "problem_codes",
    "error",
    "created_at",
    "updated_at",
)


def attempts(dataset: Dataset) -> Iterator[dict]:
    """Rows in the order of subjects, scans and attempts; values are numbers, texts, booleans, None or lists."""
    found = Attempt.objects.filter(dataset=dataset).select_related("scan")
    found = found.order_by("scan__subject", "scan__session", "scan_id", "number").prefetch_related(
        Prefetch(
            "verdicts",
            Verdict.objects.select_related("user", "threshold_set", "model_version").order_by("pk"),
        ),
        Prefetch(
            "triages",
            TriageRecord.objects.select_related("threshold_set", "prediction__model_version").order_by("pk"),
        ),
    )
    ears = ears_counted(dataset)
    for attempt in found.iterator(chunk_size=CHUNK):
        yield row(dataset, attempt, ears)


def row(dataset: Dataset, attempt: Attempt, ears: Callable[[datetime], bool]) -> dict:
    """All columns of one attempt."""
    scan = attempt.scan
    values = {
        "dataset": dataset.slug,
        "subject": scan.subject,
        "session": scan.session,
        "acquisition": scan.acquisition,
        "run": scan.run,
        "suffix": scan.suffix,
        "file": scan.name,
        "source_sha256": scan.content_hash,
        "attempt": attempt.number,
        "status": attempt.status,
        "engine": attempt.engine,
        "engine_version": attempt.engine_version,
        "plan": attempt.plan,
        "output_sha256": attempt.output_sha256,
        "render_version": attempt.render_version,
        "measured_class": attempt.measurements.get("class"),
        "brain_removed_ml": attempt.measurements.get("brain_removed_ml"),
        "problems": problems_words(attempt.problems),
        "problem_codes": problem_codes(attempt.problems),
        "error": attempt.error_text,
        "created_at": moment(attempt.created_at),
        "updated_at": moment(attempt.updated_at),
    }
    return values | said(list(attempt.triages.all()), ears) | decided(list(attempt.verdicts.all()))


def said(triages: list[TriageRecord], ears: Callable[[datetime], bool]) -> dict:
    """The latest triage with the prediction it rests on, as the standard of that moment reads it."""
    last = triages[-1] if triages else None
    prediction: Prediction | None = last.prediction if last else None
    shares = (probabilities_of(prediction, ears(last.created_at)) if last and prediction else None) or {}
    return {
        "model": prediction.model_version.version if prediction else None,
        **{f"p_{name}": shares.get(name) for name in CLASSES},
        "in_distribution": prediction.in_distribution if prediction else None,
        "thresholds": last.threshold_set.version if last else None,
        "route": last.route if last else None,
        "route_reason": last.reason if last else None,
    }


def decided(verdicts: list[Verdict]) -> dict:
    """The verdict that stands, and every decision in order with those taken back."""
    retracted = {verdict.retracts_id for verdict in verdicts}
    standing = [v for v in verdicts if v.kind == "decision" and not v.on_known_case and v.pk not in retracted]
    last = standing[-1] if standing else None
    return {
        "verdict": last.klass if last else None,
        "verdict_by": last.user.get_username() if last else None,
        "verdict_at": moment(last.created_at) if last else None,
        "verdict_mode": last.mode if last else None,
        "verdict_reasons": last.reasons if last else [],
        "active_seconds": last.active_ms / 1000 if last else None,
        "decisions": [decision(verdict, retracted) for verdict in verdicts],
    }


def decision(verdict: Verdict, retracted: set[int | None]) -> dict:
    """One row of a person's history with this attempt."""
    return {
        "id": verdict.pk,
        "kind": verdict.kind,
        "class": verdict.klass or None,
        "by": verdict.user.get_username(),
        "at": moment(verdict.created_at),
        "mode": verdict.mode,
        "known_case": verdict.on_known_case,
        "reasons": verdict.reasons,
        "thresholds": verdict.threshold_set.version if verdict.threshold_set else None,
        "model": verdict.model_version.version if verdict.model_version else None,
        "active_seconds": verdict.active_ms / 1000,
        "exposure_seconds": verdict.exposure_ms / 1000,
        "takes_back": verdict.retracts_id,
        "taken_back": verdict.pk in retracted,
    }


def moment(at: datetime) -> str:
    """UTC, ISO 8601."""
    return at.isoformat(timespec="milliseconds")
