"""Scans and their defacing attempts."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from inference.triage import Route
from reviews.models.ahead import lease_over, silent
from reviews.models.people import Dataset, Mode
from reviews.states import JUDGEABLE, WORKING, Status
from reviews.wording import problems_words

STATUS_CHOICES = [(status.value, status.label) for status in Status]
ROUTE_CHOICES = [(route.value, route.value) for route in Route]
UNDO_HOURS = 24


def judged_by(user):
    """Scans of which the user has judged an attempt, whatever became of the verdict.

    Where known cases are hidden in verification, what was said there must stand and be too old to be taken back:
    nobody says anything, looks the scan up, takes it back and answers anew.
    """
    said = apps.get_model("reviews", "Verdict").objects.filter(user_id=user.pk).exclude(mode=Mode.PRACTICE)
    hiding = Dataset.objects.kept_back_from(user).values("pk")
    settled = Q(retracts__isnull=True, retracted_by__isnull=True, created_at__lt=undoable_since())
    return said.filter(~Q(mode=Mode.VERIFY) | settled | ~Q(attempt__dataset__in=hiding)).values(
        "attempt__scan"
    )


def undoable_since() -> datetime:
    """Verdicts from then on can still be taken back."""
    return timezone.now() - timedelta(hours=UNDO_HOURS)


def _in_sight(user, judged: Q) -> Q:
    datasets = Dataset.objects.visible_to(user)
    return Q(dataset__in=Dataset.objects.seen_whole_by(user)) | (Q(dataset__in=datasets) & judged)


class ScanQuerySet(models.QuerySet):
    def visible_to(self, user) -> "ScanQuerySet":
        """Scans of the user's datasets; of those in which they only judge, the ones they have judged."""
        if user.is_superuser:
            return self
        return self.filter(_in_sight(user, Q(pk__in=judged_by(user))))


