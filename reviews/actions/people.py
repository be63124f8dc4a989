"""Datasets, roles and assignments."""

from django.core.exceptions import ValidationError
from django.db import transaction

from reviews import audit
from reviews.actions.core import Refused, active_thresholds, require_role
from reviews.actions.keys import end_useless_keys
from reviews.actions.thresholds import route_anew
from reviews.models import Assignment, Attempt, Dataset, Membership, Role

CONFIGURABLE = (
    "title",
    "ears_required",
    "min_exposure_seconds",
    "opinion_after_judgement",
    "lease_seconds",
    "max_attempts",
    "known_share",
    "engine",
)


@transaction.atomic
def create_dataset(*, actor, slug: str, title: str = "", **settings) -> Dataset:
    """A new study; the person who makes it administers it."""
    dataset = Dataset(slug=slug, title=title or slug, **settings)
    _check(dataset)
    dataset.save()
    _audit(dataset, "dataset_created", "dataset", dataset.pk, actor=actor, after=_settings_of(dataset))
    if actor is not None:
        grant(actor=None, dataset=dataset, user=actor, role=Role.ADMIN)
    return dataset


@transaction.atomic
def configure_dataset(*, actor, dataset: Dataset, **settings) -> Dataset:
    """Change a dataset's standard or way of working; the title is not part of the trail.

    Under another standard what is undecided is routed anew, as with new cut-offs.
    """
    require_role(actor, dataset.pk, [Role.ADMIN])
    unknown = set(settings) - set(CONFIGURABLE)
    if unknown:
        raise Refused(f"These are not settings of a dataset: {', '.join(sorted(unknown))}.")
    fresh = Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    before = _settings_of(fresh)
    for name, value in settings.items():
        setattr(fresh, name, value)
    _check(fresh)
    fresh.save()
    after = _settings_of(fresh)
    if after["ears_required"] != before["ears_required"]:
        Attempt.objects.filter(dataset=fresh).update(triaged_under=None)  # what is decided may be taken back
        transaction.on_commit(lambda: route_anew(active_thresholds(), actor=actor))
    _audit(fresh, "dataset_configured", "dataset", fresh.pk, actor=actor, before=before, after=after)
    return fresh


@transaction.atomic
def grant(
    *,
    actor,
    dataset: Dataset,
    user,
    role: str,
    sees_originals: bool = False,
    downloads_originals: bool = False,
) -> Membership:
    """Give a person a role in a dataset, in place of an earlier one; who no longer judges loses their leases.

    Whoever has no use for them any more loses the API keys.
    Originals are shown only to whom it says so; who may download them sees them too.
    """
    require_role(actor, dataset.pk, [Role.ADMIN])
    before = _rights_of(user, dataset)
    rights = {
        "role": Role(role).value,
        "sees_originals": bool(sees_originals or downloads_originals),
        "downloads_originals": bool(downloads_originals),
    }
    membership, _ = Membership.objects.update_or_create(user=user, dataset=dataset, defaults=rights)
    if not Role(role).reviews:
        _end_leases(user, dataset)
    _audit(
        dataset,
        "role_granted",
        "user",
        user.pk,
        actor=actor,
        before=before or {"role": None},
        after=rights,
    )
    end_useless_keys(user.pk, actor=actor)
    return membership


@transaction.atomic
def revoke(*, actor, dataset: Dataset, user) -> None:
    """Take a person's role away; their leases there end, and API keys that nothing is left for."""
    require_role(actor, dataset.pk, [Role.ADMIN])
    before = _rights_of(user, dataset)
    if before is None:
        return
    Membership.objects.filter(user=user, dataset=dataset).delete()
    _end_leases(user, dataset)
    _audit(dataset, "role_revoked", "user", user.pk, actor=actor, before=before, after=None)
    end_useless_keys(user.pk, actor=actor)


@transaction.atomic
def assign(*, actor, dataset: Dataset, mode: str, user=None, team=None) -> Assignment:
    """Give a queue to one reviewer or one team; it is then closed to everybody else."""
    require_role(actor, dataset.pk, [Role.ADMIN, Role.MANAGER])
    if (user is None) == (team is None):
        raise Refused("A queue is assigned to one reviewer or to one team.")
    assignment, created = Assignment.objects.get_or_create(dataset=dataset, mode=mode, user=user, team=team)
    if created:
        _audit(dataset, "queue_assigned", "assignment", assignment.pk, actor=actor, after=_target(assignment))
    return assignment


@transaction.atomic
def unassign(*, actor, assignment: Assignment) -> None:
    """Open the queue again."""
    require_role(actor, assignment.dataset_id, [Role.ADMIN, Role.MANAGER])
    _audit(
        assignment.dataset,
        "queue_unassigned",
        "assignment",
        assignment.pk,
        actor=actor,
        before=_target(assignment),
    )
    assignment.delete()


def _end_leases(user, dataset: Dataset) -> None:
    user.leases.filter(attempt__dataset=dataset).delete()


def _check(dataset: Dataset) -> None:
    try:
        dataset.full_clean()
    except ValidationError as error:
        raise Refused("; ".join(error.messages)) from error


def _settings_of(dataset: Dataset) -> dict:
    return {name: getattr(dataset, name) for name in CONFIGURABLE if name != "title"}


def _rights_of(user, dataset: Dataset) -> dict | None:
    """What a person may do in a dataset, as the trail keeps it."""
    own = Membership.objects.filter(user=user, dataset=dataset)
    return own.values("role", "sees_originals", "downloads_originals").first()


def _target(assignment: Assignment) -> dict:
    return {"mode": assignment.mode, "user": assignment.user_id, "team": assignment.team_id}


def _audit(
    dataset: Dataset | None, action: str, kind: str, pk: int, *, actor, before=None, after=None
) -> None:
    audit.append(
        actor=actor,
        action=action,
        dataset=dataset and dataset.pk,
        object_kind=kind,
        object_id=pk,
        before=before,
        after=after,
    )
