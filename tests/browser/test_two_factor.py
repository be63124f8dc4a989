"""Two-factor log-in from setting it up to taking it away; each page kept readable by axe's rules."""

import os

import pytest
from allauth.mfa.totp.internal.auth import hotp_value, yield_hotp_counters_from_time
from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD
from tests.browser.test_looks import violations

MANAGE = "/accounts/2fa/"


def log_in(page, base, user):
    page.goto(base + "/accounts/login/")
    page.get_by_label("Username").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def code(secret: str) -> str:
    return f"{hotp_value(secret, next(iter(yield_hotp_counters_from_time()))):06d}"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_whole_way_of_a_second_factor(new_context, live_server, cast, theme, settings):
    settings.MFA_TOTP_TOLERANCE = 1
    user = cast.reviewer
    user.set_password(PASSWORD)
    user.save()
    context = new_context()
    context.add_cookies([{"name": "theme", "value": theme, "url": live_server.url}])
    page = context.new_page()
    page.set_default_timeout(8000)
    seen: dict[str, list[str]] = {}
    complaints: list[str] = []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))

    shots = os.environ.get("QC_SHOTS")

    def look(name):
        seen[name] = violations(page)
        if shots:
            page.screenshot(path=f"{shots}/2fa-{theme}-{name}.png", full_page=True)

    log_in(page, live_server.url, user)
    page.get_by_role("link", name="reviewer").click()
    page.get_by_role("link", name="Two-factor log-in").click()
    look("index")
    page.get_by_role("link", name="Activate").click()
    look("password again")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    look("activate")
    secret = page.locator("#authenticator_secret").input_value()
    page.get_by_label("Authenticator code").fill("000000")
    page.get_by_role("button", name="Activate").click()
    look("wrong code")
    page.get_by_label("Authenticator code").fill(code(secret))
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_text("Unused codes")).to_be_visible()
    look("recovery codes")
    page.goto(live_server.url + MANAGE + "recovery-codes/generate/")
    look("new codes")
    page.goto(live_server.url + MANAGE)
    look("index, active")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/accounts/login/**")
    log_in(page, live_server.url, user)
    expect(page).to_have_url(live_server.url + "/accounts/2fa/authenticate/")
    look("second factor")
    page.locator("input[name=code]").fill("111111")
    page.get_by_role("button", name="Sign In").click()
    look("second factor, wrong")
    page.goto(live_server.url + "/")
    assert "/accounts/" in page.url  # without the second factor nobody is in
    assert {name: found for name, found in seen.items() if found} == {}
    assert complaints == []
