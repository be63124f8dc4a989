"""Nobody's rights change without an event that says who did it and when, and never what the secret is."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from reviews import acting, audit
from reviews.models import AuditEvent

pytestmark = pytest.mark.django_db
SECRET = "correct horse battery staple"


@pytest.fixture
def told():
    """What the trail says since the test began: (action, actor, object kind, object id, before, after)."""
    start = AuditEvent.objects.count()

    def events(*, logins=False) -> list[tuple]:
        rows = AuditEvent.objects.filter(seq__gt=start).order_by("seq")
        rows = rows if logins else rows.exclude(action__startswith="logged_")
        return list(rows.values_list("action", "actor", "object_kind", "object_id", "before", "after"))

    return events


@pytest.fixture
def admin(client, cast):
    client.force_login(cast.root)
    return client


def names(events) -> list[str]:
    return [event[0] for event in events]


def account_form(user, **changes) -> dict:
    """What the administration's page about an account sends."""
    form = {
        "username": user.username,
        "email": user.email,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "0:0",
    }
    form |= {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)}
    form |= changes
    return {name: value for name, value in form.items() if value is not None}


def test_the_administration_makes_an_account(admin, cast, told):
    form = {"username": "newcomer", "password1": SECRET, "password2": SECRET, "usable_password": "true"}
    admin.post(reverse("admin:auth_user_add"), form)
    made = User.objects.get(username="newcomer")
    after = {"active": True, "staff": False, "superuser": False}
    assert told() == [("account_made", f"user:{cast.root.pk}", "user", made.pk, None, after)]


@pytest.mark.parametrize(
    ("changes", "action", "before", "after"),
    [
        ({"is_superuser": "on"}, "account_changed", {"superuser": False}, {"superuser": True}),
        ({"is_active": None}, "account_changed", {"active": True}, {"active": False}),
        ({"is_staff": "on"}, "account_changed", {"staff": False}, {"staff": True}),
        ({"username": "somebody"}, "account_renamed", None, None),
        ({"email": "a@example.org"}, "account_email_changed", None, None),
    ],
    ids=["superuser", "closed", "staff", "renamed", "email"],
)
def test_the_administration_changes_an_account(admin, cast, told, changes, action, before, after):
    person = cast.reviewer
    admin.post(reverse("admin:auth_user_change", args=[person.pk]), account_form(person, **changes))
    assert told() == [(action, f"user:{cast.root.pk}", "user", person.pk, before, after)]


def test_the_administration_sets_a_password_and_teams(admin, cast, told):
    person, team = cast.reviewer, Group.objects.create(name="readers")
    address = reverse("admin:auth_user_password_change", args=[person.pk])
    admin.post(address, {"password1": SECRET, "password2": SECRET, "usable_password": "true"})
    page = reverse("admin:auth_user_change", args=[person.pk])
    admin.post(page, account_form(person, groups=[team.pk]))
    admin.post(page, account_form(person))
    by = (f"user:{cast.root.pk}", "user", person.pk)
    assert told() == [
        ("team_made", "system", "team", team.pk, None, None),
        ("password_set", *by, None, None),
        ("teams_added", *by, None, {"teams": [team.pk]}),
        ("teams_taken", *by, {"teams": [team.pk]}, None),
    ]


def test_a_team_made_renamed_filled_and_deleted_in_the_administration(admin, cast, told):
    admin.post(reverse("admin:auth_group_add"), {"name": "readers"})
    team = Group.objects.get()
    admin.post(reverse("admin:auth_group_change", args=[team.pk]), {"name": "others"})
    team.user_set.add(cast.reviewer)
    team.user_set.clear()
    admin.post(reverse("admin:auth_group_delete", args=[team.pk]), {"post": "yes"})
    assert names(told()) == ["team_made", "team_renamed", "members_added", "members_taken", "team_deleted"]
    assert told()[2][2:] == ("team", team.pk, None, {"members": [cast.reviewer.pk]})


def test_the_administration_removes_a_second_factor(admin, cast, told):
    totp.TOTP.activate(cast.reviewer, totp.generate_totp_secret())
    row = Authenticator.objects.get()
    admin.post(reverse("admin:mfa_authenticator_delete", args=[row.pk]), {"post": "yes"})
    assert [event[:4] for event in told()] == [
        ("second_factor_set", "system", "user", cast.reviewer.pk),
        ("second_factor_removed", f"user:{cast.root.pk}", "user", cast.reviewer.pk),
    ]


