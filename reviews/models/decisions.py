"""What the model said, what the cut-offs made of it, and what people decided."""

import secrets

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from inference.triage import CLASSES, ThresholdPolicy
from reviews.models.people import Mode
from reviews.models.scans import ROUTE_CHOICES, STATUS_CHOICES, Attempt

CLASS_LABELS = {
    "pass": "Pass",
    "face": "Face remains",
    "brain": "Brain removed",
    "both": "Misplaced mask",
}
CLASS_CHOICES = [(name, CLASS_LABELS[name]) for name in CLASSES]
REASON_FLAGS = (
    "eyes",
    "nose",
    "mouth",
    "left ear",
    "right ear",
    "frontal",
    "temporal",
    "cerebellum",
    "other",
)


class ModelVersion(models.Model):
    """One trained network, known by the hash of its weights."""

    class State(models.TextChoices):
        CANDIDATE = "candidate", "Candidate"
        SHADOW = "shadow", "In the shadow"
        CURRENT = "current", "Current"
        RETIRED = "retired", "Retired"

    version = models.CharField("hash", max_length=64, unique=True)
    name = models.CharField(max_length=128, blank=True)
    render_version = models.CharField(max_length=64)
    class_order = models.JSONField(default=list)
    metrics = models.JSONField(default=dict, blank=True)
    data_summary = models.JSONField(default=dict, blank=True)
    weights_path = models.CharField(max_length=4096, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.CANDIDATE)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=Q(state="current"), name="one_current_model_version"
            )
        ]

    def __str__(self) -> str:
        return self.name or self.version[:12]


class Prediction(models.Model):
    """Calibrated probabilities of one attempt by one model version."""

    attempt = models.ForeignKey(Attempt, models.PROTECT, related_name="predictions")
    model_version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="predictions")
    p_pass = models.FloatField(null=True)
    p_face = models.FloatField(null=True)
    p_brain = models.FloatField(null=True)
    p_both = models.FloatField(null=True)
    with_ears = models.JSONField("class probabilities where ears count too", default=dict, blank=True)
    attributes = models.JSONField(default=dict, blank=True)
    remains = models.JSONField("expected share left of each region", default=dict, blank=True)
    in_distribution = models.BooleanField(default=False)
    render_version = models.CharField(max_length=64, blank=True)
    shadow = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"prediction {self.pk} of {self.attempt_id}"

    @property
    def probabilities(self) -> dict[str, float] | None:
        """By class; None when the model gave nothing usable."""
        values = {name: getattr(self, f"p_{name}") for name in CLASSES}
        return None if any(value is None for value in values.values()) else values


class ThresholdSet(models.Model):
    """Versioned, immutable cut-offs with the evidence they were chosen on; exactly one is active."""

    version = models.PositiveIntegerField(unique=True)
    policy = models.JSONField()
    evidence = models.JSONField(default=dict, blank=True)
    note = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    active = models.BooleanField(default=False)

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint(
                fields=["active"], condition=Q(active=True), name="one_active_threshold_set"
            )
        ]

    def __str__(self) -> str:
        return f"version {self.version}"

    def clean(self) -> None:
        try:
            ThresholdPolicy.from_dict(self.policy)
        except (TypeError, ValueError) as error:
            raise ValidationError({"policy": str(error)}) from error

    @property
    def cutoffs(self) -> ThresholdPolicy:
        """The cut-offs, checked."""
        return ThresholdPolicy.from_dict(self.policy)


class TriageRecord(models.Model):
    """Prediction + threshold set -> route, and why."""

    attempt = models.ForeignKey(Attempt, models.PROTECT, related_name="triages")
    prediction = models.ForeignKey(Prediction, models.PROTECT, null=True, related_name="triages")
    threshold_set = models.ForeignKey(ThresholdSet, models.PROTECT, related_name="triages")
    route = models.CharField(max_length=8, choices=ROUTE_CHOICES)
    reason = models.CharField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.attempt_id} {self.route}"


class VerdictQuerySet(models.QuerySet):
    def standing(self) -> "VerdictQuerySet":
        """Verdicts that decided something and were not taken back."""
        return self.filter(retracts__isnull=True, retracted_by__isnull=True)

    def by(self, user) -> "VerdictQuerySet":
        """One person's rows."""
        return self.filter(user_id=user.pk)

    def first_answers(self) -> "VerdictQuerySet":
        """What each person said first of each hidden known case, taken back or not; later answers stand beside it.

        `passed`: they passed it, then or later.
        """
        hidden = Q(on_known_case=True) & ~Q(mode=Mode.PRACTICE) & ~Q(kind=Verdict.Kind.RETRACTION)
        same = Verdict.objects.filter(hidden, user=OuterRef("user"), attempt=OuterRef("attempt"))
        first = self.filter(hidden).filter(~Exists(same.filter(pk__lt=OuterRef("pk"))))
        return first.annotate(passed=Exists(same.filter(klass="pass")))


