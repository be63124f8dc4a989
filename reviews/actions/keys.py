"""Keys to the API: for roles that have a use for them, for a limited time, of limited number and rate."""

import hashlib
import math
import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Case, F, Q, When
from django.utils import timezone

from reviews import audit
from reviews.actions.core import NotAllowed, Refused
from reviews.models import ApiToken
from reviews.models.people import has_use_for_keys

MOST_KEYS = 10
USUAL_DAYS = 90


class TooMany(Refused):
    """The key was used too often; it works again after `seconds`."""

    code = "too_many"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"This key may be used {settings.API_CALLS_A_MINUTE} times a minute.")
        self.seconds = seconds


@transaction.atomic
def issue_token(*, actor, user, name: str, days: int | None = None) -> str:
    """A new API key, returned once and kept as a hash; it ends after `days`."""
    if actor is not None and not (actor.is_superuser or actor.pk == user.pk):
        raise NotAllowed("You may make API keys for yourself only.")
    user = (
        get_user_model().objects.select_for_update(no_key=True).get(pk=user.pk)
    )  # keys are counted one by one
    if not has_use_for_keys(user):
        raise NotAllowed("API keys are for pipelines, administrators of a dataset and auditors.")
    if ApiToken.objects.filter(user=user).working().count() >= MOST_KEYS:
        raise Refused(f"A person may have {MOST_KEYS} keys: end one first.")
    raw = secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user, name=name[:64], digest=digest_of(raw), expires_at=timezone.now() + timedelta(_days(days))
    )
    after = {"user": user.pk, "expires": token.expires_at.isoformat(timespec="seconds")}
    _append("token_issued", token, actor=actor, after=after)
    return raw


def _days(days: int | None) -> int:
    most = settings.API_KEY_MOST_DAYS
    days = min(USUAL_DAYS, most) if days is None else days
    if not 1 <= days <= most:
        raise Refused(f"A key lasts from 1 to {most} days.")
    return days


@transaction.atomic
def revoke_token(*, actor, token: ApiToken) -> None:
    """The key stops working."""
    if actor is not None and not (actor.is_superuser or actor.pk == token.user_id):
        raise NotAllowed("This API key is not yours.")
    _revoke(token, actor=actor)


def end_useless_keys(user_pk: int, *, actor) -> None:
    """Whoever has no use for keys any more, by role or because the account is closed, has none that come back later.

    Called inside the transaction that takes the role away or closes the account.
    """
    user = get_user_model().objects.filter(pk=user_pk).first()
    if user is None or has_use_for_keys(user):
        return
    for token in ApiToken.objects.filter(user=user, revoked_at__isnull=True):
        _revoke(token, actor=actor)


def user_of_token(raw: str):
    """The person whose working key this is, its use counted; None for any other; raises TooMany."""
    token = ApiToken.objects.working().select_related("user").filter(digest=digest_of(raw)).first()
    if token is None or not has_use_for_keys(token.user):
        return None
    _count(token, timezone.now())
    return token.user


def _count(token: ApiToken, now: datetime) -> None:
    """One more use in this minute, exact however many ask at once: one statement counts and refuses.

    Another machine's clock may be a minute ahead; one further ahead has left nothing that counts.
    """
    minute = int(now.timestamp() // 60)
    same = Q(minute__gte=minute, minute__lte=minute + 1)
    below = ApiToken.objects.filter(~same | Q(calls__lt=settings.API_CALLS_A_MINUTE), pk=token.pk)
    counted = below.update(
        calls=Case(When(same, then=F("calls") + 1), default=1),
        minute=Case(When(same, then=F("minute")), default=minute),
        last_used_at=now,
    )
    if not counted:
        raise TooMany(math.ceil(60 - now.timestamp() % 60))


def digest_of(raw: str) -> str:
    """The keys are random and long, so a plain hash is enough to keep them."""
    return hashlib.sha256(raw.encode()).hexdigest()


def _revoke(token: ApiToken, *, actor) -> None:
    if ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
        _append("token_revoked", token, actor=actor, after={"user": token.user_id})


def _append(action: str, token: ApiToken, *, actor, after: dict) -> None:
    audit.append(
        actor=actor,
        action=action,
        dataset=None,
        object_kind="api_token",
        object_id=token.pk,
        before=None,
        after=after,
    )
