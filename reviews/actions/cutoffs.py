"""Versions of the cut-offs, exactly one of them in force."""

from django.db import transaction

from reviews import audit
from reviews.actions.core import NotAllowed
from reviews.models import ThresholdSet
from reviews.thresholds import ThresholdPolicy

SAVED = "thresholds_saved"


def active_thresholds() -> ThresholdSet:
    """The cut-offs in force; a new database starts with version 1, strict and without evidence."""
    found = ThresholdSet.objects.filter(active=True).first()
    if found is not None:
        return found
    with transaction.atomic():
        first, created = ThresholdSet.objects.get_or_create(
            version=1,
            defaults={"policy": ThresholdPolicy().to_dict(), "note": "Start values", "active": True},
        )
        if created:
            audit_thresholds(first, SAVED, actor=None, before=None)
    return first


def switch(new: ThresholdSet, actor) -> None:
    old = ThresholdSet.objects.select_for_update().filter(active=True).first()
    ThresholdSet.objects.filter(active=True).update(active=False)
    ThresholdSet.objects.filter(pk=new.pk).update(active=True)
    new.active = True
    audit_thresholds(new, "thresholds_activated", actor=actor, before=old and {"version": old.version})


def audit_thresholds(threshold_set: ThresholdSet, action: str, *, actor, before) -> None:
    audit.append(
        actor=actor,
        action=action,
        dataset=None,
        object_kind="threshold_set",
        object_id=threshold_set.pk,
        before=before,
        after={"version": threshold_set.version, "policy": threshold_set.policy},
        rows=[threshold_set] if action == SAVED else (),
    )


def require_permission(actor, permission: str) -> None:
    if actor is not None and not actor.has_perm(permission):
        raise NotAllowed("Only an administrator may change cut-offs and models.")
