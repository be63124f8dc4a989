"""Every change of an account, a team or a second factor is an event, by whatever way it comes.

The tables are Django's and allauth's; the administration, allauth's pages, commands and code write them. So the rule
sits where all of these pass: at the rows' saving and deleting, at updates of many rows, at what ties rows together.
A row and its event are one transaction. No event holds a name, an address, a password or a secret.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import is_password_usable
from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import models, transaction
from django.db.models.signals import m2m_changed, pre_delete

from reviews import acting, audit
from reviews.actions.keys import end_useless_keys
from reviews.models import FormerName

log = structlog.get_logger(__name__)
Row = dict | None
Change = tuple[str, Row, Row]  # action, before, after
RIGHTS = {"is_active": "active", "is_staff": "staff", "is_superuser": "superuser"}
REHASHED = "_only_hashed_anew"


@dataclass(frozen=True)
class Watched:
    """A table: the fields that count, what a change of them is called, and the object that the trail names."""

    kind: str
    names: Callable[[dict], int]
    fields: tuple[str, ...]
    changes: Callable[[Row, Row], Iterator[Change]]


def _of_account(before: Row, after: Row) -> Iterator[Change]:
    old, new = _rights(before), _rights(after)
    if before is None or after is None:
        yield ("account_made" if before is None else "account_deleted"), old, new
        return
    if old != new:
        differ = [name for name in new if old[name] != new[name]]
        yield "account_changed", {name: old[name] for name in differ}, {name: new[name] for name in differ}
    for field, action in (("username", "account_renamed"), ("email", "account_email_changed")):
        if before[field] != after[field]:
            yield action, None, None
    if before["password"] != after["password"]:
        usable = is_password_usable(after["password"])
        yield ("password_set" if usable else "password_removed"), None, None


def _rights(row: Row) -> Row:
    return row and {words: row[field] for field, words in RIGHTS.items()}


def _of_team(before: Row, after: Row) -> Iterator[Change]:
    if before is None or after is None:
        yield ("team_made" if before is None else "team_deleted"), None, None
    elif before["name"] != after["name"]:
        yield "team_renamed", None, None


def _of_second_factor(before: Row, after: Row) -> Iterator[Change]:
    old, new = before and {"type": before["type"]}, after and {"type": after["type"]}
    if before is None or after is None:
        yield ("second_factor_set" if before is None else "second_factor_removed"), old, new
    elif before["user_id"] != after["user_id"]:
        yield "second_factor_moved", old | {"user": before["user_id"]}, new | {"user": after["user_id"]}
    elif before["data"] != after["data"]:
        used = before["data"].get("used_mask") != after["data"].get("used_mask")
        yield ("recovery_code_used" if used else "second_factor_changed"), old, new


def _of_address(before: Row, after: Row) -> Iterator[Change]:
    if before is None or after is None:
        yield ("email_address_added" if before is None else "email_address_removed"), None, None
    elif before != after:
        yield "email_address_changed", None, None


WATCHED: dict[type[models.Model], Watched] = {
    User: Watched("user", lambda row: row["pk"], ("username", "email", "password", *RIGHTS), _of_account),
    Group: Watched("team", lambda row: row["pk"], ("name",), _of_team),
    Authenticator: Watched(
        "user", lambda row: row["user_id"], ("user_id", "type", "data"), _of_second_factor
    ),
    EmailAddress: Watched(
        "user", lambda row: row["user_id"], ("user_id", "email", "verified", "primary"), _of_address
    ),
}
TIES = {
    User.groups.through: ("teams", "members"),
    User.user_permissions.through: ("permissions", "users"),
    Group.permissions.through: ("permissions", "teams"),
}


def watch() -> None:
    """Called once, when the tables' classes are there."""
    for model in WATCHED:
        model.save_base = _saving(model, model.save_base)
        manager = type(model._default_manager)
        manager._queryset_class = _updating(model, manager._queryset_class)
        pre_delete.connect(_deleting, sender=model)
    for through in TIES:
        m2m_changed.connect(_tying, sender=through)
    User.check_password = _hashing_anew(User.check_password)
    user_logged_in.connect(_logged_in)
    user_logged_out.connect(_logged_out)
    user_login_failed.connect(_not_logged_in)


# --- where rows pass ----------------------------------------------------------------------------------


def _saving(model: type[models.Model], plain: Callable) -> Callable:
    """A row's saving with its events."""

    @functools.wraps(plain)
    def saved(self, *args, **kwargs):
        named = kwargs.get("update_fields")
        if named is not None and not _counted(model, named):
            return plain(self, *args, **kwargs)
        with transaction.atomic():
            before = _stored(model, [self.pk]).get(self.pk)
            done = plain(self, *args, **kwargs)
            _note(
                model, before, _stored(model, [self.pk])[self.pk], only_hashed=getattr(self, REHASHED, False)
            )
        return done

    return saved


