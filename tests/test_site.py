"""What the site as a whole promises: log-in everywhere, a strict CSP, 401 for machines, slow guessing."""

import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret, hotp_value
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.urls import reverse

LOGIN = "/accounts/login/"
PASSWORD = "a long enough word for tests"


@pytest.fixture
def person(db):
    cache.clear()
    return get_user_model().objects.create_user("ada", password=PASSWORD)


def test_pages_need_a_log_in(client, db):
    for name in ("home", "scans", "thresholds", "reports", "setup", "help", "account", "trail"):
        answer = client.get(reverse(name))
        assert answer.status_code == 302, name
        assert answer.url.startswith(LOGIN), name


def test_machines_are_told_401(client, db):
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
    assert client.get("/api/v1/attempts/1").status_code in (401, 404)


def test_metrics_for_a_superuser_or_the_bearer(client, settings, db):
    settings.METRICS_TOKEN = "t" * 40
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    answer = client.get("/metrics", headers={"Authorization": "Bearer " + "t" * 40})
    assert answer.status_code == 200
    assert b"qc_queue_reachable" in answer.content
    client.force_login(get_user_model().objects.create_user("eve"))
    assert client.get("/metrics").status_code == 401


def test_the_policy_allows_no_inline_code(client, db):
    policy = client.get(LOGIN)["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_passwords_are_hashed_with_argon2(person):
    assert person.password.startswith("argon2")


def test_the_right_password_opens_and_nobody_signs_up(client, person):
    assert client.post("/accounts/signup/", {"username": "me"}).status_code in (200, 302, 403)
    assert get_user_model().objects.count() == 1
    answer = client.post(LOGIN, {"login": "ada", "password": PASSWORD})
    assert answer.status_code == 302
    assert answer.url == reverse("home")


@pytest.mark.parametrize(
    "address", ["password/reset/", "password/reset/key/1-set-password/", "email/", "confirm-email/"]
)
def test_a_forgotten_password_is_a_matter_for_an_administrator(client, person, settings, address):
    settings.EMAIL_BACKEND = (
        "django.core.mail.backends.smtp.EmailBackend"  # tests have another, without a server
    )
    type(person).objects.filter(pk=person.pk).update(email="ada@example.org")
    for logged_in in (False, True):
        if logged_in:
            client.force_login(person)
        for answer in (
            client.get(LOGIN.replace("login/", address)),
            client.post(LOGIN.replace("login/", address), {"email": "ada@example.org", "action_add": ""}),
        ):
            assert answer.status_code == 200
            assert b"Ask an administrator" in answer.content


def test_guessing_is_slowed_down(client, person):
    for _ in range(5):
        client.post(LOGIN, {"login": "ada", "password": "guess"})
    late = client.post(LOGIN, {"login": "ada", "password": PASSWORD})
    assert late.status_code in (200, 429)
    assert "_auth_user_id" not in client.session


def test_the_administration_has_no_log_in_of_its_own(client, person):
    answer = client.post("/admin/login/", {"username": "ada", "password": PASSWORD})
    assert answer.status_code == 302
    assert answer.url.startswith(LOGIN)
    assert "_auth_user_id" not in client.session


def test_two_factor_pages_are_there(client, person):
    client.force_login(person)
    assert client.get(reverse("mfa_index")).status_code == 200


def second_factor(person):
    """(the authenticator as it is stored, a code that fits it now)"""
    secret = generate_totp_secret()
    TOTP.activate(person, secret)
    code = hotp_value(secret, int(time.time()) // 30)
    return Authenticator.objects.get(user=person), secret, f"{code:06d}"


def test_second_factors_are_sealed_with_the_key_of_the_site(person, settings):
    settings.MFA_TOTP_TOLERANCE = 1
    stored, secret, code = second_factor(person)
    assert secret not in str(stored.data)
    assert stored.wrap().validate_code(code)
    cache.clear()  # a code counts once
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = (
        [settings.SECRET_KEY],
        "another key, the former still known",
    )
    assert stored.wrap().validate_code(code), "a key on its way out still opens"


def test_a_second_factor_that_cannot_be_read_fits_no_code_and_says_why(person, settings, caplog):
    settings.MFA_TOTP_TOLERANCE = 1
    stored, _, code = second_factor(person)
    settings.SECRET_KEY = "another key, the former forgotten"
    assert not stored.wrap().validate_code(code)
    assert "QC_SECRET_KEY" in caplog.text


def test_a_second_factor_from_before_they_were_sealed_goes_on(person, settings):
    settings.MFA_TOTP_TOLERANCE = 1
    stored, secret, code = second_factor(person)
    stored.data["secret"] = secret
    stored.save()
    assert stored.wrap().validate_code(code)
