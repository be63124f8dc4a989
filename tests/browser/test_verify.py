"""Verification by keyboard: marks, minimum exposure, undo, lost connection, two people at once."""

import re

from django.utils import timezone
from playwright.sync_api import expect

from reviews import actions
from reviews.models import Dataset, Given, Lease, Verdict
from reviews.states import Status
from tests.browser.conftest import cards_ready, eventually, press
from tests.conftest import now


def statuses(attempts):
    return sorted(now(attempt).status for attempt in attempts)


def test_a_page_by_keyboard_alone(enter, cast, scans):
    made = scans(14)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 12)
    expect(page.locator("#outcome")).to_have_text("Verify 12")
    press(page, "ArrowRight", "f", "ArrowDown", "u")
    expect(page.locator("#outcome")).to_have_text("Verify 10, send 1 back as F, refer 1")
    expect(page.locator(".card").nth(1)).to_have_attribute("data-mark", "face")
    press(page, "f", "f")  # another class, then the same again: no mark
    expect(page.locator("#outcome")).to_have_text("Verify 11, send 1 back as F")
    press(page, "u", "Enter")
    expect(page.locator(".card")).to_have_count(2)
    eventually(page, Verdict.objects.count, 12)
    assert statuses(made).count(Status.PASSED) == 10
    assert statuses(made).count(Status.FAILED) == 1
    assert statuses(made).count(Status.REFER) == 1
    cards_ready(page, 2)
    press(page, "Enter")
    expect(page.get_by_text("Nothing left to verify.")).to_be_visible()
    expect(page.locator("#outcome")).to_be_hidden()
    eventually(page, Verdict.objects.count, 14)


def test_accepting_early_is_refused_with_a_countdown(enter, cast, scans, exposure):
    made = scans(3)
    exposure(1)
    page = enter(cast.reviewer).go("/verify/trial/")
    page.wait_for_selector(".card")
    page.wait_for_timeout(300)
    press(page, "Enter")
    expect(page.locator("#outcome")).to_have_text(re.compile(r"Not yet: [12]\.\d s"))
    assert statuses(made) == [Status.VERIFY] * 3
    page.wait_for_selector("#shell[data-ready]")
    expect(page.locator("#outcome")).to_have_text("Verify 3")
    press(page, "Enter")
    eventually(page, lambda: statuses(made), [Status.PASSED] * 3)
    times = list(Verdict.objects.values_list("exposure_ms", flat=True))
    assert min(times) >= 1000
    assert sum(times) < 8000  # three scans share the time: none of them gets all of it


def test_only_scans_in_view_gain_time_and_marked_ones_need_none(enter, cast, scans, exposure):
    scans(12)
    exposure(0.05)
    page = enter(cast.reviewer, viewport={"width": 360, "height": 640}).go("/verify/trial/")
    page.wait_for_selector(".card")
    page.wait_for_timeout(1500)
    times = page.evaluate("[...document.querySelectorAll('.card')].map(card => card.exposedMs ?? 0)")
    assert times[0] >= 50
    assert times[-1] == 0
    press(page, "Enter")
    expect(page.locator("#outcome")).to_contain_text("not in view: scroll")
    for _ in range(12):
        press(page, "f", "ArrowRight")
    page.wait_for_selector("#shell[data-ready]")
    press(page, "Enter")
    eventually(page, Verdict.objects.filter(klass="face").count, 12)


def test_an_enlarged_scan_takes_the_time_alone(enter, cast, scans, exposure):
    scans(3)
    exposure(60)
    page = enter(cast.reviewer).go("/verify/trial/")
    page.wait_for_selector(".card")
    press(page, "Space")
    page.wait_for_timeout(200)
    times = "[...document.querySelectorAll('.card')].map(card => card.exposedMs ?? 0)"
    before = page.evaluate(times)
    page.wait_for_timeout(600)
    after = page.evaluate(times)
    assert after[0] > before[0] + 300
    assert after[1:] == before[1:]
    press(page, "Space", "?")
    page.wait_for_timeout(200)
    before = page.evaluate(times)
    page.wait_for_timeout(300)
    assert page.evaluate(times) == before


