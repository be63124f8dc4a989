"""Visual QC and practice: one key decides and shows the next; slices, blink, notes, the folded opinion."""

from playwright.sync_api import expect

from reviews import actions
from reviews.models import Dataset, Verdict
from reviews.states import Status
from tests.browser.conftest import eventually, press
from tests.conftest import now


def working(page):
    page.wait_for_selector("#main[data-state=work]")
    loaded = "[...document.querySelectorAll('#projections img')].every(image => image.complete)"
    eventually(page, lambda: page.evaluate(loaded), True)


def test_one_key_decides_saves_and_shows_the_next(enter, cast, scans):
    made = scans(3, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    first = page.locator("#about-name").text_content()
    page.click("text=Nose")
    press(page, "f")
    expect(page.locator("#about-name")).not_to_have_text(first)
    eventually(page, Verdict.objects.count, 1)
    verdict = Verdict.objects.get()
    assert (verdict.klass, verdict.reasons, verdict.mode) == ("face", ["nose"], "visual")
    assert now(verdict.attempt).status == Status.FAILED
    assert verdict.attempt.scan.attempts.count() == 2
    expect(page.locator(".chip[aria-pressed=true]")).to_have_count(0)
    press(page, "p", "p")
    expect(page.get_by_text("Nothing left for visual QC.")).to_be_visible()
    eventually(page, lambda: sorted(now(a).status for a in made), ["failed", "passed", "passed"])


def test_a_scan_with_a_picture_that_does_not_load_cannot_be_passed(enter, cast, scans):
    made = scans(1, Status.REFER)
    person = enter(cast.reviewer)
    person.page.route("**/work/pictures/", lambda route: route.fulfill(status=200, body=b""))
    person.page.route("**/axial_orbit.webp", lambda route: route.fulfill(status=200, body=b"no picture"))
    page = person.go("/visual/trial/")
    working(page)
    press(page, "p")
    expect(page.locator("#status")).to_contain_text("did not load")
    assert now(made[0]).status == Status.REFER
    press(page, "f")
    eventually(page, lambda: now(made[0]).status, Status.FAILED)


def test_what_waits_for_verification_is_looked_at_for_the_minimum(enter, cast, scans, dataset):
    (attempt,) = scans(1)
    type(dataset).objects.update(min_exposure_seconds=4)
    page = enter(cast.manager).go(f"/visual/one/{attempt.pk}/")
    working(page)
    press(page, "p")
    expect(page.locator("#status")).to_contain_text("Not yet")
    page.wait_for_timeout(4000)
    press(page, "p")
    eventually(page, lambda: now(attempt).status, Status.PASSED)
    assert Verdict.objects.get().exposure_ms >= 4000


def test_a_clicked_verdict_is_not_given_again_by_the_next_key(enter, cast, scans):
    made = scans(2, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    first = page.locator("#about-name").text_content()
    page.get_by_role("button", name="Face remains").click()
    expect(page.locator("#about-name")).not_to_have_text(first)
    eventually(page, Verdict.objects.count, 1)
    press(page, "Space", "Enter")
    page.wait_for_timeout(300)
    assert sorted(now(a).status for a in made) == ["failed", "refer"]


def test_a_scan_taken_back_while_the_next_is_fetched_stays(enter, cast, scans):
    made = scans(1, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    page.wait_for_timeout(300)  # nothing could be fetched ahead
    held = []
    page.route("**/items/", lambda route: held.append(route))
    press(page, "p")
    eventually(page, lambda: now(made[0]).status, Status.PASSED)
    press(page, "z")
    working(page)
    held.pop().continue_()
    page.wait_for_timeout(500)
    working(page)
    press(page, "b")
    eventually(page, lambda: now(made[0]).status, Status.FAILED)


def test_typing_a_note_fires_no_shortcut(enter, cast, scans):
    scans(1, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    press(page, "n")
    page.keyboard.type("pfbmu zx?")
    assert page.input_value("#note") == "pfbmu zx?"
    assert Verdict.objects.count() == 0
    press(page, "Escape", "b")
    eventually(page, Verdict.objects.count, 1)
    assert Verdict.objects.get().note == "pfbmu zx?"


def test_slices_slide_through_the_volume_and_blink_to_before(enter, cast, scans, originals_open):
    scans(1, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    expect(page.locator("#position-words")).to_have_text("13 of 24")
    press(page, "ArrowRight", "ArrowUp", "ArrowLeft")
    expect(page.locator("#position-words")).to_have_text("18 of 24")
    press(page, "x")
    expect(page.locator("#stage-words")).to_have_text("Removed voxels in red")
    assert reddish(page) > 0
    press(page, "x")
    expect(page.locator("#stage-words")).to_have_text("Before defacing")
    assert reddish(page) == 0
    press(page, "c")
    expect(page.locator("#position-words")).to_contain_text("of 28")


def reddish(page) -> int:
    """How many pixels of the slice are clearly red."""
    return page.evaluate(
        """() => {
          const canvas = document.getElementById('slice');
          const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let red = 0;
          for (let i = 0; i < data.length; i += 4) red += data[i] > data[i + 1] + 60;
          return red;
        }"""
    )


def test_the_model_speaks_only_after_the_verdict(enter, cast, scans):
    made = scans(2, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    page.click("summary")
    expect(page.locator("#opinion-body")).to_contain_text("after your verdict")
    press(page, "b")
    expect(page.locator("#last")).to_contain_text("you: Brain removed · model: Pass 60 %")
    Dataset.objects.update(opinion_after_judgement=False)
    page.reload()
    working(page)
    page.click("summary")
    expect(page.locator("#opinion-body")).to_contain_text("Pass 60.0 %")
    assert len(made) == 2


def test_unsure_goes_to_another_reviewer(enter, cast, scans):
    scans(1, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    press(page, "u")
    expect(page.get_by_text("Nothing left for visual QC.")).to_be_visible()
    eventually(page, Verdict.objects.count, 1)
    page.reload()
    expect(page.get_by_text("Nothing left for visual QC.")).to_be_visible()
    other = enter(cast.colleague).go("/visual/trial/")
    working(other)


def test_undo_brings_the_scan_back(enter, cast, scans):
    made = scans(2, Status.REFER)
    page = enter(cast.reviewer).go("/visual/trial/")
    working(page)
    first = page.locator("#about-name").text_content()
    press(page, "m")
    expect(page.locator("#about-name")).not_to_have_text(first)
    eventually(page, Verdict.objects.count, 1)
    press(page, "z")
    expect(page.locator("#about-name")).to_have_text(first)
    assert sorted(now(a).status for a in made) == ["refer", "refer"]


def test_the_head_in_3d_is_loaded_only_when_asked_for(enter, cast, scans):
    scans(1, Status.REFER)
    person = enter(cast.reviewer)
    asked = []
    person.page.on("request", lambda request: asked.append(request.url))
    page = person.go("/visual/trial/")
    working(page)
    page.wait_for_timeout(300)
    assert not [url for url in asked if "niivue" in url or "/volumes/" in url]
    press(page, "d")
    expect(page.locator("#stage-words")).to_contain_text("Drag to turn", timeout=20000)
    assert [url for url in asked if "/volumes/" in url]


def test_practice_tells_the_truth_and_changes_nothing(enter, cast, scans):
    made = scans(2, Status.PASSED)
    for attempt, truth in zip(made, ("face", "pass"), strict=True):
        actions.declare_known_case(
            actor=cast.owner,
            attempt_id=attempt.pk,
            truth=truth,
            practice=True,
            explanation="Look at the nose.",
        )
    before = [now(attempt).status for attempt in made]
    page = enter(cast.reviewer).go("/practice/trial/")
    working(page)
    expect(page.locator("#measurements")).to_be_hidden()
    expect(page.locator("#kept-back")).to_be_visible()
    press(page, "b")
    expect(page.locator("#feedback")).to_contain_text("Look at the nose.")
    expect(page.get_by_text("Measured against the original")).to_be_visible()
    expect(page.locator("#opinion-body")).to_contain_text("Pass 99.5 %")
    assert page.locator("#opinion-body svg").first.bounding_box()["height"] < 12
    press(page, "Enter")
    expect(page.locator("#feedback")).to_be_hidden()
    expect(page.locator("#measurements")).to_be_hidden()
    press(page, "b")
    expect(page.locator("#feedback")).to_be_visible()
    expect(page.locator("#feedback")).to_contain_text("You said: Brain removed.")
    assert [now(attempt).status for attempt in made] == before
    eventually(page, Verdict.objects.filter(mode="practice").count, 2)
    press(page, "Enter")
    expect(page.get_by_text("Nothing left to practise.")).to_be_visible()
