"""The whole way of a scan in one sitting: log in, verify, fail, refer, next attempt, thresholds, export."""

import zipfile

from playwright.sync_api import expect

from reviews.models import ThresholdSet, Verdict
from reviews.states import Status
from tests.browser.conftest import PASSWORD, cards_ready, eventually, press
from tests.conftest import now


def test_the_whole_way(new_context, live_server, cast, scans, tmp_path):
    made = scans(4)
    cast.owner.set_password(PASSWORD)
    cast.owner.is_superuser = True
    cast.owner.save()
    page = new_context(accept_downloads=True).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("dialog", lambda dialog: dialog.accept())

    page.goto(live_server.url + "/")
    page.get_by_label("Username").fill("owner")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Verify 4").click()

    cards_ready(page, 4)
    press(page, "f", "ArrowRight", "u", "Enter")
    eventually(page, Verdict.objects.count, 4)
    assert sorted(now(attempt).status for attempt in made) == ["failed", "passed", "passed", "refer"]

    failed = next(attempt for attempt in made if now(attempt).status == Status.FAILED)
    page.goto(f"{live_server.url}/scans/{failed.scan_id}/")
    expect(page.get_by_role("heading", name="Attempt 2")).to_be_visible()
    expect(page.get_by_text("Waiting to be defaced")).to_be_visible()

    page.get_by_role("link", name="Thresholds").click()
    page.locator("#verify_min").fill("0.995")
    expect(page.locator("output[for=verify_min]")).to_have_text("0.995")
    expect(page.locator("#consequences")).to_contain_text("to visual QC")
    page.fill("#note", "stricter")
    page.get_by_role("button", name="Save as version 2").click()
    expect(page.get_by_text("Version 2 is active; undecided scans were routed anew.")).to_be_visible()
    assert ThresholdSet.objects.get(active=True).policy["verify_min"] == 0.995

    page.get_by_role("link", name="Reports").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "export.zip")
    names = zipfile.ZipFile(tmp_path / "export.zip").namelist()
    assert any(name.endswith(".csv") for name in names)
    assert "verify_chain.py" in names
    page.get_by_role("button", name="Check the chain now").click()
    expect(page.get_by_text("The audit trail is whole")).to_be_visible()
    assert complaints == []