def test_a_page_taken_back_is_looked_at_anew(enter, cast, scans, exposure):
    made = scans(3)
    exposure(0.5)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 3)
    press(page, "Enter")
    eventually(page, lambda: statuses(made), [Status.PASSED] * 3)
    press(page, "z")
    expect(page.locator(".card")).to_have_count(3)
    press(page, "Enter")
    expect(page.locator("#outcome")).to_contain_text("Not yet")
    page.wait_for_selector("#shell[data-ready]")
    press(page, "Enter")
    eventually(page, lambda: statuses(made), [Status.PASSED] * 3)
    assert Verdict.objects.standing().count() == 3
    assert Verdict.objects.filter(kind="decision", exposure_ms__gte=500).count() == 6


def test_what_the_server_finds_too_early_comes_again(enter, cast, scans, exposure):
    """As when another window of the same person has used the time."""
    made = scans(2)
    exposure(1.5)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 2)
    Lease.objects.update(granted_at=timezone.now())
    press(page, "Enter")
    expect(page.locator("#status")).to_contain_text("Look a little longer")
    expect(page.locator(".card")).not_to_have_count(0)
    cards_ready(page)
    for _ in range(10):  # on a slow machine they may come again one by one
        press(page, "Enter")
        page.wait_for_timeout(800)
    assert statuses(made) == [Status.PASSED] * 2


def test_time_in_a_hidden_tab_is_no_exposure(enter, cast, scans, exposure):
    scans(2)
    exposure(60)
    page = enter(cast.reviewer).go("/verify/trial/")
    page.wait_for_selector(".card")
    page.wait_for_timeout(600)
    shown = page.evaluate("document.querySelector('.card').exposedMs")
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
    page.wait_for_timeout(150)
    hidden = page.evaluate("document.querySelector('.card').exposedMs")
    page.wait_for_timeout(500)
    assert shown > 0
    assert page.evaluate("document.querySelector('.card').exposedMs") == hidden


def test_undo_brings_the_page_back_even_after_a_reload(enter, cast, scans):
    made = scans(4)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 4)
    press(page, "b", "Enter")
    eventually(page, Verdict.objects.count, 4)
    page.reload()
    expect(page.get_by_text("Nothing left to verify.")).to_be_visible()
    press(page, "z")
    expect(page.locator(".card")).to_have_count(4)
    expect(page.locator("#status")).to_have_text("4 verdicts taken back.")
    expect(page.locator(".card[data-mark=brain]")).to_have_count(1)
    assert statuses(made) == [Status.VERIFY] * 4
    cards_ready(page)
    press(page, "Enter")
    eventually(page, lambda: Verdict.objects.standing().count(), 4)


def test_a_double_press_counts_once(enter, cast, scans):
    made = scans(3)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 3)
    press(page, "Enter", "Enter", "Enter")
    eventually(page, lambda: statuses(made), [Status.PASSED] * 3)
    page.wait_for_timeout(200)
    assert Verdict.objects.count() == 3


def test_a_lost_connection_queues_says_so_and_sends_again(enter, cast, scans):
    made = scans(14)
    person = enter(cast.reviewer)
    page = person.go("/verify/trial/")
    cards_ready(page, 12)
    page.wait_for_timeout(300)  # the next page is fetched ahead
    person.context.set_offline(True)
    press(page, "f", "Enter")
    expect(page.locator("#banner")).to_contain_text("12 verdicts kept in this browser")
    expect(page.locator(".card")).to_have_count(2)  # work goes on with what was fetched ahead
    assert Verdict.objects.count() == 0
    person.context.set_offline(False)
    expect(page.locator("#banner")).to_be_hidden(timeout=20000)
    eventually(page, Verdict.objects.count, 12)
    assert statuses(made).count(Status.PASSED) == 11


