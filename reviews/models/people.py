"""Datasets, and who may do what with them."""

from datetime import timedelta

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone


class Mode(models.TextChoices):
    """The way a person looks at an attempt."""

    VERIFY = "verify", "Verification"
    VISUAL = "visual", "Visual QC"
    PRACTICE = "practice", "Practice"


class Role(models.TextChoices):
    """What a member may do; everything that decides by role asks one of the questions below."""

    REVIEWER = "reviewer", "Reviewer"
    MANAGER = "manager", "Manager"
    ADMIN = "admin", "Administrator"
    PIPELINE = "pipeline", "Pipeline"
    AUDITOR = "auditor", "Auditor"

    @property
    def reviews(self) -> bool:
        """May judge attempts."""
        return self in (Role.REVIEWER, Role.MANAGER, Role.ADMIN)

    @property
    def manages(self) -> bool:
        """May retry, assign and order a re-defacing."""
        return self in (Role.MANAGER, Role.ADMIN)

    @property
    def feeds(self) -> bool:
        """May register scans through the API."""
        return self in (Role.PIPELINE, Role.ADMIN)

    @property
    def audits(self) -> bool:
        """May export, read the trail and have it checked."""
        return self in (Role.MANAGER, Role.ADMIN, Role.AUDITOR)

    @property
    def sees_all(self) -> bool:
        """May look any scan up; who only judges sees those they have judged, so that no known case can be told."""
        return self is not Role.REVIEWER

    @property
    def only_looks(self) -> bool:
        """Never judges, and so may see at once what those who judge must not: opinions and known cases."""
        return self is Role.AUDITOR

    @property
    def calls(self) -> bool:
        """Has a use for a key to the API: to hand scans in, or to read what became of them."""
        return self in (Role.PIPELINE, Role.ADMIN, Role.AUDITOR)


REVIEWING = [role.value for role in Role if role.reviews]
MANAGING = [role.value for role in Role if role.manages]
FEEDING = [role.value for role in Role if role.feeds]
AUDITING = [role.value for role in Role if role.audits]
WHOLE = [role.value for role in Role if role.sees_all]
LOOKING = [role.value for role in Role if role.only_looks]
CALLING = [role.value for role in Role if role.calls]
ENDING = timedelta(days=14)
SITE_PERMISSIONS = ("reviews.add_dataset", "reviews.add_thresholdset", "reviews.change_modelversion")


class DatasetQuerySet(models.QuerySet):
    def of_member(self, user, roles: list[str]) -> "DatasetQuerySet":
        """Datasets in which the user has one of the roles; a superuser has all of them everywhere."""
        if user.is_superuser:
            return self
        own = Membership.objects.filter(user_id=user.pk, role__in=roles)
        return self.filter(pk__in=own.values("dataset_id"))

    def visible_to(self, user) -> "DatasetQuerySet":
        """Datasets the user is a member of."""
        return self.of_member(user, Role.values)

    def managed_by(self, user) -> "DatasetQuerySet":
        """Datasets the user manages."""
        return self.of_member(user, MANAGING)

    def audited_by(self, user) -> "DatasetQuerySet":
        """Datasets whose trail and exports are the user's to read."""
        return self.of_member(user, AUDITING)

    def called_by(self, user) -> "DatasetQuerySet":
        """Datasets that the user's API keys reach."""
        return self.of_member(user, CALLING)

    def seen_whole_by(self, user) -> "DatasetQuerySet":
        """Datasets in which the user may look up scans they have not judged; the others keep known cases from them."""
        return self.of_member(user, WHOLE)

    def judged_only_by(self, user) -> "DatasetQuerySet":
        """Datasets in which the user judges and may look up no more than what they have judged."""
        return self.visible_to(user).exclude(pk__in=Dataset.objects.seen_whole_by(user).values("pk"))

    def kept_back_from(self, user) -> "DatasetQuerySet":
        """Datasets with known cases hidden from the user: no count there may say how many scans really wait."""
        cases = apps.get_model("reviews", "KnownCase").objects.filter(practice=False)
        hidden = Q(known_share__gt=0) | Exists(cases.filter(attempt__dataset=OuterRef("pk")))
        return self.judged_only_by(user).filter(hidden)

    def seen_freely_by(self, user) -> "DatasetQuerySet":
        """Datasets in which nothing is kept back from the user, who never judges there; not by being a superuser."""
        own = Membership.objects.filter(user_id=user.pk, role__in=LOOKING)
        return self.filter(pk__in=own.values("dataset_id"))

    def open_to(self, user, mode: str) -> "DatasetQuerySet":
        """Datasets whose `mode` queue this user may work on; an assigned queue is for the assigned alone."""
        datasets = self.of_member(user, REVIEWING)
        assigned = Assignment.objects.filter(dataset=OuterRef("pk"), mode=mode)
        mine = assigned.filter(Q(user_id=user.pk) | Q(team__user=user.pk))
        return datasets.filter(~Exists(assigned) | Exists(mine))

    def served_by_nobody(self, mode: str) -> "DatasetQuerySet":
        """Datasets whose `mode` queue is open to no active user: `open_to` seen from the other side."""
        member = Membership.objects.filter(
            dataset=OuterRef(OuterRef("pk")), user=OuterRef("pk"), role__in=REVIEWING
        )
        able = get_user_model().objects.filter(Q(is_superuser=True) | Exists(member), is_active=True)
        assigned = Assignment.objects.filter(dataset=OuterRef("pk"), mode=mode)
        theirs = Assignment.objects.filter(
            Q(user=OuterRef("pk")) | Q(team__user=OuterRef("pk")), dataset=OuterRef(OuterRef("pk")), mode=mode
        )
        return self.filter(~Exists(able) | (Exists(assigned) & ~Exists(able.filter(Exists(theirs)))))


