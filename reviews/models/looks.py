"""Who looked at a head as it was before defacing: rows are only ever added, no name is in them."""

from django.conf import settings
from django.db import models

from reviews.models.people import Dataset
from reviews.models.scans import Attempt


class AccessLog(models.Model):
    """One look at an original, or one download of it."""

    class How(models.TextChoices):
        SHOWN = "shown", "Shown"
        DOWNLOADED = "downloaded", "Downloaded"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="looks")
    attempt = models.ForeignKey(Attempt, models.PROTECT, related_name="looks")
    what = models.CharField("picture, plane with layer, or volume", max_length=64)
    how = models.CharField(max_length=16, choices=How.choices)
    at = models.CharField("UTC time, ISO 8601", max_length=32)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["dataset", "id"], name="looks_by_dataset")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.how} {self.what} of {self.attempt_id}"
