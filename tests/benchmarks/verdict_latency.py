"""In a real browser, from key press to painted pictures: python -m tests.benchmarks.verdict_latency

Visual QC: P pressed, until the next scan's front view is decoded and its frame is on screen. Verification: the same
for Enter and all pictures of the next page. Then a robot without thinking time: verdicts a minute that the software
allows with no minimum exposure and with the default of 0.5 s a scan.
"""

import argparse
import time

from tests.benchmarks.server import load, refill, say, spread, workbench
from tests.robots import reviewer

ROBOT_SCANS = 3000
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
# Presses the key inside the page and waits, frame by frame, until other pictures are there, decoded and painted.
PRESS = """
([key, pictures, sign]) => new Promise(resolve => {
  const start = performance.now();
  const before = document.querySelector(sign);
  document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  const look = () => {
    const now = document.querySelector(sign);
    const images = [...document.querySelectorAll(pictures)];
    if (now && now !== before && images.length && images.every(image => image.complete && image.naturalWidth))
      Promise.all(images.map(image => image.decode())).then(() =>
        requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start))));
    else if (performance.now() - start > 10000) resolve(-1);
    else requestAnimationFrame(look);
  };
  look();
})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=1000, help="scans in each queue")
    parser.add_argument("--presses", type=int, default=150)
    parser.add_argument("--pause", type=float, default=0.6, help="seconds between presses in visual QC")
    parser.add_argument("--seconds", type=float, default=30, help="how long each robot works")
    options = parser.parse_args()
    say(load())
    with workbench(2 * options.waiting + 2 * ROBOT_SCANS, waiting=options.waiting) as (address, dataset):
        run(address, dataset, options)


def run(address: str, dataset, options) -> None:
    """Open one browser and take all figures."""
    from playwright.sync_api import sync_playwright

    _, key = reviewer(dataset, "robot")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        context.add_cookies([{"name": "sessionid", "value": key, "url": address}])
        page = context.new_page()
        say(f"{options.waiting} scans in each queue, 1280x720")
        visual(page, address, options)
        verify(page, address, options)
        refill(dataset, ROBOT_SCANS)
        robot(page, address, options.seconds, "without minimum exposure")
        refill(dataset, ROBOT_SCANS)
        type(dataset).objects.update(min_exposure_seconds=0.5)
        robot(page, address, options.seconds, "with 0.5 s a scan of minimum exposure")
        browser.close()


def visual(page, address: str, options) -> None:
    """One key, one verdict, the next scan."""
    page.goto(f"{address}/visual/bench/")
    page.wait_for_selector("#main[data-state=work]")
    page.wait_for_timeout(2000)
    times = []
    for _ in range(options.presses):
        times.append(page.evaluate(PRESS, ["p", ".pictures figure:first-child img", ".pictures"]))
        page.wait_for_timeout(options.pause * 1000)
    report("visual QC, key to next front view painted", times)


def verify(page, address: str, options) -> None:
    """Enter, and the twelve next cards with four pictures each."""
    page.goto(f"{address}/verify/bench/")
    page.wait_for_selector("#shell[data-ready]")
    times = []
    for _ in range(min(25, options.presses // 4)):
        page.wait_for_timeout(2500)  # nobody looks at twelve heads in less; the next page loads meanwhile
        times.append(page.evaluate(PRESS, ["Enter", ".card img", ".card"]))
    report("verification, key to next page painted", times)


def report(what: str, times: list[float]) -> None:
    """A line of figures; presses without an answer within 10 s are counted, not hidden."""
    lost = sum(value < 0 for value in times)
    say(
        f"{what}: {spread([value for value in times if value >= 0])}"
        + (f", {lost} without an answer" if lost else "")
    )


def robot(page, address: str, seconds: float, words: str) -> None:
    """Enter whenever the page allows it; verdicts counted by the database, not by the browser."""
    from reviews.models import Verdict

    page.goto(f"{address}/verify/bench/")
    page.wait_for_selector("#shell[data-ready]")
    before, start = Verdict.objects.count(), time.monotonic()
    while time.monotonic() - start < seconds:
        if page.locator("#shell[data-ready][data-state=work]").count():
            page.keyboard.press("Enter")
        if page.locator("#shell[data-state=empty]").count():
            break
        page.wait_for_timeout(20)
    passed = time.monotonic() - start
    page.wait_for_timeout(1500)
    made = Verdict.objects.count() - before
    say(f"robot {words}: {made} verdicts in {passed:.0f} s, {60 * made / passed:.0f} a minute")


if __name__ == "__main__":
    main()
