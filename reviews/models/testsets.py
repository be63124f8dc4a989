"""Cases that models are tested on and never trained on; rows are only ever added."""

from django.conf import settings
from django.db import models

from reviews.models.decisions import CLASS_CHOICES
from reviews.models.people import Dataset
from reviews.models.scans import Attempt


class FrozenSet(models.Model):
    """Subjects of one dataset set apart on one day, under the dataset's standard of that day."""

    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="frozen_sets")
    share = models.FloatField("share of the judged subjects asked for")
    ears_required = models.BooleanField("ears counted as face")
    digest = models.CharField("hash of the cases and their classes", max_length=64, unique=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"frozen set {self.pk} of {self.dataset_id}"


class FrozenCase(models.Model):
    """One attempt with its class as it was when the set was frozen; what is said later changes nothing."""

    frozen_set = models.ForeignKey(FrozenSet, models.PROTECT, related_name="cases")
    attempt = models.OneToOneField(Attempt, models.PROTECT, related_name="frozen")
    truth = models.CharField(max_length=8, choices=CLASS_CHOICES)
    adjudicated = models.BooleanField("more than one person's reading")
    output_sha256 = models.CharField(max_length=64)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.attempt_id} is {self.truth}"