def test_a_person_changes_the_own_password_and_second_factors(client, cast, told):
    cast.reviewer.set_password(SECRET)
    cast.reviewer.save()
    client.post(reverse("account_login"), {"login": "reviewer", "password": SECRET})
    new = SECRET + " anew"
    form = {"oldpassword": SECRET, "password1": new, "password2": new}
    client.post(reverse("account_change_password"), form)
    client.post(reverse("account_reauthenticate"), {"password": new})
    client.get(reverse("mfa_activate_totp"))
    secret = client.session["mfa.totp.secret"]
    code = totp.format_hotp_value(totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time()))))
    client.post(reverse("mfa_activate_totp"), {"code": code})
    client.post(reverse("mfa_generate_recovery_codes"))
    client.post(reverse("mfa_deactivate_totp"))
    client.post(reverse("account_logout"))
    by_self = [event for event in told(logins=True) if event[1] == f"user:{cast.reviewer.pk}"]
    done = names(by_self)
    assert done[:3] == ["logged_in", "password_set", "second_factor_set"]
    assert {"second_factor_set", "second_factor_removed"} <= set(done)
    assert done[-1] == "logged_out"
    text = json.dumps(told(logins=True))
    assert secret not in text
    assert SECRET not in text


def test_a_used_recovery_code_is_told(cast, told):
    codes = RecoveryCodes.activate(cast.reviewer)
    assert codes.validate_code(codes.generate_codes()[0])
    assert names(told()) == ["second_factor_set", "recovery_code_used"]
    assert told()[0][5] == {"type": "recovery_codes"}


def test_commands_and_code(cast, told, monkeypatch):
    call_command("createsuperuser", "--noinput", "--username", "chief", "--email", "c@example.org")
    chief = User.objects.get(username="chief")
    chief.password = make_password(SECRET)
    chief.save()
    User.objects.filter(pk=chief.pk).update(is_superuser=False, is_active=False)
    User.objects.bulk_update([cast.reviewer, cast.manager], ["is_staff"])
    cast.reviewer.is_staff = True
    User.objects.bulk_update([cast.reviewer, cast.manager], ["is_staff"])
    chief.user_permissions.add(Permission.objects.first())
    EmailAddress.objects.create(user=chief, email="c@example.org")
    chief.set_unusable_password()
    chief.save()
    chief.refresh_from_db()
    chief.delete()
    assert names(told()) == [
        "account_made",
        "password_set",
        "account_changed",
        "account_changed",
        "permissions_added",
        "email_address_added",
        "account_changed",  # the object in memory was still a superuser
        "password_removed",
        "email_address_removed",
        "account_deleted",
    ]
    assert told()[2][4:] == ({"active": True, "superuser": True}, {"active": False, "superuser": False})
    assert told()[3][3] == cast.reviewer.pk
    assert {event[1] for event in told()} == {"system"}
    assert audit.problems() == []


def test_many_accounts_at_once_are_refused(cast):
    with pytest.raises(TypeError, match="one by one"):
        User.objects.bulk_create([User(username="a"), User(username="b")])


def test_who_only_logs_in_has_no_right_changed_and_the_same_password_hashed_anew_is_told_as_that(
    client, cast, told, settings
):
    User.objects.filter(pk=cast.reviewer.pk).update(password=make_password(SECRET, hasher="pbkdf2_sha256"))
    client.post(reverse("account_login"), {"login": "reviewer", "password": SECRET})
    assert names(told(logins=True)) == ["password_set", "password_hashed_anew", "logged_in"]


def test_a_failed_log_in_is_in_the_log_alone(client, cast, told, caplog):
    client.post(reverse("account_login"), {"login": "reviewer", "password": "not the word I mean"})
    assert told(logins=True) == []
    assert "a log-in failed" in caplog.text
    assert "not the word I mean" not in caplog.text


def test_an_account_and_its_event_are_one(cast, told, monkeypatch):
    def breaks(**kwargs):
        raise RuntimeError("no trail")

    monkeypatch.setattr(audit, "append", breaks)
    cast.reviewer.is_superuser = True
    with pytest.raises(RuntimeError, match="no trail"):
        cast.reviewer.save()
    with pytest.raises(RuntimeError, match="no trail"):
        User.objects.filter(pk=cast.reviewer.pk).update(is_superuser=True)
    assert not User.objects.get(pk=cast.reviewer.pk).is_superuser


