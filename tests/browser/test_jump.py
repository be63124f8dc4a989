"""The search field of Scans by key, and Enter straight to the only hit."""

from playwright.sync_api import expect

from tests.browser.conftest import press


def test_slash_searches_and_enter_opens_the_only_hit(enter, cast, scans):
    wanted = scans(1, subject="alpha")[0]
    scans(2, subject="beta")
    person = enter(cast.manager)
    page = person.go("/scans/")
    press(page, "/")
    expect(page.locator("#id_q")).to_be_focused()
    page.keyboard.type("b/")
    expect(page.locator("#id_q")).to_have_value("b/")
    page.locator("#id_q").fill("bet")
    press(page, "Enter")
    expect(page.locator("#results")).to_contain_text("2 attempts")
    page.wait_for_url(lambda url: "q=bet" in url and "jump" not in url)
    page.locator("#id_q").fill("alp")
    expect(page.locator("#results")).to_contain_text("1 attempt")
    page.wait_for_url(lambda url: "q=alp" in url and "jump" not in url)
    press(page, "Enter")
    page.wait_for_url(f"**/scans/{wanted.scan_id}/")
    # htmx writes a request that a later one replaced to the console as an error
    aborted = ("htmx:afterRequest", "htmx:sendAbort")
    person.complaints[:] = [line for line in person.complaints if not any(word in line for word in aborted)]
