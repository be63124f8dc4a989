"""Every page, dark and light, empty and full: readable by axe's rules, nothing outside the window."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from reviews import actions
from reviews.states import Status

SIZES = {"laptop": (1280, 720), "desktop": (1920, 1080), "large": (2560, 1440)}
REVIEW_PAGES = ["/verify/trial/", "/visual/trial/", "/practice/trial/"]
PAGES = [
    "/",
    "/scans/",
    "/scans/?show=wall",
    "/thresholds/",
    "/reports/",
    "/reports/trail/",
    "/setup/",
    "/setup/failures/",
    "/setup/datasets/new/",
    "/setup/datasets/trial/",
    "/help/",
    "/account/",
    "/accounts/password/change/",
    *REVIEW_PAGES,
]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def full(scans, cast):
    """Scans at every station, one with a past."""
    scans(13)
    practice = scans(1, Status.PASSED)
    actions.declare_known_case(actor=cast.owner, attempt_id=practice[0].pk, truth="face", practice=True)
    scans(2, Status.REFER, problems=["Brain removed: 5.2 ml, more than the limit of 2 ml"])
    return [*scans(1, Status.ERROR), *scans(1, Status.NEEDS_PERSON), *scans(1, Status.FAILED)]


def violations(page) -> list[str]:
    found = Axe().run(page, options=RULES).response["violations"]
    return [
        f"{v['id']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for v in found
        for node in v["nodes"]
    ]


def settle(page):
    page.wait_for_selector("body:not(:has([data-state=loading]))")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_page_keeps_wcag_22_aa(enter, cast, full, theme, live_server):
    person = enter(cast.root)
    person.context.add_cookies(
        [{"name": name, "value": theme, "url": live_server.url} for name in ("theme", "review_theme")]
    )
    pages = [*PAGES, *(f"/scans/{attempt.scan_id}/" for attempt in full)]
    found = {}
    for path in pages:
        page = person.go(path)
        settle(page)
        found[path] = violations(page)
    assert {path: problems for path, problems in found.items() if problems} == {}


def test_empty_pages_and_log_in_keep_it_too(enter, cast, dataset, live_server, page):
    person = enter(cast.root)
    found = {}
    for path in PAGES:
        shown = person.go(path)
        settle(shown)
        found[path] = violations(shown)
    page.goto(live_server.url + "/accounts/login/")
    found["log-in"] = violations(page)
    assert {path: problems for path, problems in found.items() if problems} == {}


def tap(page, key):
    """A short press, however slow the machine is: a long one closes again what it opened."""
    page.evaluate(
        """(key) => ["keydown", "keyup"].forEach((type) =>
            document.body.dispatchEvent(new KeyboardEvent(type, { key, bubbles: true, cancelable: true })))""",
        key,
    )


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("path", REVIEW_PAGES)
def test_what_opens_over_a_review_page_keeps_it_too(enter, cast, full, path, theme, live_server):
    person = enter(cast.root)
    person.context.add_cookies([{"name": "review_theme", "value": theme, "url": live_server.url}])
    page = person.go(path)
    settle(page)
    for key, dialog in (("?", "#help"), (" ", "#enlarged")):
        tap(page, key)
        page.wait_for_selector(f"{dialog}[open]")
        assert violations(page) == []
        assert page.evaluate(f"document.querySelector('{dialog}').scrollWidth <= window.innerWidth")
        page.keyboard.press("Escape")
        page.wait_for_selector(f"{dialog}:not([open])", state="attached")


@pytest.mark.parametrize("size", SIZES)
def test_the_grid_fits_the_window(enter, cast, scans, size):
    width, height = SIZES[size]
    scans(26)
    page = enter(cast.reviewer, viewport={"width": width, "height": height}).go("/verify/trial/")
    page.wait_for_selector(".card")
    assert page.locator(".card").count() == {"laptop": 12, "desktop": 14, "large": 24}[size]
    boxes = page.locator(".card").evaluate_all(
        "cards => cards.map(card => card.getBoundingClientRect().toJSON())"
    )
    assert all(box["top"] >= 0 and box["bottom"] <= height and box["right"] <= width for box in boxes)
    assert min(box["width"] for box in boxes) >= 150


@pytest.mark.parametrize(("width", "height"), [(820, 1180), (1180, 820), (1280, 720), (3840, 2160)])
def test_no_key_of_a_review_page_is_cut_off(enter, cast, full, width, height):
    person = enter(cast.root, viewport={"width": width, "height": height}, has_touch=width < 1200)
    cut = """() => [...document.querySelectorAll("button")].filter((button) => {
        const box = button.getBoundingClientRect();
        const room = button.closest("section, aside, footer, header")?.getBoundingClientRect();
        const words = button.querySelector("span:not(.words)");
        return box.width && room && (box.right > room.right + 1 || (words && words.scrollWidth > words.clientWidth + 1));
    }).map((button) => button.textContent.trim())"""
    for path in REVIEW_PAGES:
        page = person.go(path)
        settle(page)
        assert page.evaluate(cut) == []


@pytest.mark.parametrize("size", SIZES)
def test_no_page_scrolls_sideways(enter, cast, full, size):
    width, height = SIZES[size]
    person = enter(cast.root, viewport={"width": width, "height": height})
    wide = []
    for path in PAGES:
        page = person.go(path)
        settle(page)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(path)
    assert wide == []
