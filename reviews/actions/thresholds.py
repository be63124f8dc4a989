"""New versions of the cut-offs, and which of them is in force."""

from django.db import transaction
from django.db.models import Max

from inference.triage import ThresholdPolicy
from reviews import queue
from reviews.actions.core import (
    AT_ONCE,
    SAVED,
    active_thresholds,
    audit_thresholds,
    require_permission,
)
from reviews.actions.triage import retriage, retriageable
from reviews.models import ThresholdSet


def switch(new: ThresholdSet, *, actor) -> None:
    old = ThresholdSet.objects.select_for_update().filter(active=True).first()
    ThresholdSet.objects.filter(active=True).update(active=False)
    ThresholdSet.objects.filter(pk=new.pk).update(active=True)
    new.active = True
    audit_thresholds(new, "thresholds_activated", actor=actor, before=old and {"version": old.version})


def save_thresholds(*, actor, policy: ThresholdPolicy, evidence=None, note: str = "") -> ThresholdSet:
    """A new version of the cut-offs, active at once; what is undecided is routed anew."""
    require_permission(actor, "reviews.add_thresholdset")
    active_thresholds()
    with transaction.atomic():
        ThresholdSet.objects.select_for_update().filter(active=True).first()  # versions are given one by one
        highest = ThresholdSet.objects.aggregate(highest=Max("version"))["highest"]
        new = ThresholdSet.objects.create(
            version=highest + 1,
            policy=policy.to_dict(),
            evidence=evidence or {},
            note=note[:200],
            created_by=actor,
        )
        audit_thresholds(new, SAVED, actor=actor, before=None)
        switch(new, actor=actor)
    route_anew(new, actor=actor)
    return new


def activate_thresholds(*, actor, threshold_set: ThresholdSet) -> None:
    """Bring an earlier version back into force; what is undecided is routed anew."""
    require_permission(actor, "reviews.add_thresholdset")
    with transaction.atomic():
        switch(threshold_set, actor=actor)
    route_anew(threshold_set, actor=actor)


def route_anew(cutoffs: ThresholdSet, *, actor) -> None:
    """A few attempts at once, many in the background; requeue_stalled goes on where that was cut off."""
    if retriageable()[: AT_ONCE + 1].count() <= AT_ONCE:
        retriage(actor=actor)
    else:
        queue.enqueue(queue.ROUTE_ANEW, cutoffs.pk)