def test_a_person_who_is_not_logged_in_is_told_as_such(cast, told, rf):
    with acting.during(rf.get("/")):
        cast.reviewer.set_password(SECRET)
        cast.reviewer.save()
    assert told()[0][1] == "anonymous"


def test_another_thread_acts_for_nobody_elses_request(cast, rf):
    request, seen = rf.get("/"), []
    request.user = cast.root
    with acting.during(request):
        thread = threading.Thread(target=lambda: seen.append(acting.now()))
        thread.start()
        thread.join()
        assert acting.now() == cast.root
    assert seen == [None]
    assert acting.now() is None


def test_no_account_is_named_in_the_trail(admin, cast, told):
    person = cast.reviewer
    form = account_form(person, username="zebediah", email="z@example.org", first_name="Zeb")
    admin.post(reverse("admin:auth_user_change", args=[person.pk]), form)
    text = json.dumps(list(audit.rows()))
    for word in ("zebediah", "example.org", "Zeb", "argon2", "pbkdf2"):
        assert word not in text


def test_a_trail_with_commands_and_strangers_can_be_looked_at(admin, cast):
    acting.now()
    with audit.transaction.atomic():
        for actor in ("command:createsuperuser", "anonymous", None, cast.root):
            audit.append(
                actor=actor,
                action="x",
                dataset=None,
                object_kind="user",
                object_id=1,
                before=None,
                after=None,
            )
    page = admin.get(reverse("trail")).content.decode()
    assert "command:createsuperuser" in page
    assert "anonymous" in page


def test_a_command_says_its_name(tmp_path):
    root = Path(__file__).resolve().parent.parent
    program = (
        "import sys, manage; sys.argv = ['manage.py', 'check']; manage.installed = lambda *_: True\n"
        "try: manage.main()\n"
        "except SystemExit: pass\n"
        "from reviews import acting; print(acting.now())"
    )
    environment = {**os.environ, "QC_DATA_DIR": str(tmp_path), "QC_DATABASE_URL": f"sqlite:///{tmp_path}/a"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "command:check"


def test_clients_log_in_and_out_as_themselves(cast, told):
    client = Client()
    client.force_login(cast.reviewer)
    client.post(reverse("account_logout"))
    who = f"user:{cast.reviewer.pk}"
    assert [event[:2] for event in told(logins=True)] == [("logged_in", who), ("logged_out", who)]


def test_a_dataset_shows_what_happens_to_its_peoples_accounts_and_to_nobody_elses(client, cast, dataset):
    User.objects.filter(pk=cast.reviewer.pk).update(is_staff=True)
    User.objects.filter(pk=cast.stranger.pk).update(is_staff=True, is_active=False)
    client.force_login(cast.auditor)
    page = client.get(reverse("trail")).content.decode()
    assert f"user {cast.reviewer.pk}</td>" in page
    assert f"user {cast.stranger.pk}</td>" not in page
    assert "stranger" not in page


def test_accounts_are_closed_and_not_deleted(admin, cast):
    assert admin.get(reverse("admin:auth_user_delete", args=[cast.stranger.pk])).status_code == 403


def test_who_may_change_accounts_gives_nobody_power_and_leaves_superusers_alone(client, cast, told):
    clerk = cast.stranger
    User.objects.filter(pk=clerk.pk).update(is_staff=True)
    clerk.user_permissions.set(
        Permission.objects.filter(codename__in=["change_user", "view_user", "add_user"])
    )
    client.force_login(clerk)
    for person in (clerk, cast.reviewer):
        page = reverse("admin:auth_user_change", args=[person.pk])
        client.post(page, account_form(person, is_superuser="on", is_staff="on"))
    assert not User.objects.filter(is_superuser=True).exclude(pk=cast.root.pk).exists()
    assert not User.objects.get(pk=cast.reviewer.pk).is_staff
    form = {"password1": SECRET, "password2": SECRET, "usable_password": "true"}
    address = reverse("admin:auth_user_password_change", args=[cast.root.pk])
    assert client.post(address, form).status_code == 403
    assert client.post(reverse("admin:auth_user_change", args=[cast.root.pk]), {}).status_code == 403