class Scan(models.Model):
    """One source volume of one subject, known by its content hash."""

    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="scans")
    content_hash = models.CharField("SHA-256 of the source file", max_length=64)
    name = models.CharField(max_length=255)
    subject = models.CharField(max_length=128, db_index=True)
    session = models.CharField(max_length=128, blank=True)
    acquisition = models.CharField(max_length=128, blank=True)
    run = models.CharField(max_length=32, blank=True)
    suffix = models.CharField("modality", max_length=64, db_index=True)
    source_path = models.CharField("path without links", max_length=4096)
    source_root = models.CharField(
        "folder it was taken in from; empty for the data folder", max_length=4096, blank=True
    )
    original_path = models.CharField(max_length=4096, blank=True)
    original_hash = models.CharField(max_length=64, blank=True)
    original_stamp = models.CharField("size, times and inode when last hashed", max_length=128, blank=True)
    source_stamp = models.CharField("size and time of the files when taken in", max_length=128, blank=True)
    shape = models.JSONField(default=list, blank=True)
    zooms = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ScanQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "content_hash"], name="scan_once_per_dataset")
        ]
        indexes = [
            models.Index(fields=["dataset", "subject", "session"], name="scan_by_subject"),
            models.Index(fields=["dataset", "source_path"], name="scan_by_path"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_original(self) -> bool:
        """Whether an original to deface again from is known."""
        return bool(self.original_path)


class AttemptQuerySet(models.QuerySet):
    def visible_to(self, user) -> "AttemptQuerySet":
        """Attempts of the scans that the user may look up."""
        if user.is_superuser:
            return self
        return self.filter(_in_sight(user, Q(scan__in=judged_by(user))))

    def awaiting_verification(self) -> "AttemptQuerySet":
        """Confident passes that no person has verified."""
        return self.filter(status=Status.VERIFY)

    def awaiting_visual(self) -> "AttemptQuerySet":
        """Attempts that need the full look."""
        return self.filter(status=Status.REFER)

    def needing_a_person(self) -> "AttemptQuerySet":
        """Failures without a further plan or without an original."""
        return self.filter(status=Status.NEEDS_PERSON)

    def awaiting(self, mode: str) -> "AttemptQuerySet":
        """What waits in the queue of one mode."""
        return self.awaiting_verification() if mode == Mode.VERIFY else self.awaiting_visual()

    def working(self) -> "AttemptQuerySet":
        """What waits for a background job or is in one."""
        return self.filter(status__in=[status.value for status in WORKING])

    def in_error(self) -> "AttemptQuerySet":
        """What a job gave up on."""
        return self.filter(status=Status.ERROR)

    def for_reviewer(self, user, mode: str = Mode.VERIFY) -> "AttemptQuerySet":
        """What this user may be given: open queues, not leased to others, not their own earlier doubt."""
        free = Q(lease__isnull=True) | lease_over("lease__") | Q(lease__user_id=user.pk)
        open_ids = list(Dataset.objects.open_to(user, mode).values_list("pk", flat=True))
        return self.filter(free, dataset_id__in=open_ids).exclude(referrals__user_id=user.pk)

    def by_confidence(self) -> "AttemptQuerySet":
        """Most confident pass first; the order of the queues."""
        return self.order_by("-confidence", "pk")

    def stalled(self, before: datetime) -> "AttemptQuerySet":
        """Work that nobody claimed or whose worker has been silent since `before`."""
        unclaimed = Q(claimed_at__isnull=True) & silent("updated_at", before)
        return self.working().filter(unclaimed | silent("claimed_at", before))


class Attempt(models.Model):
    """One run of one defacing engine on one scan; the unit of QC."""

    scan = models.ForeignKey(Scan, models.PROTECT, related_name="attempts")
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="attempts", editable=False)
    number = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=16, choices=STATUS_CHOICES)
    engine = models.CharField(max_length=64)
    engine_version = models.CharField(max_length=128, blank=True)
    plan = models.CharField(max_length=64, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    output_path = models.CharField(max_length=4096, blank=True)
    output_root = models.CharField(
        "folder it was taken in from; empty for the data folder", max_length=4096, blank=True
    )
    output_sha256 = models.CharField(max_length=64, blank=True)
    output_stamp = models.CharField("size, times and inode when last hashed", max_length=128, blank=True)
    views_dir = models.CharField("picture folder below the data folder", max_length=512, blank=True)
    view_names = models.JSONField(default=list, blank=True)
    render_version = models.CharField(max_length=64, blank=True)
    measurements = models.JSONField(default=dict, blank=True)
    problems = models.JSONField("problems the physical check found", default=list, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_text = models.TextField(blank=True)
    error_from = models.CharField(max_length=16, choices=STATUS_CHOICES, blank=True)
    confidence = models.FloatField("p(pass) of the current prediction", default=0.0)
    route = models.CharField(max_length=8, choices=ROUTE_CHOICES, blank=True)
    route_reason = models.CharField(max_length=32, blank=True)
    triaged_under = models.ForeignKey(
        "reviews.ThresholdSet", models.PROTECT, null=True, blank=True, related_name="+"
    )
    claimed_by = models.CharField(max_length=64, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = AttemptQuerySet.as_manager()
    given = ""  # the handle under which a person was given it, where a page was

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scan", "number"], name="attempt_number_once"),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in Status]), name="attempt_status_known"
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "status", "-confidence", "id"], name="attempt_queue"),
            models.Index(fields=["status", "-confidence", "id"], name="attempt_queue_all"),
            models.Index(fields=["status", "updated_at"], name="attempt_stalled"),
            models.Index(fields=["-confidence", "id"], name="attempt_by_confidence"),
            models.Index(fields=["updated_at", "id"], name="attempt_by_change"),
        ]

    def __str__(self) -> str:
        return f"{self.scan_id} attempt {self.number}"

    @property
    def state(self) -> Status:
        """The status as the enum that owns the rules."""
        return Status(self.status)

    @property
    def judgeable(self) -> bool:
        """Whether a person's verdict can decide it now."""
        return self.state in JUDGEABLE

    @property
    def views_path(self) -> Path:
        """The folder of the pictures."""
        return Path(os.path.realpath(settings.DATA_DIR)) / self.views_dir

    @property
    def problem(self) -> str:
        """One line of what went wrong, for lists."""
        return self.error_text or "; ".join(problems_words(self.problems))
