"""A log-in in another tab: the page that stays open goes on for the same person, and for nobody else."""

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from reviews.models import Verdict
from tests.browser.conftest import PASSWORD, cards_ready, eventually, press
from tests.browser.test_two_factor import log_in
from tests.test_idle import idle


@pytest.fixture
def at_work(enter, cast, scans):
    """A reviewer before two scans, who has a password; the server's refusals are no complaints."""
    for user in (cast.reviewer, cast.colleague):
        user.set_password(PASSWORD)
        user.save()
    scans(2)
    person = enter(cast.reviewer)
    cards_ready(person.go("/verify/trial/"), 2)
    yield person
    refusals = ("403 (Forbidden)", "401 (Unauthorized)")
    refusals = ("403 (Forbidden)", "401 (Unauthorized)")
    person.complaints[:] = [line for line in person.complaints if not any(map(line.__contains__, refusals))]


def log_in_elsewhere(person, user):
    person.context.clear_cookies(name="sessionid")
    other = person.context.new_page()
    log_in(other, person.base, user)
    expect(other.get_by_role("link", name=user.username)).to_be_visible()
    other.close()


def test_verdicts_are_sent_without_a_reload(at_work, cast):
    log_in_elsewhere(at_work, cast.reviewer)
    press(at_work.page, "f", "Enter")
    eventually(at_work.page, Verdict.objects.count, 2)
    expect(at_work.page.locator("#banner")).to_be_hidden()


def test_nothing_is_sent_in_the_name_of_somebody_else(at_work, cast):
    log_in_elsewhere(at_work, cast.colleague)
    press(at_work.page, "f", "Enter")
    banner = at_work.page.locator("#banner")
    expect(banner).to_contain_text("no longer logged in here: log in again in another tab. 2 verdicts kept")
    assert Verdict.objects.count() == 0
    log_in_elsewhere(at_work, cast.reviewer)
    expect(banner).to_be_hidden(timeout=20000)
    assert list(Verdict.objects.values_list("user__username", flat=True)) == ["reviewer"] * 2


def test_what_a_page_keeps_survives_a_log_out_for_want_of_a_person(at_work, cast):
    page, banner = at_work.page, at_work.page.locator("#banner")
    press(page, "f", "ArrowRight", "b")
    for row in Session.objects.all():
        idle(row.session_key)
    press(page, "Enter")
    expect(banner).to_contain_text("You are logged out")
    assert Verdict.objects.count() == 0
    other = at_work.context.new_page()
    log_in(other, at_work.base, cast.reviewer)
    expect(banner).to_be_hidden(timeout=20000)
    eventually(page, lambda: sorted(Verdict.objects.values_list("klass", flat=True)), ["brain", "face"])
