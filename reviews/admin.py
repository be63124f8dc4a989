"""The administration: people and teams; everything else can be looked at there, never changed."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User

from reviews.models import (
    AccessLog,
    ApiToken,
    Assignment,
    Attempt,
    AuditEvent,
    Dataset,
    FormerName,
    FrozenCase,
    FrozenSet,
    KnownCase,
    Lease,
    Membership,
    ModelVersion,
    Prediction,
    Referral,
    Scan,
    ThresholdSet,
    TriageRecord,
    Verdict,
)

admin.site.site_header = admin.site.site_title = "Defacing review"
admin.site.index_title = "Administration"
POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


class ReadOnly(admin.ModelAdmin):
    """Rows that only actions write."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request) -> bool:
        """Never here."""
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        """Never here."""
        return False

    def has_delete_permission(self, request, obj=None) -> bool:
        """Never here."""
        return False


admin.site.unregister(User)


@admin.register(User)
class AccountAdmin(UserAdmin):
    """Accounts are closed, never deleted: the trail names them. Only superusers give what makes one powerful."""

    def has_delete_permission(self, request, obj=None) -> bool:
        """Never: take 'active' away instead."""
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        """A superuser's account is for superusers."""
        own = super().has_change_permission(request, obj)
        return own and (request.user.is_superuser or obj is None or not obj.is_superuser)

    def get_readonly_fields(self, request, obj=None):
        """Others with a right to change accounts give themselves none."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, *POWERS)


@admin.register(Attempt)
class AttemptAdmin(ReadOnly):
    list_display = ("id", "scan", "number", "status", "plan", "route", "updated_at")
    list_filter = ("status", "dataset")
    list_select_related = ("scan",)
    raw_id_fields = ("scan",)


@admin.register(Scan)
class ScanAdmin(ReadOnly):
    list_display = ("id", "name", "subject", "suffix", "dataset")
    list_filter = ("dataset",)
    search_fields = ("subject", "name", "content_hash")
    list_select_related = ("dataset",)


@admin.register(Verdict)
class VerdictAdmin(ReadOnly):
    list_display = ("id", "attempt", "user", "kind", "klass", "mode", "created_at")
    list_filter = ("kind", "klass", "mode")
    list_select_related = ("attempt", "user")


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly):
    list_display = ("seq", "at", "actor", "action", "object_kind", "object_id")
    list_filter = ("action",)


@admin.register(ThresholdSet)
class ThresholdSetAdmin(ReadOnly):
    list_display = ("version", "active", "note", "created_by", "created_at")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnly):
    list_display = ("name", "version", "state", "render_version", "created_at")


OTHERS = (
    AccessLog,
    ApiToken,
    Assignment,
    Dataset,
    FormerName,
    FrozenCase,
    FrozenSet,
    KnownCase,
    Lease,
    Membership,
    Prediction,
    Referral,
    TriageRecord,
)
for model in OTHERS:
    admin.site.register(model, ReadOnly)