class Verdict(models.Model):
    """One person's decision, doubt or retraction; rows are only ever added."""

    class Kind(models.TextChoices):
        DECISION = "decision", "Decision"
        DOUBT = "doubt", "Unsure"
        RETRACTION = "retraction", "Undo"

    attempt = models.ForeignKey(Attempt, models.PROTECT, related_name="verdicts")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="verdicts")
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.DECISION)
    klass = models.CharField("class", max_length=8, choices=CLASS_CHOICES, blank=True)
    reasons = models.JSONField(default=list, blank=True)
    note = models.TextField(blank=True)
    mode = models.CharField(max_length=8, choices=Mode.choices)
    on_known_case = models.BooleanField("on a hidden known case", default=False, db_column="gold")
    correct = models.BooleanField(null=True)
    status_before = models.CharField(max_length=16, choices=STATUS_CHOICES)
    active_ms = models.PositiveIntegerField(default=0)
    exposure_ms = models.PositiveIntegerField(default=0)
    nonce = models.CharField(max_length=64)
    threshold_set = models.ForeignKey(ThresholdSet, models.PROTECT, null=True, blank=True)
    model_version = models.ForeignKey(ModelVersion, models.PROTECT, null=True, blank=True)
    retracts = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="retracted_by"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = VerdictQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["user", "nonce"], name="verdict_counts_once"),
            models.CheckConstraint(
                condition=Q(kind="decision", klass__in=CLASSES) | (~Q(kind="decision") & Q(klass="")),
                name="verdict_decision_has_class",
            ),
            models.CheckConstraint(
                condition=Q(kind="retraction", retracts__isnull=False)
                | (~Q(kind="retraction") & Q(retracts__isnull=True)),
                name="verdict_retraction_names_verdict",
            ),
        ]
        indexes = [models.Index(fields=["user", "-created_at"], name="verdict_of_user")]

    def __str__(self) -> str:
        return f"{self.attempt_id} {self.klass or self.kind}"


def random_handle() -> str:
    """A name that tells nothing: 128 random bits."""
    return secrets.token_urlsafe(16)


class Lease(models.Model):
    """The right of one person to judge one attempt for a limited time; outside it goes by its handle."""

    attempt = models.OneToOneField(Attempt, models.CASCADE, related_name="lease")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="leases")
    mode = models.CharField(max_length=8, choices=Mode.choices)
    handle = models.CharField(max_length=32, unique=True, default=random_handle)
    known = models.BooleanField("slipped in as a known case", default=False)
    granted_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.attempt_id} for {self.user_id}"


class SpentTime(models.Model):
    """What of one person's time is used up: spans in milliseconds since 1970; see actions/clock.py."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="spent_time")
    exposure = models.JSONField(default=list)
    active = models.JSONField(default=list)
    practising_since = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"time of {self.user_id}"


class Given(models.Model):
    """That an attempt was given to a person, and under which handle: kept, so that a head once seen is remembered."""

    handle = models.CharField(max_length=32, unique=True)
    attempt = models.ForeignKey(Attempt, models.CASCADE, related_name="given_as")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="given")
    mode = models.CharField(max_length=8, choices=Mode.choices)
    known = models.BooleanField("slipped in as a known case", default=False)
    beside = models.ForeignKey(Attempt, models.CASCADE, null=True, related_name="+", editable=False)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["user", "attempt"], name="given_to_user"),
            models.Index(fields=["user"], condition=Q(known=True), name="given_known_to_user"),
        ]

    def __str__(self) -> str:
        return f"{self.attempt_id} to {self.user_id}"


class Referral(models.Model):
    """Who was unsure about an attempt; it is not given to them again."""

    attempt = models.ForeignKey(Attempt, models.CASCADE, related_name="referrals")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    verdict = models.OneToOneField(Verdict, models.CASCADE, related_name="referral")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "user"], name="referral_once_per_user")]

    def __str__(self) -> str:
        return f"{self.attempt_id} not for {self.user_id}"


class KnownCase(models.Model):
    """An attempt whose true class is known: hidden in the queue, or shown in practice with feedback."""

    attempt = models.OneToOneField(Attempt, models.PROTECT, related_name="known_case")
    truth = models.CharField(max_length=8, choices=CLASS_CHOICES)
    practice = models.BooleanField("for practice, with feedback", default=False)
    explanation = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(truth__in=CLASSES), name="known_case_has_class")]

    def __str__(self) -> str:
        return f"{self.attempt_id} is {self.truth}"
