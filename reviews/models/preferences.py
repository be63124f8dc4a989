"""How a person likes to work; nothing of it touches QC state."""

from django.conf import settings
from django.db import models


class Preference(models.Model):
    """One person's own shortcuts."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="preference")
    keys = models.JSONField("own shortcuts, name to key", default=dict, blank=True)

    def __str__(self) -> str:
        return f"preferences of {self.user_id}"


def own_keys(user) -> dict[str, str]:
    """The shortcuts this person has changed."""
    return Preference.objects.filter(user_id=user.pk).values_list("keys", flat=True).first() or {}
