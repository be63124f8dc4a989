"""The append-only, hash-chained audit trail; triggers in the migration refuse change and deletion."""

from django.db import models


class AuditHead(models.Model):
    """The end of the chain: one row, locked while an event is appended."""

    seq = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, default="0" * 64)

    def __str__(self) -> str:
        return f"event {self.seq}"


class AuditEvent(models.Model):
    """Who, what, when, before and after: ids, hashes, classes and versions only."""

    format = models.PositiveSmallIntegerField(default=1)
    salt = models.CharField(max_length=32, blank=True)
    seq = models.PositiveBigIntegerField(unique=True)
    at = models.CharField("UTC time, ISO 8601", max_length=32)
    actor = models.CharField(max_length=64)
    action = models.CharField(max_length=48, db_index=True)
    dataset = models.BigIntegerField(null=True, db_index=True)
    object_kind = models.CharField(max_length=32)
    object_id = models.BigIntegerField(null=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    content_digest = models.CharField(max_length=64)
    previous_digest = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["seq"]
        indexes = [models.Index(fields=["object_kind", "object_id"], name="audit_by_object")]

    def __str__(self) -> str:
        return f"{self.seq} {self.action}"
