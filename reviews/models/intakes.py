"""What pipelines hand in, and what became of it."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from reviews.models.people import Dataset


class Intake(models.Model):
    """One file handed in over the API: read by a job, never by the web process."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting to be read"
        TAKEN = "taken", "Taken in"
        KNOWN = "known", "Known already"
        REFUSED = "refused", "Refused"

    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="intakes")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="intakes")
    path = models.CharField(max_length=4096)
    original_path = models.CharField(max_length=4096, blank=True)
    defaced = models.BooleanField(default=False)
    sha256 = models.CharField("SHA-256 of an uploaded file", max_length=64, blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    outcome = models.CharField(max_length=16, blank=True)
    reason = models.TextField(blank=True)
    scan = models.ForeignKey("reviews.Scan", models.PROTECT, null=True, blank=True, related_name="+")
    tries = models.PositiveSmallIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "sha256", "defaced"],
                condition=~Q(sha256="") & ~Q(state="refused"),
                name="upload_once_per_dataset",
            )
        ]
        indexes = [models.Index(fields=["state", "created_at"], name="intake_waiting")]

    def __str__(self) -> str:
        return f"intake {self.pk}"
