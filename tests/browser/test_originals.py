"""Originals on the review pages: fetched when they are shown and never ahead, for those alone who may see them."""

from playwright.sync_api import expect

from reviews import originals
from reviews.models import AccessLog
from reviews.states import Status
from tests.browser.conftest import cards_ready, eventually, press
from tests.browser.test_visual import working


def looks():
    return sorted(AccessLog.objects.values_list("what", flat=True))


def test_nothing_of_an_original_is_fetched_before_it_is_shown(enter, cast, scans, originals_open):
    scans(3, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    page.wait_for_timeout(500)
    press(page, "Space", "ArrowRight", "Space")
    assert looks() == []
    press(page, "x")
    expect(page.locator("#stage-words")).to_have_text("Removed voxels in red")
    eventually(page, looks, ["sagittal-removed"])
    press(page, "x")
    expect(page.locator("#stage-words")).to_have_text("Before defacing")
    eventually(page, looks, ["sagittal-before", "sagittal-removed"])
    press(page, "g")
    expect(page.locator("#projections img.ghost[src]")).to_have_count(8)
    eventually(page, lambda: len(looks()), 10)
    assert AccessLog.objects.values("attempt").distinct().count() == 1


def test_the_ghost_is_of_one_head_not_of_the_page(enter, cast, scans, originals_open):
    scans(3)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 3)
    assert looks() == []
    press(page, "g")
    eventually(page, looks, ["removed_front"])
    press(page, "ArrowRight")
    eventually(page, looks, ["removed_front"] * 2)
    page.wait_for_timeout(300)
    assert AccessLog.objects.values("attempt").distinct().count() == 2


def test_who_may_not_is_told_so_and_sent_nothing(enter, cast, scans):
    scans(2, Status.REFER)
    person = enter(cast.reviewer)
    page, asked = person.page, []
    page.on("request", lambda request: asked.append(request.url))
    person.go("/visual/trial/")
    working(page)
    press(page, "x")
    expect(page.locator("#stage-words")).to_have_text(originals.CLOSED)
    press(page, "g")
    expect(page.locator("#status")).to_have_text(originals.CLOSED)
    assert not [url for url in asked if "removed" in url or "before" in url]
    assert looks() == []