def test_verdicts_survive_closing_the_window(enter, cast, scans):
    made = scans(2)
    person = enter(cast.reviewer)
    page = person.go("/verify/trial/")
    cards_ready(page, 2)
    person.context.set_offline(True)
    press(page, "Enter")
    expect(page.locator("#banner")).to_be_visible()
    page.close(run_before_unload=False)
    person.context.set_offline(False)
    page = person.page = person.context.new_page()
    person.go("/verify/trial/")
    eventually(page, lambda: statuses(made), [Status.PASSED] * 2)


def test_two_reviewers_never_share_a_scan(enter, cast, scans):
    scans(30)
    seen = []
    for user in (cast.reviewer, cast.colleague):
        page = enter(user).go("/verify/trial/")
        page.wait_for_selector(".card")
        handles = page.evaluate("[...document.querySelectorAll('.card')].map(card => card.item.handle)")
        seen.append(set(Given.objects.filter(handle__in=handles).values_list("attempt", flat=True)))
    assert seen[0]
    assert seen[1]
    assert not seen[0] & seen[1]


def test_enlarging_steps_through_the_views(enter, cast, scans):
    scans(2)
    page = enter(cast.reviewer).go("/verify/trial/")
    page.wait_for_selector(".card")
    press(page, "Space")
    expect(page.locator("#enlarged .title")).to_contain_text("Front")
    press(page, "ArrowRight")
    expect(page.locator("#enlarged .title")).to_contain_text("Left")
    press(page, "6")
    expect(page.locator("#enlarged .title")).to_contain_text("Brain edge")
    press(page, "m")
    expect(page.locator("#enlarged")).to_be_hidden()
    expect(page.locator(".card[data-mark=both]")).to_have_count(1)


def test_a_held_key_enlarges_for_as_long_as_it_is_held(enter, cast, scans):
    scans(2)
    page = enter(cast.reviewer).go("/verify/trial/")
    page.wait_for_selector(".card")
    page.keyboard.down("Space")
    page.wait_for_timeout(500)
    expect(page.locator("#enlarged")).to_be_visible()
    press(page, "ArrowRight")
    expect(page.locator("#enlarged .title")).to_contain_text("Left")
    page.keyboard.up("Space")
    expect(page.locator("#enlarged")).to_be_hidden()
    press(page, "Space")
    page.wait_for_timeout(500)
    expect(page.locator("#enlarged")).to_be_visible()
    press(page, "Space")
    expect(page.locator("#enlarged")).to_be_hidden()


def test_own_keys_replace_the_usual_ones(enter, cast, scans):
    scans(2)
    person = enter(cast.reviewer)
    page = person.go("/account/")
    page.fill("input[name=key-face]", "j")
    page.click("text=Save keys")
    person.go("/verify/trial/")
    page.wait_for_selector(".card")
    press(page, "f")
    expect(page.locator(".card[data-mark]")).to_have_count(0)
    press(page, "j")
    expect(page.locator(".card[data-mark=face]")).to_have_count(1)


def test_by_mouse_and_touch(enter, cast, scans):
    made = scans(3)
    page = enter(cast.reviewer, has_touch=True, viewport={"width": 820, "height": 1180}).go("/verify/trial/")
    cards_ready(page, 3)
    page.locator(".card").nth(2).tap()
    page.get_by_role("button", name="Misplaced mask").tap()
    page.get_by_role("button", name="Enter").tap()
    eventually(page, lambda: statuses(made), [Status.FAILED, Status.PASSED, Status.PASSED])


def test_a_clicked_button_is_not_pressed_again_by_the_next_key(enter, cast, scans):
    made = scans(3)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 3)
    page.get_by_role("button", name="Face remains").click()
    expect(page.locator(".card[data-mark=face]")).to_have_count(1)
    press(page, "Enter")
    eventually(page, lambda: statuses(made), [Status.FAILED, Status.PASSED, Status.PASSED])