SHARE = [MinValueValidator(0.0), MaxValueValidator(0.5)]


class Dataset(models.Model):
    """One study with its standard and its way of working."""

    slug = models.SlugField(max_length=64, unique=True)
    title = models.CharField(max_length=200)
    ears_required = models.BooleanField("ears must be removed too", default=False)
    min_exposure_seconds = models.FloatField(
        "minimum exposure in seconds a scan",
        default=0.5,
        help_text="Scans on screen together share the time: 0.5 keeps a page of 12 on screen for 6 seconds.",
        validators=[MinValueValidator(0.0), MaxValueValidator(60.0)],
    )
    opinion_after_judgement = models.BooleanField("show the model's opinion only after judging", default=True)
    lease_seconds = models.PositiveIntegerField(
        default=300, validators=[MinValueValidator(30), MaxValueValidator(3600)]
    )
    max_attempts = models.PositiveSmallIntegerField(
        default=4, validators=[MinValueValidator(1), MaxValueValidator(20)]
    )
    known_share = models.FloatField("share of hidden known failures", default=0.0, validators=SHARE)
    engine = models.CharField("engine for new scans", max_length=64, default="niimath")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.title or self.slug

    @property
    def min_exposure_ms(self) -> int:
        """What a pass asks for; page and server round it in the same way."""
        return round(self.min_exposure_seconds * 1000)


class Membership(models.Model):
    """One user's role in one dataset, and whether they may see or download the heads as they were before defacing."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)
    sees_originals = models.BooleanField("sees originals", default=False)
    downloads_originals = models.BooleanField("downloads originals", default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "dataset"], name="one_role_per_dataset"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
            models.CheckConstraint(
                condition=Q(downloads_originals=False) | Q(sees_originals=True),
                name="membership_downloads_what_it_sees",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role} in {self.dataset_id}"


class FormerName(models.Model):
    """A name that an account had before, so that what was said under it can be understood; rows are only ever added.

    Accounts with one are not deleted: the trail names them by their key alone.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="former_names")
    name = models.CharField(max_length=150)
    until = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.user_id} until {self.until}"


def belongs(user) -> bool:
    """Whether the user has anything to do here: a role in some dataset, or a permission of the site."""
    return Dataset.objects.visible_to(user).exists() or any(user.has_perm(name) for name in SITE_PERMISSIONS)


def counts_are_hidden(user) -> bool:
    """Whether exact counts of what waits on the whole site would tell this person a known case."""
    return not user.has_perm("reviews.add_thresholdset") and Dataset.objects.kept_back_from(user).exists()


class Assignment(models.Model):
    """A queue given to one reviewer or to one team."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="assignments")
    mode = models.CharField(max_length=8, choices=Mode.choices)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True)
    team = models.ForeignKey(Group, models.CASCADE, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True) ^ Q(team__isnull=True), name="assignment_to_one_person_or_team"
            ),
            models.UniqueConstraint(fields=["dataset", "mode", "user"], name="assignment_once_per_user"),
            models.UniqueConstraint(fields=["dataset", "mode", "team"], name="assignment_once_per_team"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id} {self.mode}"


def has_use_for_keys(user) -> bool:
    """Whether the user may have keys to the API: an active account and a role that calls it, or a superuser's."""
    if not user.is_active:
        return False
    return user.is_superuser or Membership.objects.filter(user_id=user.pk, role__in=CALLING).exists()


class ApiTokenQuerySet(models.QuerySet):
    def working(self) -> "ApiTokenQuerySet":
        """Neither ended by somebody nor past their time."""
        return self.filter(revoked_at__isnull=True, expires_at__gt=timezone.now())


class ApiToken(models.Model):
    """A person's key to the API for a limited time, kept as a hash, its uses counted by the minute."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=64)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    minute = models.BigIntegerField("minute that the uses were counted in", default=0, editable=False)
    calls = models.PositiveIntegerField("uses in that minute", default=0, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def ends_soon(self) -> bool:
        """Whether a new one should be made now."""
        return self.expires_at - timezone.now() < ENDING
