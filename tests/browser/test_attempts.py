"""Every attempt of a scan side by side in visual QC: in each view, at equal size, with what it was."""

import re

from playwright.sync_api import expect

from reviews import actions
from reviews.models import Attempt, Mode
from reviews.states import Status
from reviews.views.pictures import VIEW_LABELS
from tests.browser.conftest import press, with_files
from tests.browser.test_looks import violations
from tests.conftest import bring, judge


def test_attempts_stand_side_by_side_in_every_view(enter, cast, scans, model, data_dir, painted, volumes):
    first = scans(1, Status.REFER)[0]
    judge(cast.colleague, first, "face", mode=Mode.VISUAL)
    without_left = [name for name in first.view_names if name != "left"]
    Attempt.objects.filter(pk=first.pk).update(view_names=without_left)
    second = bring(first.scan.attempts.get(number=2), Status.REFER, model)
    with_files(second, data_dir, painted, volumes)
    page = enter(cast.reviewer).go("/visual/trial/")
    page.wait_for_selector("#main[data-state=work]")
    captions = page.locator("#earlier figcaption")
    expect(captions).to_have_count(2)
    expect(captions.first).to_contain_text(f"Attempt 1 FFace remains{first.engine}")
    expect(captions.last).to_contain_text("Attempt 2 this one")
    expect(captions.last).to_contain_text(second.plan)
    press(page, "3")  # enlarged alone, as before; the column follows
    expect(page.locator("#enlarged > img")).to_be_visible()
    expect(page.locator("#enlarged .beside")).to_be_hidden()
    expect(page.locator("#earlier-box h2")).to_have_text("Attempts Right")
    press(page, "e")
    for key, view in (("3", "right"), ("1", "front"), ("6", "edge"), ("ArrowRight", "sagittal_mid")):
        press(page, key)
        shown = page.locator("#enlarged .beside img")
        expect(shown).to_have_count(2)
        expect(shown.first).to_have_attribute(
            "src", re.compile(rf"/pictures/h/[\w-]+\.{first.number}/{view}\b")
        )
        expect(shown.last).to_have_attribute("alt", f"Attempt 2: {VIEW_LABELS[view]}")
        boxes = shown.evaluate_all("all => all.map((one) => one.getBoundingClientRect().toJSON())")
        assert boxes[0]["width"] == boxes[1]["width"] > 400
        assert boxes[0]["height"] == boxes[1]["height"] > 400
        assert boxes[0]["top"] == boxes[1]["top"]
    assert violations(page) == []
    press(page, "2")  # the first attempt has no such picture: its place stays as large
    expect(page.locator("#enlarged .beside img")).to_have_count(1)
    gap = page.get_by_text("No such picture").last.bounding_box()
    assert gap["width"] == page.locator("#enlarged .beside img").bounding_box()["width"]
    press(page, "e")
    expect(page.locator("#enlarged > img")).to_be_visible()
    page.locator("#enlarged .close").click()
    assert page.locator(".judge").bounding_box()["width"] == 292.5  # 19.5rem, as without attempts


def test_a_first_attempt_has_nothing_beside_it(enter, cast, scans):
    scans(1, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    page.wait_for_selector("#main[data-state=work]")
    expect(page.locator("#earlier-box")).to_be_hidden()
    press(page, "e")
    expect(page.locator("#enlarged")).to_be_hidden()
    press(page, "Space")
    expect(page.locator("#enlarged > img")).to_be_visible()
    expect(page.locator("#enlarged .beside-key")).to_be_hidden()


def test_practice_shows_the_attempts_with_the_answer_only(
    enter, cast, scans, model, data_dir, painted, volumes
):
    first = scans(1, Status.REFER)[0]
    judge(cast.colleague, first, "brain", mode=Mode.VISUAL)
    second = bring(first.scan.attempts.get(number=2), Status.REFER, model)
    with_files(second, data_dir, painted, volumes)
    actions.declare_known_case(actor=cast.owner, attempt_id=second.pk, truth="face", practice=True)
    page = enter(cast.reviewer).go("/practice/trial/")
    page.wait_for_selector("#main[data-state=work]")
    press(page, "e")
    expect(page.locator("#enlarged")).to_be_hidden()
    press(page, "b")
    expect(page.locator("#earlier figure")).to_have_count(2)
    expect(page.locator("#earlier-box h2")).to_have_text("Attempts Brain edge")
    press(page, "e")
    expect(page.locator("#enlarged .beside img")).to_have_count(2)
    expect(page.locator("#enlarged .title")).to_contain_text("Brain edge")