def test_a_page_that_changes_closes_what_is_enlarged(enter, cast, scans, dataset):
    made = scans(3)
    Dataset.objects.filter(pk=dataset.pk).update(
        lease_seconds=4
    )  # so that the page soon asks what it still holds
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 3)
    press(page, "ArrowRight", "Space")
    expect(page.locator("#enlarged")).to_be_visible()
    Lease.objects.filter(attempt=made[0]).delete()
    actions.lease_one(actor=cast.colleague, attempt_id=made[0].pk, mode="verify")
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator("#enlarged")).to_be_hidden()
    press(page, "f", "Enter")
    eventually(page, lambda: statuses(made), [Status.FAILED, Status.PASSED, Status.VERIFY])


def test_a_fetch_that_failed_is_not_an_empty_queue(enter, cast, scans):
    scans(14)
    person = enter(cast.reviewer)
    page = person.go("/verify/trial/")
    cards_ready(page, 12)
    expect(page.locator(".grid.waiting .tile")).to_have_count(2)
    person.context.set_offline(True)
    press(page, "Enter")
    expect(page.locator(".card")).to_have_count(2)
    scans(1)
    press(page, "Enter")
    expect(page.get_by_text("The next scans could not be fetched.")).to_be_visible()
    person.context.set_offline(False)
    expect(page.locator(".card")).to_have_count(1, timeout=20000)


def test_a_page_taken_back_while_the_next_is_fetched_stays(enter, cast, scans):
    made = scans(14)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 12)
    expect(page.locator(".grid.waiting .tile")).to_have_count(2)
    held = []
    page.route("**/items/", lambda route: held.append(route))
    press(page, "Enter")
    expect(page.locator(".card")).to_have_count(2)
    cards_ready(page, 2)
    press(page, "Enter")
    eventually(page, lambda: statuses(made), [Status.PASSED] * 14)
    press(page, "z")
    expect(page.locator(".card")).to_have_count(2)
    held.pop().continue_()
    page.wait_for_timeout(500)
    expect(page.locator(".card")).to_have_count(2)
    cards_ready(page, 2)
    press(page, "Enter")
    eventually(page, lambda: statuses(made), [Status.PASSED] * 14)


def test_a_picture_that_does_not_load_cannot_be_accepted(enter, cast, scans):
    made = scans(2)
    person = enter(cast.reviewer)
    person.page.route("**/work/pictures/", lambda route: route.fulfill(status=200, body=b""))
    person.page.route("**/front.webp", lambda route: route.fulfill(status=200, body=b"no picture"))
    page = person.go("/verify/trial/")
    expect(page.locator(".card.broken")).to_have_count(2)
    press(page, "Enter")
    expect(page.locator("#status")).to_contain_text("did not load")
    assert statuses(made) == [Status.VERIFY] * 2


def test_the_next_page_waits_painted_but_neither_counted_nor_reachable(enter, cast, scans, exposure):
    scans(14)
    exposure(0.1)
    page = enter(cast.reviewer).go("/verify/trial/")
    cards_ready(page, 12)
    waiting = page.locator(".grid.waiting .tile")
    expect(waiting).to_have_count(2)
    page.wait_for_timeout(700)
    assert page.evaluate(
        "[...document.querySelectorAll('.waiting .tile')].map(card => card.exposedMs ?? 0)"
    ) == [0, 0]
    assert page.evaluate("document.querySelector('.grid.waiting').inert")
    assert page.evaluate(
        "[...document.querySelectorAll('.waiting img')].every(image => image.naturalWidth > 0)"
    )
    press(page, "Enter")
    expect(waiting).to_have_count(0)
    expect(page.locator(".card")).to_have_count(2)
    cards_ready(page, 2)
    press(page, "Enter")
    eventually(page, Verdict.objects.count, 14)
    assert Verdict.objects.filter(exposure_ms__gte=100).count() == 14
    press(page, "z")
    expect(page.locator(".card")).to_have_count(2)