def _updating(model: type[models.Model], plain: type[models.QuerySet]) -> type[models.QuerySet]:
    """A QuerySet whose updates of many rows have their events."""

    class Told(plain):
        def update(self, **kwargs) -> int:
            if not _counted(model, kwargs):
                return super().update(**kwargs)
            with transaction.atomic():
                pks = list(self.order_by().values_list("pk", flat=True))
                before = _stored(model, pks)
                done = model._base_manager.filter(pk__in=pks).update(**kwargs)
                after = _stored(model, pks)
                for pk in pks:
                    _note(model, before[pk], after[pk])
            return done

        def bulk_create(self, *args, **kwargs):
            raise TypeError("Make these one by one: each is an event of the trail.")

    Told.__name__ = Told.__qualname__ = plain.__name__
    return Told


def _deleting(sender, instance, **kwargs) -> None:
    before = _stored(sender, [instance.pk]).get(instance.pk)
    if before is not None:
        _note(sender, before, None)


def _tying(sender, instance, action: str, reverse: bool, pk_set, **kwargs) -> None:
    """Teams of a person, members of a team, permissions: what was added, what is taken away."""
    if action not in ("post_add", "pre_remove", "pre_clear"):
        return
    name = TIES[sender][reverse]
    here, there = _ends(sender, instance, reverse)
    tied = sender._default_manager.filter(**{here: instance.pk})
    ids = set(pk_set) if action == "post_add" else set(tied.values_list(there, flat=True))
    if action == "pre_remove":
        ids &= set(pk_set)
    if not ids:
        return
    before, after = (None, {name: sorted(ids)}) if action == "post_add" else ({name: sorted(ids)}, None)
    kind = {User: "user", Group: "team"}.get(type(instance), "permission")
    _append(f"{name}_{'added' if after else 'taken'}", kind, instance.pk, before, after)


def _ends(through: type[models.Model], instance: models.Model, reverse: bool) -> tuple[str, str]:
    """The columns of the instance and of what is tied to it."""
    first, second = (f.attname for f in through._meta.fields if f.is_relation)
    return (second, first) if reverse else (first, second)


def _hashing_anew(plain: Callable) -> Callable:
    """A log-in may hash the same password in a newer way: that is not another password."""

    @functools.wraps(plain)
    def checked(self, raw_password):
        setattr(self, REHASHED, True)
        try:
            return plain(self, raw_password)
        finally:
            delattr(self, REHASHED)

    return checked


# --- log-ins ------------------------------------------------------------------------------------------


def _logged_in(sender, user, **kwargs) -> None:
    with transaction.atomic():
        _append("logged_in", "user", user.pk, None, None, actor=user)


def _logged_out(sender, user, **kwargs) -> None:
    if user is not None:
        with transaction.atomic():
            _append("logged_out", "user", user.pk, None, None, actor=user)


def _not_logged_in(sender, **kwargs) -> None:
    """In the log alone: anybody could flood the chain, and tell by the time it takes which accounts there are."""
    log.warning("a log-in failed")


# --- telling ------------------------------------------------------------------------------------------


def _counted(model: type[models.Model], names) -> bool:
    fields = {name.removesuffix("_id") for name in WATCHED[model].fields}
    return any(name.removesuffix("_id") in fields for name in names)


def _stored(model: type[models.Model], pks: list) -> dict[int, dict]:
    """The rows as they are stored, locked until the transaction ends."""
    rows = model._base_manager.filter(pk__in=[pk for pk in pks if pk is not None])
    locked = rows.select_for_update(no_key=True)
    return {row["pk"]: row for row in locked.order_by("pk").values("pk", *WATCHED[model].fields)}


def _note(model: type[models.Model], before: Row, after: Row, *, only_hashed: bool = False) -> None:
    watched = WATCHED[model]
    for action, old, new in watched.changes(before, after):
        hashed = only_hashed and action == "password_set"
        name = "password_hashed_anew" if hashed else action
        _append(name, watched.kind, watched.names(before or after), old, new)
        if action == "account_renamed":
            FormerName.objects.create(user_id=before["pk"], name=before["username"])
        if action == "account_changed":
            end_useless_keys(after["pk"], actor=acting.now())


def _append(action: str, kind: str, pk: int, before: Row, after: Row, *, actor=None) -> None:
    audit.append(
        actor=actor or acting.now(),
        action=action,
        dataset=None,
        object_kind=kind,
        object_id=pk,
        before=before,
        after=after,
    )
